"""One or more datagram sockets on one port, each with a transport and a protocol; closed together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, Self, TypeVar

from proactor_echo.net.loop_api import native
from proactor_echo.net.stats import DatagramStats
from proactor_echo.net.stock.datagram_loops import open_transport
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.sockets.addresses import format_address, port_of

__all__ = ["UdpServer", "UdpSockets"]


class ClosingTransport(Protocol):
    """What is asked of a transport of any kind."""

    def close(self) -> None:
        """Send what is queued, then end."""

    def abort(self) -> None:
        """End at once."""

    async def wait_closed(self) -> None:
        """Wait until it has ended."""


Transport = TypeVar("Transport", bound=ClosingTransport)


class UdpSockets(Generic[Transport]):
    """What an endpoint and a server have in common. Closes the sockets, unless making it fails."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], DatagramHandler],
        opener: Callable[[DatagramHandler, socket.socket], Transport],
    ) -> None:
        self._addresses = [sock.getsockname() for sock in sockets]
        self._protocols = [factory() for _ in sockets]
        self._transports = [opener(protocol, sock) for protocol, sock in zip(self._protocols, sockets, strict=True)]

    @property
    def addresses(self) -> list[Any]:
        """The socket addresses bound, as ``socket.getsockname()`` gives them."""
        return list(self._addresses)

    @property
    def address(self) -> Any:
        """The first of :attr:`addresses`."""
        return self._addresses[0]

    @property
    def port(self) -> int:
        """The port bound, which is one for all addresses unless sockets were handed in."""
        return port_of(self.address)

    @property
    def stats(self) -> DatagramStats:
        """A snapshot of the counters."""
        total = DatagramStats()
        for protocol in self._protocols:
            total.add(protocol.stats)
        return total

    async def close(self) -> None:
        """Send what is queued, then close. Doing it twice is harmless."""
        for transport in self._transports:
            transport.close()
        await asyncio.gather(*(transport.wait_closed() for transport in self._transports))

    def abort(self) -> None:
        """Close at once; what is queued is dropped."""
        for transport in self._transports:
            transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(map(format_address, self._addresses))}>"


class UdpServer(UdpSockets[ClosingTransport]):
    """A running UDP server, made by :func:`serve_udp`."""

    def __init__(self, sockets: Sequence[socket.socket], factory: Callable[[], DatagramHandler]) -> None:
        # Our own loops have a transport without defects, which sends and receives many datagrams in one call.
        loop = native(asyncio.get_running_loop())
        super().__init__(sockets, factory, loop.open_datagrams if loop else open_transport)
