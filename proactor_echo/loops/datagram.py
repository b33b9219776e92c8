"""The datagram transport both engines share: receiving and closing here, sending in ``datagram_writing``.

``sendto`` and ``sendto_many`` give datagrams to the system before they return; only what the system does not take is
queued. So a program may compute, block or abort right after sending, as with asyncio's own transports.

UDP has no connection to lose, so nothing that happens to one datagram ends the endpoint: an error, of a send or
reported for an earlier one (ICMP), goes to ``error_received`` once, and both reading and sending go on (gh-91227,
gh-127057, gh-156698). ``close`` sends what is queued first (gh-82652). An empty datagram is a datagram.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import warnings
from collections import deque
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.datagram_protocol import BatchProtocol
from proactor_echo.loops.datagram_writing import DatagramWriter
from proactor_echo.loops.stream import HIGH_WATER, LOW_WATER

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Failed receives before the next waits: the fault is then the socket's, not a peer's.
ERRORS_IN_A_ROW: Final = 64
#: Seconds for which receiving stops then.
BACKOFF: Final = 0.1


class DatagramTransport(DatagramWriter):
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
        self._sending = False  # the engine has the first of the queue, or waits until the socket is writable
        self._flushing = False
        self._senders: list[asyncio.Future[None]] = []  # of wait_writable
        self._closing = False
        self._paused = False
        self._errors = 0  # failed receives in a row; the engine sets it back
        self._backing_off = False  # since those were many
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
            self._receive_on()
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

    def _all_completed(self) -> None:
        """Engine: no operation is outstanding any more, after :meth:`_cancel_pending` returned False."""
        self._loop.call_soon(self._call_connection_lost, self._failure, context=self._context)

    # -- reading -------------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives from now on to ``protocol``."""
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
        self._receive_on()

    def _receive_on(self) -> None:
        if not (self._paused or self._closing or self._backing_off):
            try:
                self._start_receiving()
            except Exception as exc:  # the system cannot watch one more descriptor, for example
                self._fatal_error(exc, "Fatal error on starting to receive")

    def _back_off_if_many_errors(self) -> None:
        """Engine: a receive failed, which ends nothing; after many in a row, stop receiving for a moment."""
        self._errors += 1
        if self._errors % ERRORS_IN_A_ROW == 0 and not self._backing_off:
            self._backing_off = True
            self._stop_receiving()
            self._loop.call_later(BACKOFF, self._back_on)

    def _back_on(self) -> None:
        self._backing_off = False
        self._receive_on()

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
        self._wake_senders()
        if self._cancel_pending():
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
