"""One or more datagram sockets on one port, each with a transport and a protocol; closed together."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal, Self

from proactor_echo.net.guard_rule import GuardRule
from proactor_echo.net.histogram import Histogram
from proactor_echo.net.loop_api import UdpTransport
from proactor_echo.net.metrics import LoopLag, Metric, datagram_metrics
from proactor_echo.net.proxy_protocol import ProxyProtocol
from proactor_echo.net.refusal_log import RefusalLog
from proactor_echo.net.stats import DatagramStats
from proactor_echo.net.udp.guard import Guard, UdpGuard
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.net.udp.transport import open_transport
from proactor_echo.sockets.addresses import Address, format_address, port_of
from proactor_echo.sockets.binding import adopt_datagram_sockets
from proactor_echo.sockets.sent_to_many import drop_what_was_sent_to_many

__all__ = ["UdpServer", "UdpSockets"]


class UdpSockets:
    """What an endpoint and a server have in common. Closes the sockets, unless making it fails."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], DatagramHandler],
    ) -> None:
        self._factory = factory
        self._addresses: list[Address] = []
        self._protocols: list[DatagramHandler] = []
        self._transports: list[UdpTransport] = []
        self._open(sockets)

    def _open(self, sockets: Sequence[socket.socket]) -> list[DatagramHandler]:
        """Give sockets their protocols and transports; return the protocols."""
        self._addresses += [sock.getsockname() for sock in sockets]
        protocols = [self._factory() for _ in sockets]
        self._protocols += protocols
        self._transports += [open_transport(protocol, sock) for protocol, sock in zip(protocols, sockets, strict=True)]
        return protocols

    @property
    def addresses(self) -> list[Address]:
        """The socket addresses bound, as ``socket.getsockname()`` gives them."""
        return list(self._addresses)

    @property
    def address(self) -> Address:
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


class UdpServer(UdpSockets):
    """A running UDP server, made by :func:`serve_udp`."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], DatagramHandler],
        guard: UdpGuard | Literal[False] | None = None,
        proxy: ProxyProtocol | None = None,
    ) -> None:
        self._guarded: Counter[GuardRule] = Counter()
        self._log: RefusalLog | None = None
        self._lag: LoopLag | None = None
        self._is_closing = False
        self._guard = guard
        # One for all sockets that have the same, so that a rate holds for the whole server.
        self._guards: dict[UdpGuard, Guard] = {}
        self._unwrap: Callable[[bytes, Address], tuple[bytes, Address] | None] | None = None
        if proxy is not None:
            self._log = self._make_log("did not answer")
            self._unwrap = self._unwrapping(proxy)
        super().__init__(sockets, factory)

    def listen(self, sockets: Sequence[socket.socket]) -> None:
        """Serve these bound sockets too; the server closes them. Raises BindError for one that is not fit."""
        self._open(adopt_datagram_sockets(sockets))

    def _open(self, sockets: Sequence[socket.socket]) -> list[DatagramHandler]:
        protocols = super()._open(sockets)
        for protocol, sock in zip(protocols, sockets, strict=True):
            if self._unwrap is not None:
                protocol.set_unwrap(self._unwrap)
            given = protocol.guard if self._guard is None else self._guard or None
            if given is not None:
                self._guards[given] = guard = self._guards.get(given) or self._make_guard(given)
                guard.own(address[1] for address in self._addresses if isinstance(address, tuple))
                protocol.set_guard(guard, asyncio.get_running_loop().time)
                if given.mode == "drop":
                    drop_what_was_sent_to_many(sock)
        return protocols

    @property
    def stats(self) -> DatagramStats:
        """A snapshot of the counters."""
        total = super().stats
        total.guarded = self._guarded.copy()
        return total

    @property
    def is_closing(self) -> bool:
        """Whether it takes no more datagrams."""
        return self._is_closing

    def measure(self) -> None:
        """Begin to measure how late the loop is, for :meth:`metrics`."""
        if self._lag is None and not self.is_closing:
            self._lag = LoopLag()

    @property
    def loop_lag(self) -> Histogram | None:
        """How many seconds the loop was late, once that is measured: None before :meth:`measure`."""
        return None if self._lag is None else self._lag.histogram

    def metrics(self, prefix: str = "proactor_echo") -> list[Metric]:
        """Return the counters, and what was measured, by the names that monitoring systems want."""
        return datagram_metrics(self.stats, prefix, self.loop_lag)

    async def close(self) -> None:
        """Send what is queued, then close. Doing it twice is harmless."""
        self._stop()
        await super().close()

    def abort(self) -> None:
        """Close at once; what is queued is dropped."""
        self._stop()
        super().abort()

    def _make_guard(self, given: UdpGuard) -> Guard:
        if self._log is None:
            self._log = self._make_log("answered" if given.mode == "log" else "did not answer")
        return Guard(given, self._refused)

    def _make_log(self, begin: str) -> RefusalLog:
        return RefusalLog(asyncio.get_running_loop(), f"{begin} a datagram", begin + " %d more datagrams")

    def _unwrapping(self, proxy: ProxyProtocol) -> Callable[[bytes, Address], tuple[bytes, Address] | None]:
        from proactor_echo.net.udp.proxied import unwrap

        def unwrap_or_count(data: bytes, address: Address) -> tuple[bytes, Address] | None:
            unwrapped = unwrap(proxy, data, address)
            if unwrapped is None:
                self._refused(GuardRule.PROXY_HEADER, address)
            return unwrapped

        return unwrap_or_count

    def _refused(self, rule: GuardRule, address: Address) -> None:
        self._guarded[rule] += 1
        if self._log is not None:
            self._log.note(rule, format_address(address))

    def _stop(self) -> None:
        self._is_closing = True
        if self._lag is not None:
            self._lag.cancel()
        if self._log is not None:
            self._log.close()
