"""Datagram transports over any asyncio loop's public API, without the stock transports' defects.

``loop.create_datagram_endpoint`` on the stock ``ProactorEventLoop`` goes deaf after one ICMP error (gh-91227,
gh-127057), strands its send queue after a failed send (gh-156698), drops what is queued when it is closed and then
never says ``connection_lost`` (gh-82652, gh-156920), miscounts its buffer (gh-135444) and loses empty datagrams. So
the transport here drives the socket itself: the loop is only asked when to read (``add_reader``) or to read
(``sock_recvfrom_into``), and everything else is the same on both kinds of loop.

Sending. ``sendto`` tries the non-blocking system call at once. Only when that would block are datagrams queued, oldest
first, and the protocol paused above the high-water mark. An error on one datagram is reported to
``error_received`` and costs that datagram alone.

ICMP errors. A datagram that nobody listens for comes back as an error on a *later*, unrelated call: ECONNREFUSED on
Linux, 10054 or 1234 on Windows. It is reported and forgotten; the call that met it is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from typing import Any, cast

from ..errors import DatagramTooLong, DisconnectReason, classify
from .protocol import is_proactor

__all__ = ["MAX_DATAGRAM", "DatagramTransport", "open_transport"]

logger = logging.getLogger("proactor_echo.net")

#: Bytes of payload in the largest UDP datagram over IPv4: 65,535 less 20 of IP header and 8 of UDP header.
MAX_DATAGRAM = 65507
#: Datagrams read in a row before other connections and timers get a turn.
BURST = 64
#: Receive errors in a row, without one datagram, after which reading pauses so that a broken socket cannot spin.
PATIENCE = 64
PAUSE = 0.1
#: Seconds after which a proactor loop, which cannot wait for room in the socket's buffer, tries again.
_ASK_AGAIN = 0.001


def open_transport(protocol: asyncio.DatagramProtocol, sock: socket.socket) -> DatagramTransport:
    """Start a transport for ``protocol`` on a bound, non-blocking ``sock``, which it will close.

    Lifetime: the transport is kept alive by the loop (its reader, or its receiving task) until it is closed.
    """
    loop = asyncio.get_running_loop()
    kind = _ProactorReading if is_proactor(loop) else _ReadyReading
    return kind(loop, protocol, sock)


class DatagramTransport(asyncio.DatagramTransport):
    """An asyncio datagram transport; the two subclasses differ in how they read and wait."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.DatagramProtocol, sock: socket.socket
    ) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname(), "peername": _peername(sock)})
        self._loop = loop
        self._protocol = protocol
        self._sock = sock
        self._buffer = bytearray(65536)
        self._view = memoryview(self._buffer)
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._queued = 0
        self._high, self._low = 65536, 16384
        self._paused = False
        self._closing = False
        self._errors = 0
        self._waiters: list[asyncio.Future[None]] = []
        loop.call_soon(self._begin)

    # -- asyncio.DatagramTransport -------------------------------------------------------------------------------

    def sendto(self, data: Any, addr: Any = None) -> None:
        """Send one datagram, or queue it while the socket would block; an empty one too.

        Raises :class:`DatagramTooLong` over 65,507 bytes. Errors of the system go to ``error_received``.
        """
        if self._closing:
            return
        size = len(data)
        if size > MAX_DATAGRAM:
            raise DatagramTooLong(
                f"a datagram holds at most {MAX_DATAGRAM} bytes, not {size}", length=size, limit=MAX_DATAGRAM
            )
        if not self._queue and self._send_now(data, addr):
            return
        self._queue.append((bytes(data), addr))
        self._queued += size
        if len(self._queue) == 1:
            self._wait_writable()
        if self._queued > self._high and not self._paused:
            self._paused = True
            self._protocol.pause_writing()

    def try_send(self, data: Any, addr: Any = None) -> bool:
        """Send one datagram now; ``False`` when it would block. Raises what the system says about this datagram."""
        for _ in range(3):
            try:
                if addr is None:
                    self._sock.send(data)
                else:
                    self._sock.sendto(data, addr)
            except (BlockingIOError, InterruptedError):
                return False
            except OSError as error:
                if classify(error).reason not in (DisconnectReason.REFUSED, DisconnectReason.PEER_RESET):
                    raise
                self._report(error)  # about an earlier datagram, and now told: this one goes out at the next try
            else:
                return True
        return True

    async def wait_writable(self) -> None:
        """Wait until :meth:`try_send` is worth another try, or the transport has been closed."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        if len(self._waiters) == 1 and not self._queue:
            self._wait_writable()
        try:
            await waiter
        finally:
            self._waiters.remove(waiter)

    def close(self) -> None:
        """Send what is queued, then end; ``connection_lost`` is called once."""
        if self._closing:
            return
        self._closing = True
        self._stop_reading()
        if not self._queue:
            self._loop.call_soon(self._end, None)

    def abort(self) -> None:
        """End at once; queued datagrams are dropped."""
        queued = bool(self._queue)
        self._queue.clear()
        self._queued = 0
        self._wake()
        if self._closing and queued:
            self._loop.call_soon(self._end, None)
        self.close()

    def is_closing(self) -> bool:
        """Whether :meth:`close` or :meth:`abort` was called."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand datagrams to another protocol from now on."""
        self._protocol = cast("asyncio.DatagramProtocol", protocol)

    def get_write_buffer_size(self) -> int:
        """Bytes of payload that wait to be sent."""
        return self._queued

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return ``(low, high)`` in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the marks, in bytes, between which the protocol is paused."""
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    # -- what the subclasses do their own way --------------------------------------------------------------------

    def _start_reading(self) -> None:
        raise NotImplementedError

    def _stop_reading(self) -> None:
        raise NotImplementedError

    def _wait_writable(self) -> None:
        raise NotImplementedError

    # -- shared --------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._protocol.connection_made(self)
        if not self._closing:
            self._start_reading()

    def _received(self, size: int, addr: Any) -> None:
        self._errors = 0
        try:
            self._protocol.datagram_received(bytes(self._view[:size]), addr)
        except Exception as error:
            self._crashed(error)

    def _receive_failed(self, error: OSError) -> bool:
        """Report; tell whether to go on reading at once."""
        if self._closing:
            return False
        self._report(error)
        self._errors += 1
        return self._errors < PATIENCE

    def _report(self, error: OSError) -> None:
        try:
            self._protocol.error_received(error)
        except Exception as crash:
            self._crashed(crash)

    def _crashed(self, error: Exception) -> None:
        """Log an exception in the protocol: it costs that datagram, not the endpoint."""
        self._loop.call_exception_handler(
            {"message": "a datagram protocol's callback failed", "exception": error, "transport": self,
             "protocol": self._protocol}
        )  # fmt: skip

    def _send_now(self, data: Any, addr: Any) -> bool:
        try:
            return self.try_send(data, addr)
        except OSError as error:
            self._report(error)
            return True

    def _drain(self) -> bool:
        """Send what is queued; tell whether all of it left."""
        while self._queue:
            data, addr = self._queue[0]
            if not self._send_now(data, addr):
                return False
            self._queue.popleft()
            self._queued -= len(data)
            self._after_send()
        return True

    def _wake(self) -> None:
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _after_send(self) -> None:
        if self._paused and self._queued <= self._low:
            self._paused = False
            self._protocol.resume_writing()
        if self._closing and not self._queue:
            self._loop.call_soon(self._end, None)

    def _end(self, error: Exception | None) -> None:
        if self._sock.fileno() != -1:
            self._wake()
            try:
                self._protocol.connection_lost(error)
            finally:
                self._sock.close()


class _ReadyReading(DatagramTransport):
    """On a readiness loop: told that the socket is readable or writable, then plain non-blocking calls."""

    def _start_reading(self) -> None:
        self._loop.add_reader(self._sock, self._readable)

    def _stop_reading(self) -> None:
        self._loop.remove_reader(self._sock)

    def _wait_writable(self) -> None:
        self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        if self._drain():
            self._loop.remove_writer(self._sock)
            self._wake()

    def _readable(self) -> None:
        for _ in range(BURST):
            if self._closing:
                return
            try:
                size, addr = self._sock.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if not self._receive_failed(error):
                    self._rest()
                    return
            else:
                self._received(size, addr)

    def _rest(self) -> None:
        if not self._closing:
            self._stop_reading()
            self._errors = 0
            self._loop.call_later(PAUSE, self._resume)

    def _resume(self) -> None:
        if not self._closing:
            self._start_reading()

    def _end(self, error: Exception | None) -> None:
        if self._sock.fileno() != -1:
            self._loop.remove_writer(self._sock)
        super()._end(error)


class _ProactorReading(DatagramTransport):
    """On a proactor loop: one receive is always outstanding, into the same buffer, by one task that lives as long."""

    _reader: asyncio.Task[None] | None = None
    _writer: asyncio.Task[None] | None = None

    def _start_reading(self) -> None:
        self._reader = self._loop.create_task(self._read(), name="receive datagrams")

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    def _wait_writable(self) -> None:
        if self._queue:
            self._writer = self._loop.create_task(self._write(), name="send datagrams")
        else:
            # No completion tells that a socket has room again without sending something; so ask again soon.
            self._loop.call_later(_ASK_AGAIN, self._wake)

    async def _read(self) -> None:
        while not self._closing:
            try:
                size, addr = await self._loop.sock_recvfrom_into(self._sock, self._buffer)
            except OSError as error:
                if not self._receive_failed(error) and not self._closing:
                    self._errors = 0
                    await asyncio.sleep(PAUSE)
            else:
                if addr is None:  # how the stock proactor says that it swallowed an ICMP error
                    self._report(ConnectionResetError("an earlier datagram could not be delivered"))
                elif not self._closing:
                    self._received(size, addr)

    async def _write(self) -> None:
        """Send what is queued, each datagram by an overlapped send; the non-blocking try has just failed."""
        while self._queue:
            data, addr = self._queue[0]
            try:
                if addr is None:
                    await self._loop.sock_sendall(self._sock, data)
                else:
                    await self._loop.sock_sendto(self._sock, data, addr)
            except OSError as error:
                self._report(error)
            if self._queue and self._queue[0][0] is data:
                self._queue.popleft()
                self._queued -= len(data)
                self._after_send()

    def _end(self, error: Exception | None) -> None:
        if self._reader is not None and not self._reader.done():
            self._reader.add_done_callback(lambda task: self._end(error))
            return
        super()._end(error)


def _peername(sock: socket.socket) -> Any:
    with contextlib.suppress(OSError):
        return sock.getpeername()
    return None
