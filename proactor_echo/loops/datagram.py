"""The datagram transport both engines share: sending, queue, flow control, errors, closing.

A datagram is with the system when ``sendto`` returns, and a batch when ``sendto_many`` does; queued is only what the
system has no room for. So a program may compute, block or abort right after sending, as with asyncio's own transports.

UDP has no connection to lose, so nothing that happens to one datagram ends the endpoint: an error, of a send or
reported for an earlier one (ICMP), goes to ``error_received`` once, and both reading and sending go on (gh-91227,
gh-127057, gh-156698). ``close`` sends what is queued first (gh-82652). An empty datagram is a datagram.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import warnings
from collections import deque
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private
from proactor_echo.loops.datagram_protocol import BatchProtocol, NotSentProtocol
from proactor_echo.loops.stream import HIGH_WATER, LOW_WATER
from proactor_echo.loops.stream_writing import LOG_AFTER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger: logging.Logger = logging.getLogger("asyncio")

OVERHEAD = 8  # bytes a queued datagram counts beside its own, as in asyncio from 3.14: empty ones take room too


class DatagramTransport(private.FlowControlMixin, asyncio.DatagramTransport):
    """A datagram socket, driven by completions. Abstract: an engine subclasses it. Made by the loop."""

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        *,
        extra: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> None:
        self._extra = {"socket": private.TransportSocket(sock), "sockname": None, "peername": None} | (extra or {})
        with contextlib.suppress(OSError):
            self._extra["sockname"] = sock.getsockname()
        with contextlib.suppress(OSError):
            self._extra["peername"] = sock.getpeername()
        self._connected = self._extra["peername"] is not None
        self._loop = loop
        self._protocol_paused = False
        self._high_water = HIGH_WATER
        self._low_water = LOW_WATER
        self._sock: socket.socket | None = sock
        self._protocol: Any = protocol
        self._together: Callable[[Sequence[tuple[bytes, Any]]], None] | None = None  # of a protocol that takes batches
        self._address = address
        self._context = copy_context() if context is None else context
        self._queue: deque[tuple[bytes, Any]] = deque()
        self._size = 0
        self._sending = False  # the engine has the first of the queue, or waits for room
        self._flushing = False
        self._closing = False
        self._paused = False
        self._conn_lost = 0
        self._failure: BaseException | None = None
        self._held: deque[tuple[bytes, Any]] = deque()  # arrived while paused
        self._waiters: list[asyncio.Future[None]] = []  # of wait_closed

    # -- starting ------------------------------------------------------------------------------------------------

    def _open_soon(self, waiter: asyncio.Future[None] | None) -> None:
        self._loop.call_soon(self._open, waiter, context=self._context)

    def _open(self, waiter: asyncio.Future[None] | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_made(self)
        finally:
            self.set_protocol(self._protocol)  # which knows by now whether it takes batches
            if not (self._paused or self._closing):
                try:
                    self._start_receiving()
                except Exception as exc:  # the system has no room to watch one more, say
                    self._fatal_error(exc, "Fatal error on starting to receive")
            if waiter is not None and not waiter.done():
                waiter.set_result(None)

    # -- what the engine reports ---------------------------------------------------------------------------------

    def _received(self, datagrams: Sequence[tuple[bytes, Any]]) -> None:
        """Engine: these arrived, each with its source address. A batch is answered with a batch.

        A :class:`BatchProtocol` gets them in one call.
        """
        self._context.run(self._deliver, datagrams)

    def _deliver(self, datagrams: Sequence[tuple[bytes, Any]]) -> None:
        if self._together is not None and not (self._paused or self._closing):
            try:
                self._together(datagrams)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._callback_failed(exc, "datagrams_received")
            return
        for data, address in datagrams:
            if self._paused or self._closing:
                if not self._closing:
                    self._held.append((data, address))
                continue
            try:
                self._protocol.datagram_received(data, address)  # looked up each time: a protocol may have changed it
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._callback_failed(exc, "datagram_received")

    def _errored(self, exc: OSError) -> None:
        """Engine: a receive, or a send, brought this error; the endpoint goes on."""
        if self._conn_lost or self._protocol is None:
            return
        try:
            self._context.copy().run(self._protocol.error_received, exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._callback_failed(failure, "error_received")

    def _not_sent(self, data: bytes, addr: Any, exc: OSError) -> None:
        """Tell of a datagram that the system refused.

        A :class:`NotSentProtocol` is told first which one it was.
        """
        if isinstance(self._protocol, NotSentProtocol):
            try:
                self._protocol.datagram_not_sent(data, addr)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as failure:
                self._callback_failed(failure, "datagram_not_sent")
        self._errored(exc)

    def _first_not_sent(self, exc: OSError) -> None:
        data, addr = self._queue[0]
        self._take(1)
        self._not_sent(data, addr, exc)

    def _sent(self, count: int) -> None:
        """Engine: the first `count` of the queue are with the system, or (0) there is room again; none is pending."""
        self._sending = False
        self._take(count)
        self._flush()

    def _send_failed(self, exc: OSError) -> None:
        """Engine: the first of the queue could not be sent; the rest still can."""
        self._sending = False
        self._first_not_sent(exc)
        self._flush()

    def _quiet(self) -> None:
        """Engine: after :meth:`_withdraw` returned False, the last pending operation has come back."""
        self._loop.call_soon(self._call_connection_lost, self._failure, context=self._context)

    # -- sending -------------------------------------------------------------------------------------------------

    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:
        """Send one datagram, to `addr` or to the address this endpoint is connected to. It may be empty."""
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if self._address and addr is not None and addr != self._address:
            raise ValueError(f"Invalid address: must be None or {self._address}")
        if self._closing:
            if self._address and self._conn_lost:
                if self._conn_lost >= LOG_AFTER:
                    logger.warning("socket.send() raised exception.")
                self._conn_lost += 1
            return
        if not self._queue:  # else after those that wait
            sock: Any = self._sock
            try:  # what _offer does, without the queue: the usual case
                if self._connected:
                    sock.send(data)
                else:
                    sock.sendto(data, self._address if addr is None else addr)
                return
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as exc:
                self._not_sent(data, addr, exc)
                return
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:  # an address the socket module cannot use
                self._fatal_error(exc, "Fatal write error on datagram transport")
                return
        self._queue.append((data, addr))
        self._size += len(data) + OVERHEAD
        self._flush()

    def sendto_many(self, datagrams: Sequence[tuple[bytes, Any]]) -> None:
        """Send pairs of data and address, like so many calls of :meth:`sendto`; the data must be ``bytes``."""
        if self._address or self._closing:
            for data, addr in datagrams:
                self.sendto(data, addr)
            return
        self._size += sum([len(data) for data, _ in datagrams]) + OVERHEAD * len(datagrams)
        self._queue.extend(datagrams)
        self._flush()

    def get_write_buffer_size(self) -> int:
        """Bytes queued, and 8 for each datagram."""
        return self._size

    def _flush(self) -> None:
        """Offer the system what is queued; wait for room for what it does not take now.

        Lifetime: the queue keeps a datagram until it is sent or has failed.
        """
        if self._flushing:  # called by a protocol that was told of an error below, where the rest is sent
            return
        self._flushing = True
        try:
            while self._queue and not (self._sending or self._conn_lost):
                try:
                    count = self._offer()
                except (BlockingIOError, InterruptedError):
                    count = 0
                except OSError as exc:
                    self._first_not_sent(exc)
                    continue
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:  # an address the socket module cannot use
                    self._fatal_error(exc, "Fatal write error on datagram transport")
                    return
                if count:
                    self._take(count)
                else:
                    self._wait_for_room()
        finally:
            self._flushing = False
        if self._protocol_paused:
            self._maybe_resume_protocol()
        elif self._size > self._high_water:
            self._maybe_pause_protocol()
        if self._closing and not self._queue and not self._conn_lost:
            self._finish(None)

    def _wait_for_room(self) -> None:
        """Give the engine the first of the queue."""
        self._sending = True
        try:
            self._submit_send()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the system has no room to watch one more, say
            self._fatal_error(exc, "Fatal write error on datagram transport")

    def _take(self, count: int) -> None:
        queue = self._queue
        if count >= len(queue):
            queue.clear()
            self._size = 0
            return
        for _ in range(count):
            self._size -= len(queue.popleft()[0]) + OVERHEAD

    def _offer(self) -> int:
        """Send as many of the queue as the system takes without blocking: how many, or an error of the first."""
        data, address = self._queue[0]
        sock: Any = self._sock
        if self._connected:
            sock.send(data)
        else:
            sock.sendto(data, self._address if address is None else address)
        return 1

    # -- reading -------------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives from now on to `protocol`."""
        self._protocol = protocol
        self._together = protocol.datagrams_received if isinstance(protocol, BatchProtocol) else None

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol; None when the endpoint is closed."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_reading(self) -> bool:
        """Whether datagrams that arrive go to the protocol."""
        return not (self._paused or self._closing)

    def pause_reading(self) -> None:
        """Leave datagrams with the system, whose buffer is bounded, until :meth:`resume_reading`."""
        if not (self._paused or self._closing):
            self._paused = True
            self._stop_receiving()

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`."""
        if self._paused and not self._closing:
            self._paused = False
            self._loop.call_soon(self._deliver_held)

    def _deliver_held(self) -> None:
        if self._held and not self._paused and not self._closing:
            held, self._held = self._held, deque()
            self._received(held)
        if not (self._paused or self._closing):
            self._start_receiving()

    # -- closing -------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the endpoint is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Send what is queued, then close. Nothing more is received."""
        if self._closing:
            return
        self._closing = True
        self._held.clear()
        self._stop_receiving()
        if not self._queue:
            self._finish(None)

    def abort(self) -> None:
        """Close now; what is queued is lost."""
        self._force_close(None)

    async def wait_closed(self) -> None:
        """Wait until the endpoint has ended and its socket is closed."""
        while self._sock is not None:
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                self._waiters.remove(waiter)

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        self._loop.call_exception_handler(
            {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
        )
        self._force_close(exc)

    def _callback_failed(self, exc: BaseException, name: str) -> None:
        # One datagram that a protocol chokes on must not deafen the endpoint to all the others.
        self._loop.call_exception_handler(
            {
                "message": f"protocol.{name}() call failed.",
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._queue.clear()
        self._held.clear()
        self._size = 0
        if not self._closing:
            self._closing = True
            self._stop_receiving()
        self._finish(exc)

    def _finish(self, exc: BaseException | None) -> None:
        self._conn_lost += 1
        self._failure = exc
        if self._withdraw():
            self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        try:
            if self._protocol is not None:
                self._protocol.connection_lost(exc)
        finally:
            sock, self._sock = self._sock, None
            self._protocol = self._together = None
            for waiter in self._waiters:
                if not waiter.done():
                    waiter.set_result(None)
            if sock is not None:
                sock.close()

    def __del__(self) -> None:
        sock = getattr(self, "_sock", None)
        if sock is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
            sock.close()

    def __repr__(self) -> str:
        state = "closed" if self._sock is None else "closing" if self._closing else f"fd={self._sock.fileno()}"
        return f"<{type(self).__name__} {state} queued={len(self._queue)}>"

    # -- what the engine adds ------------------------------------------------------------------------------------

    _start_receiving: Callable[[], None]
    _stop_receiving: Callable[[], None]
    _submit_send: Callable[[], None]
    _withdraw: Callable[[], bool]
