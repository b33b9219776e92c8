"""What the proxies of TCP and of UDP have in common: an upstream, faults that are on, and tests that wait."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from proactor_echo.arguments import check_address, check_whole
from proactor_echo.sockets.addresses import Address, format_address
from proactor_echo.testing.faults.base import Fault
from proactor_echo.testing.faults.schedule import ActiveFault, ActiveFaults
from proactor_echo.testing.proxy.waiting import Waiters

__all__ = ["BaseFaultProxy"]

F = TypeVar("F", bound=Fault)


class BaseFaultProxy(ABC, Generic[F]):
    """A port on which faults can be switched on, in front of ``upstream``. Use it in ``async with``."""

    def __init__(self, upstream: Address, seed: int) -> None:
        #: Where connections and datagrams lead.
        self.upstream: tuple[str, int] = upstream[0], upstream[1]
        self._faults: ActiveFaults[F] = ActiveFaults(seed)
        self._waiters = Waiters()

    @classmethod
    async def open(cls, upstream: Address, *, host: str = "127.0.0.1", port: int = 0, seed: int = 0) -> Self:
        """Bind a port, and return the running proxy. Raises :class:`~proactor_echo.BindError`."""
        check_address("upstream", upstream)
        check_whole("seed", seed, least=None)
        proxy = cls(upstream, seed)
        await proxy._open(host, port)
        return proxy

    @abstractmethod
    async def _open(self, host: str, port: int) -> None:
        """Bind the port."""

    @property
    @abstractmethod
    def _bound(self) -> Address:
        """The address it is bound to."""

    @property
    def address(self) -> tuple[str, int]:
        """``(host, port)`` for clients."""
        return self.host, self.port

    @property
    def host(self) -> str:
        """The address it is bound to."""
        return str(self._bound[0])

    @property
    def port(self) -> int:
        """The port it is bound to."""
        return int(self._bound[1])

    @property
    def seed(self) -> int:
        """The number from which faults without a seed of their own get theirs."""
        return self._faults.seed

    @property
    def faults(self) -> list[ActiveFault[F]]:
        """The faults that are switched on."""
        return list(self._faults)

    @property
    def fault_history(self) -> list[ActiveFault[F]]:
        """Every fault that has been switched on."""
        return list(self._faults.history)

    async def wait_for(self, condition: Callable[[Self], object], timeout: float = 5.0) -> None:
        """Wait until ``condition(self)`` is true; it is tried whenever something passes, begins or ends.

        ::

            await server.wait_for(lambda server: b"hello" in server.received)

        Raises TimeoutError after ``timeout`` seconds.
        """
        await self._waiters.wait_for(self, condition, timeout)

    @abstractmethod
    async def close(self) -> None:
        """Close the port, and end what passes through it."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __str__(self) -> str:
        return f"{type(self).__name__} {format_address(self.address)}"
