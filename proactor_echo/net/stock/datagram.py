"""A datagram transport over any asyncio loop's public API, without the stock transports' defects.

``loop.create_datagram_endpoint`` on the stock ``ProactorEventLoop`` receives nothing more after one ICMP error
(gh-91227, gh-127057), leaves its send queue stuck after a failed send (gh-156698), drops what is queued when it is
closed and then never calls ``connection_lost`` (gh-82652, gh-156920), miscounts its buffer (gh-135444) and loses empty
datagrams. So the transport here uses the socket itself. How it waits for datagrams depends on the kind of the loop, and
is in ``datagram_loops``. Everything else is here.

Sending. A datagram is sent by the non-blocking system call at once. Only when that would block are datagrams queued,
oldest first, and the protocol is paused above the high-water mark. An error on one datagram is reported to
``error_received``, and only that datagram is lost.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

from proactor_echo.errors import DatagramTooLong
from proactor_echo.net.loop_api import NotSentProtocol
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.icmp import send_again
from proactor_echo.wire.codec import BytesLike, as_bytes

__all__ = ["MAX_DATAGRAM", "DatagramTransport", "as_datagram"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Bytes of payload in the largest UDP datagram over IPv4: 65,535 less 20 of IP header and 8 of UDP header.
MAX_DATAGRAM: Final = 65507
#: Bytes of the receive buffer. No datagram is longer, so the system never truncates one.
_READ: Final = 65536
#: Datagrams read in a row before other callbacks run.
BURST: Final = 64
#: Receive errors in a row, without one datagram, after which reading pauses, so that a broken socket cannot spin.
MAX_CONSECUTIVE_ERRORS: Final = 64
#: Seconds that closing waits for the system to take what is queued.
FLUSH_TIMEOUT: Final = 10.0


class DatagramTransport(asyncio.DatagramTransport):
    """An asyncio datagram transport for a bound, non-blocking socket, which it closes in the end.

    Lifetime: the transport is kept alive by the loop (its reader, or its receiving task) until it is closed. The buffer
    is one for all reads; each datagram is copied out of it before the next read begins.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.DatagramProtocol, sock: socket.socket
    ) -> None:
        super().__init__({"socket": sock, "sockname": sock.getsockname(), "peername": _peername(sock)})
        self._loop = loop
        self._protocol = protocol
        self._sock = sock
        self._buffer = bytearray(_READ)
        self._view = memoryview(self._buffer)
        self._queue: deque[tuple[bytes, Address | None]] = deque()
        self._queued = 0
        self._high, self._low = 65536, 16384
        self._paused = False
        self._errors = 0
        self._waiters: list[asyncio.Future[None]] = []
        self._watching = False
        self._closing = False
        self._ending = False
        self._ended = asyncio.Event()
        self._flush_timer: asyncio.TimerHandle | None = None
        loop.call_soon(self._begin)

    # -- asyncio.DatagramTransport -------------------------------------------------------------------------------

    def sendto(self, data: BytesLike, addr: Any = None) -> None:
        """Send one datagram, or queue it while the socket would block; an empty one too.

        Raises :class:`DatagramTooLong` over 65,507 bytes. Errors of the system go to ``error_received``. On a closing
        transport it does nothing.
        """
        data = as_datagram(data)
        if self._closing or (not self._queue and self._send_now(data, addr)):
            return
        self._queue.append((data, addr))
        self._queued += len(data)
        self._watch_writable()
        if self._queued > self._high and not self._paused:
            self._paused = True
            self._call(self._protocol.pause_writing)

    def try_send(self, data: bytes, addr: Address | None = None) -> bool:
        """Send one datagram now; ``False`` when it would block. Raises the system's error about *this* datagram."""
        try:
            if addr is None:
                self._sock.send(data)
            else:
                self._sock.sendto(data, addr)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            return send_again(self._sock, data, addr, error, self._report)
        return True

    async def wait_writable(self) -> None:
        """Wait until :meth:`try_send` is worth another try, or the transport has been closed."""
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            self._watch_writable()
            await waiter
        finally:
            self._waiters.remove(waiter)

    def close(self) -> None:
        """Send what is queued, for at most ``FLUSH_TIMEOUT`` seconds, then end; ``connection_lost`` is called once."""
        if self._closing:
            return
        self._closing = True
        self._stop_reading()
        if self._queue:
            self._flush_timer = self._loop.call_later(FLUSH_TIMEOUT, self.abort)
        else:
            self._end_soon()

    def abort(self) -> None:
        """End at once; queued datagrams are dropped."""
        self._queue.clear()
        self._queued = 0
        self.close()
        self._end_soon()

    async def wait_closed(self) -> None:
        """Wait until the transport has ended and its socket is closed."""
        await self._ended.wait()

    def is_closing(self) -> bool:
        """Whether :meth:`close` or :meth:`abort` was called."""
        return self._closing

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the protocol."""
        return self._protocol

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver datagrams to another protocol from now on."""
        self._protocol = cast("asyncio.DatagramProtocol", protocol)

    def get_write_buffer_size(self) -> int:
        """Bytes of payload that wait to be sent."""
        return self._queued

    def get_write_buffer_limits(self) -> tuple[int, int]:
        """Return ``(low, high)`` in bytes."""
        return self._low, self._high

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        """Set the high- and low-water marks in bytes, at which the protocol is paused and resumed."""
        if high is None:
            high = 65536 if low is None else 4 * low
        if low is None:
            low = high // 4
        if not high >= low >= 0:
            raise ValueError(f"high ({high!r}) must be >= low ({low!r}) must be >= 0")
        self._high, self._low = high, low

    # -- what depends on the kind of the loop --------------------------------------------------------------------

    def _start_reading(self) -> None:
        """Begin to call :meth:`_received` and :meth:`_receive_failed`."""
        raise NotImplementedError

    def _stop_reading(self) -> None:
        """End reading, whether or not it has begun."""
        raise NotImplementedError

    def _start_writing(self) -> None:
        """Send what is queued once the socket is writable; then call :meth:`_wake_writers`."""
        raise NotImplementedError

    def _release_socket(self) -> asyncio.Task[None] | None:
        """Stop whatever still uses the socket; return what must end before the socket can be closed."""
        raise NotImplementedError

    # -- receiving -----------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self._call(self._protocol.connection_made, self)
        if not self._closing:
            self._start_reading()

    def _read_burst(self) -> bool:
        """Read the datagrams that are there; return whether reading must back off before it goes on."""
        for _ in range(BURST):
            if self._closing:
                break
            try:
                size, addr = self._sock.recvfrom_into(self._buffer)
            except (BlockingIOError, InterruptedError):
                break
            except OSError as error:
                if self._receive_failed(error):
                    return True
            else:
                self._received(size, addr)
        return False

    def _received(self, size: int, addr: Address) -> None:
        self._errors = 0
        self._call(self._protocol.datagram_received, bytes(self._view[:size]), addr)

    def _receive_failed(self, error: OSError) -> bool:
        """Report an error; return whether reading must back off before it goes on."""
        if self._closing:
            return False
        self._report(error)
        self._errors = (self._errors + 1) % MAX_CONSECUTIVE_ERRORS
        return self._errors == 0

    def _report(self, error: OSError) -> None:
        if not self._ended.is_set():
            self._call(self._protocol.error_received, error)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        """Call the protocol; an exception costs that datagram and one log record, not the endpoint."""
        try:
            callback(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # CancelledError too: the result of a cancelled future raises it
            logger.error("%r: handling a datagram failed", self._protocol, exc_info=error)

    # -- sending -------------------------------------------------------------------------------------------------

    def _send_now(self, data: bytes, addr: Address | None) -> bool:
        try:
            return self.try_send(data, addr)
        except OSError as error:
            if isinstance(self._protocol, NotSentProtocol):
                self._call(self._protocol.datagram_not_sent, data, addr)
            self._report(error)
            return True

    def _flush(self) -> bool:
        """Send what is queued; return whether all of it was sent."""
        while self._queue:
            item = self._queue[0]
            if not self._send_now(*item):
                return False
            self._sent(item)
        return True

    def _sent(self, item: tuple[bytes, Address | None]) -> None:
        """Remove a datagram from the queue, unless a callback has called :meth:`abort` meanwhile."""
        if self._queue and self._queue[0] is item:
            self._queue.popleft()
            self._queued -= len(item[0])
        if self._paused and self._queued <= self._low:
            self._paused = False
            self._call(self._protocol.resume_writing)
        if self._closing and not self._queue:
            self._end_soon()

    def _watch_writable(self) -> None:
        if not self._watching:
            self._watching = True
            self._start_writing()

    def _wake_writers(self) -> None:
        """Wake every task in :meth:`wait_writable`; each tries again, and waits again if the buffer is full."""
        self._watching = False
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)

    # -- ending --------------------------------------------------------------------------------------------------

    def _end_soon(self) -> None:
        if not self._ending:
            self._ending = True
            self._loop.call_soon(self._end)

    def _end(self) -> None:
        pending = self._release_socket()
        if pending is not None:
            pending.add_done_callback(lambda _: self._end())
            return
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self._sock.close()
        self._wake_writers()
        self._call(self._protocol.connection_lost, None)
        self._ended.set()


def as_datagram(data: BytesLike) -> bytes:
    """Return ``data`` as bytes. Raises :class:`DatagramTooLong` over 65,507 bytes, TypeError for what is no bytes."""
    datagram = data if isinstance(data, bytes) else as_bytes(data)
    size = len(datagram)
    if size > MAX_DATAGRAM:
        raise DatagramTooLong(
            f"a datagram holds at most {MAX_DATAGRAM} bytes, not {size}", length=size, limit=MAX_DATAGRAM
        )
    return datagram


def _peername(sock: socket.socket) -> Address | None:
    with contextlib.suppress(OSError):
        peer: Address = sock.getpeername()
        return peer
    return None
