"""UDP: datagrams in coroutines (bind_udp, connect_udp) and in callbacks (serve_udp).

Everything received is either handed over or counted in :class:`~proactor_echo.DatagramStats`: what did not fit the
queue, what was longer than ``max_datagram``, what ICMP said. Nothing of that ends an endpoint.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

from ..addresses import format_address, resolve
from ..binding import adopt_datagram_sockets, bind_udp_sockets, open_socket
from ..errors import ConnectFailed, DatagramTooLong, EndOfStream, ProtocolStateError, classify
from ..sockopts import SocketOptions
from .datagram import MAX_DATAGRAM, DatagramTransport, open_transport
from .datagram_protocol import DatagramHandler, Oversize
from .protocol import Buffer
from .stats import DatagramStats

__all__ = ["UdpEndpoint", "UdpServer", "bind_udp", "connect_udp", "serve_udp"]


async def bind_udp(
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    max_datagram: int = MAX_DATAGRAM,
    oversize: Oversize = "truncate",
    queue: int = 1024,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> UdpEndpoint:
    """Bind a UDP port and return an :class:`UdpEndpoint` that talks to anybody.

    ``host``, ``port``  as for :func:`serve_tcp`; a name with several addresses is bound on all of them.
    ``max_datagram``    bytes handed over of a datagram; a longer one is cut short (``oversize="truncate"``) or thrown
                        away (``"drop"``), and counted.
    ``queue``           datagrams that may wait for :meth:`UdpEndpoint.receive`; further ones are dropped and counted.
    ``sockets``         bound UDP sockets made elsewhere, instead of host and port; the endpoint closes them.

    Raises :class:`BindError` with one sentence.
    """
    made = await _bound(host, port, options, sockets)
    return UdpEndpoint(made, max_datagram=max_datagram, oversize=oversize, queue=queue)


async def connect_udp(
    host: str,
    port: int,
    *,
    max_datagram: int = MAX_DATAGRAM,
    oversize: Oversize = "truncate",
    queue: int = 1024,
    options: SocketOptions | None = None,
) -> UdpEndpoint:
    """Return an :class:`UdpEndpoint` that talks to one peer: the first address of ``host`` that has a route.

    Datagrams of others are not received. Raises :class:`ConnectFailed` with one sentence.
    """
    sock = await _connected(host, port, options or SocketOptions())
    return UdpEndpoint([sock], max_datagram=max_datagram, oversize=oversize, queue=queue)


async def serve_udp(
    protocol_factory: Callable[[], DatagramHandler],
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> UdpServer:
    """Bind a UDP port and give each of its sockets a protocol; return the running :class:`UdpServer`.

    Raises :class:`BindError` with one sentence.
    """
    made = await _bound(host, port, options, sockets)
    return UdpServer(made, protocol_factory)


async def _bound(
    host: str | Sequence[str] | None, port: int, options: SocketOptions | None, sockets: Sequence[socket.socket] | None
) -> list[socket.socket]:
    if sockets is None:
        return await bind_udp_sockets(host, port, options=options)
    return adopt_datagram_sockets(sockets)


async def _connected(host: str, port: int, options: SocketOptions) -> socket.socket:
    """Connect a datagram socket to the first address that the system has a route to."""
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    errors: list[OSError] = []
    for family, _, _, _, address in await resolve(host, port, type=socket.SOCK_DGRAM):
        try:
            sock = open_socket(family, socket.SOCK_DGRAM, options)
            try:
                sock.connect(address)
            except OSError:
                sock.close()
                raise
        except OSError as error:
            errors.append(error)
        else:
            return sock
    raise ConnectFailed(f"cannot connect to {where}: {classify(errors[-1]).text}", errors=errors) from errors[-1]


class _Sockets:
    """One or more datagram sockets on one port, each with a transport and a protocol; closed together."""

    def __init__(self, sockets: Sequence[socket.socket], factory: Callable[[], DatagramHandler]) -> None:
        self._addresses = [sock.getsockname() for sock in sockets]
        self._protocols = [factory() for _ in sockets]
        self._transports = [
            open_transport(protocol, sock) for protocol, sock in zip(self._protocols, sockets, strict=True)
        ]

    @property
    def addresses(self) -> list[Any]:
        """The socket addresses bound, as ``socket.getsockname()`` gives them."""
        return list(self._addresses)

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
        for protocol in self._protocols:
            await protocol.wait_closed()

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


class UdpServer(_Sockets):
    """A running UDP server, made by :func:`serve_udp`."""


class UdpEndpoint(_Sockets):
    """Send and receive datagrams, made by :func:`bind_udp` or :func:`connect_udp`. Use it in ``async with``.

    Cancelling loses nothing: a cancelled :meth:`receive` took no datagram, a cancelled :meth:`send` sent none.
    """

    def __init__(self, sockets: Sequence[socket.socket], *, max_datagram: int, oversize: Oversize, queue: int) -> None:
        if queue < 1:
            raise ValueError(f"queue must be at least 1, not {queue}")
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._reader: asyncio.Future[None] | None = None
        super().__init__(sockets, lambda: _Queueing(self._queue, queue, self._wake, max_datagram, oversize))
        pairs = zip(self._transports, self._protocols, strict=True)
        self._by_family = {sock.family: item for sock, item in zip(sockets, pairs, strict=True)}
        self._connected = self._transports[0].get_extra_info("peername") is not None

    @property
    def address(self) -> Any:
        """The first socket address bound."""
        return self._addresses[0]

    @property
    def peer(self) -> Any:
        """The peer's socket address, ``None`` when the endpoint is not connected."""
        return self._transports[0].get_extra_info("peername")

    async def send(self, data: Buffer, addr: Any = None) -> None:
        """Send one datagram of at most 65,507 bytes to ``addr``, or to the peer of a connected endpoint.

        Waits while the system's send buffer is full. Raises :class:`DatagramTooLong` at once for a longer one, and
        ``OSError`` when the system refuses this datagram.
        """
        transport, protocol = self._route(addr)
        if len(data) > MAX_DATAGRAM:
            raise DatagramTooLong(
                f"a datagram holds at most {MAX_DATAGRAM} bytes, not {len(data)}", length=len(data), limit=MAX_DATAGRAM
            )
        while not transport.is_closing():
            if transport.try_send(data, addr):
                protocol.count_out(len(data))
                return
            await transport.wait_writable()
        raise ProtocolStateError("cannot send: the endpoint is closed")

    async def receive(self) -> tuple[bytes, Any]:
        """Return the next datagram and the address it came from.

        Raises :class:`EndOfStream` when the endpoint is closed. One task may receive at a time.
        """
        while not self._queue:
            if all(transport.is_closing() for transport in self._transports):
                raise EndOfStream("the endpoint is closed")
            if self._reader is not None:
                raise ProtocolStateError("another task is already receiving from this endpoint")
            self._reader = asyncio.get_running_loop().create_future()
            try:
                await self._reader
            finally:
                self._reader = None
        return self._queue.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, Any]:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Close the sockets; a waiting :meth:`receive` comes to its end. Doing it twice is harmless."""
        await super().close()

    def _route(self, addr: Any) -> tuple[DatagramTransport, DatagramHandler]:
        if self._connected:
            if addr is not None and addr != self.peer:
                raise ValueError(f"this endpoint is connected to {format_address(self.peer)}; send without an address")
            return self._transports[0], self._protocols[0]
        if addr is None:
            raise ValueError("this endpoint is not connected; say to which address to send")
        family = socket.AF_INET6 if ":" in addr[0] else socket.AF_INET
        found = self._by_family.get(family)
        if found is None:
            found = next(iter(self._by_family.values()))
        return found

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Queueing(DatagramHandler):
    """Put datagrams into the endpoint's queue, and count those for which there is no room."""

    def __init__(
        self,
        queue: deque[tuple[bytes, Any]],
        limit: int,
        wake: Callable[[], None],
        max_datagram: int,
        oversize: Oversize,
    ) -> None:
        super().__init__(max_datagram=max_datagram, oversize=oversize)
        self._queue = queue
        self._limit = limit
        self._wake = wake

    def handle(self, data: bytes, addr: Any) -> None:
        if len(self._queue) >= self._limit:
            self.stats.dropped += 1
            return
        self._queue.append((data, addr))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._wake()
