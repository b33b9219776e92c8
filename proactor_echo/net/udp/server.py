"""One or more datagram sockets on one port, each with a transport and a protocol; closed together."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Self

from proactor_echo.net.stats import DatagramStats
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.net.udp.transport import open_transport
from proactor_echo.sockets.addresses import Address, format_address, port_of

__all__ = ["UdpServer", "UdpSockets"]


class UdpSockets:
    """What an endpoint and a server have in common. Closes the sockets, unless making it fails."""

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        factory: Callable[[], DatagramHandler],
    ) -> None:
        self._addresses: list[Address] = [sock.getsockname() for sock in sockets]
        self._protocols = [factory() for _ in sockets]
        self._transports = [
            open_transport(protocol, sock) for protocol, sock in zip(self._protocols, sockets, strict=True)
        ]

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
