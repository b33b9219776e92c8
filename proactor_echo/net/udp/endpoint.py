"""UdpEndpoint: datagrams in coroutines, on one or several sockets that share a port."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Self

from proactor_echo.arguments import check_address
from proactor_echo.errors import EndOfStream, ProtocolStateError
from proactor_echo.net.stock.datagram import BURST, MAX_DATAGRAM, as_datagram
from proactor_echo.net.udp.handler import DatagramHandler, Oversize
from proactor_echo.net.udp.server import UdpSockets
from proactor_echo.sockets.addresses import Address, format_address, is_ip
from proactor_echo.wire.codec import BytesLike

__all__ = ["UdpEndpoint"]


class UdpEndpoint(UdpSockets):
    """Send and receive datagrams, made by :func:`bind_udp` or :func:`connect_udp`. Use it in ``async with``.

    Cancelling loses nothing: a cancelled :meth:`receive` took no datagram, a cancelled :meth:`send` sent none.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        *,
        max_datagram: int = MAX_DATAGRAM,
        oversize: Oversize = "truncate",
        queue: int = 1024,
    ) -> None:
        self._queue: deque[tuple[bytes, Address]] = deque()
        self._reader: asyncio.Future[None] | None = None
        self._sends = 0
        numbers = iter(range(len(sockets)))
        several = len(sockets) > 1
        super().__init__(
            sockets,
            lambda: _Queueing(
                self._queue, queue, self._wake, next(numbers) if several else None, max_datagram, oversize
            ),
        )
        self._families = [sock.family for sock in sockets]
        self._peer: Address | None = self._transports[0].get_extra_info("peername")

    @property
    def peer(self) -> Address | None:
        """The peer's socket address, ``None`` when the endpoint is not connected."""
        return self._peer

    async def send(self, data: BytesLike, addr: Address | None = None) -> None:
        """Send one datagram of at most 65,507 bytes to ``addr``, or to the peer of a connected endpoint.

        ``addr`` is an IP address and a port; names are not looked up. An address that :meth:`receive` returned is
        answered from the very socket on which its datagram came. Waits while the system's send buffer is full.

        Raises :class:`DatagramTooLong` at once for a longer one, ``OSError`` when the system refuses this datagram,
        ``ValueError`` for an address that cannot be meant, :class:`ProtocolStateError` when the endpoint is closed.
        """
        data = as_datagram(data)
        number, addr = self._route(addr)
        self._sends += 1
        if self._sends % BURST == 0:
            await asyncio.sleep(0)  # while the system's buffer never fills, other tasks must run too
        transport, protocol = self._transports[number], self._protocols[number]
        while not transport.is_closing():
            try:
                sent = transport.try_send(data, addr)
            except (TypeError, ValueError, OverflowError):  # PyPy's for a tuple that is too short is a ValueError
                if addr is not None:
                    check_address("addr", addr)
                raise
            if sent:
                protocol.count_out(len(data))
                return
            await transport.wait_writable()
        raise ProtocolStateError("cannot send: the endpoint is closed")

    async def receive(self) -> tuple[bytes, Address]:
        """Return the next datagram and the address it came from.

        Raises :class:`EndOfStream` when the endpoint is closed and the queue empty. One task may receive at a time.
        """
        while not self._queue:
            if all(transport.is_closing() for transport in self._transports):
                raise EndOfStream("the endpoint is closed")
            # A future that is done belongs to a task which was cancelled: this task may wait in its place.
            if self._reader is not None and not self._reader.done():
                raise ProtocolStateError("another task is already receiving from this endpoint")
            reader = self._reader = asyncio.get_running_loop().create_future()
            try:
                await reader
            finally:
                if self._reader is reader:
                    self._reader = None
        return self._queue.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[bytes, Address]:
        try:
            return await self.receive()
        except EndOfStream:
            raise StopAsyncIteration from None

    async def close(self) -> None:
        """Close the sockets; a waiting :meth:`receive` raises EndOfStream. Doing it twice is harmless."""
        await super().close()

    def _route(self, addr: Address | None) -> tuple[int, Address | None]:
        """Choose the socket to send from, and write the address as its family wants it."""
        if self._peer is not None:
            if addr is not None and addr[:2] != self._peer[:2]:
                check_address("addr", addr)
                raise ValueError(f"this endpoint is connected to {format_address(self._peer)}; send without an address")
            return 0, None
        if addr is None:
            raise ValueError("this endpoint is not connected; say to which address to send")
        if isinstance(addr, _Sender):
            return addr.number, tuple(addr)
        try:
            family = socket.AF_INET6 if ":" in addr[0] else socket.AF_INET
            if not is_ip(family, addr[0].partition("%")[0]):  # the socket would look it up, and hold up the loop
                raise ValueError(f"{addr[0]!r} is not an IP address; look names up first (loop.getaddrinfo)")
        except (TypeError, LookupError, ValueError):
            check_address("addr", addr)
            raise
        if family in self._families:
            return self._families.index(family), addr
        if family == socket.AF_INET:  # an IPv6 socket that takes IPv4 too
            return 0, (f"::ffff:{addr[0]}", addr[1])
        raise ValueError(f"this endpoint has no IPv6 socket to send from to {format_address(addr)}")

    def _wake(self) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.set_result(None)


class _Sender(tuple[Any, ...]):
    """A sender's address that knows on which of several sockets its datagram came."""

    number: int


class _Queueing(DatagramHandler):
    """Puts datagrams into the endpoint's queue; drops and counts those that come while it is full."""

    def __init__(
        self,
        queue: deque[tuple[bytes, Address]],
        limit: int,
        wake: Callable[[], None],
        number: int | None,
        max_datagram: int,
        oversize: Oversize,
    ) -> None:
        super().__init__(max_datagram=max_datagram, oversize=oversize)
        self._queue = queue
        self._limit = limit
        self._wake = wake
        self._number = number

    def handle(self, data: bytes, addr: Address) -> None:
        if len(self._queue) >= self._limit:
            self.stats.dropped += 1
            return
        if self._number is not None:
            addr = _Sender(addr)
            addr.number = self._number
        self._queue.append((data, addr))
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wake()
