"""Reading, the same for both engines: pausing, the protocol's two kinds of receiving, the end of file.

The result of a receive that was outstanding when reading was paused is held back here, and so is the end of file. An
exception of a protocol ends its connection and nothing else.
"""

from __future__ import annotations

import abc
import asyncio
import logging
from typing import TYPE_CHECKING, Any, TypeVar

from proactor_echo.loops.stream_writing import BufferedWriter

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context

    from proactor_echo.loops.engine import ReceiveBuffer

logger: logging.Logger = logging.getLogger("asyncio")

_T = TypeVar("_T")


class FlowControlledReader(BufferedWriter):
    """The reading half of a stream transport, over the writing half. Opening and closing are in its subclass."""

    __slots__ = ("_buffered", "_closing", "_context", "_ended", "_failure", "_held", "_paused", "_protocol")

    def _init_reading(self, context: Context) -> None:
        self._context = context
        self._closing = False
        self._paused = False
        self._ended = False
        self._failure: BaseException | None = None
        self._held: bytes | None = None  # arrived while paused; b"" is an end of file

    # -- what the engine reports ---------------------------------------------------------------------------------

    def _received(self, data: bytes) -> None:
        """Engine: these bytes arrived (never empty). Held back, at most one receive of them, while paused."""
        if self._paused or self._closing:
            if not self._closing:
                self._held = data
            return
        try:
            # Looked up each time: a protocol may go on with another method, or a test patch its class.
            self._context.run(self._feed_buffered if self._buffered else self._protocol.data_received, data)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, "data_received")

    def _get_buffer(self) -> ReceiveBuffer | None:
        """Engine: the BufferedProtocol's own buffer to receive into; None when it failed and the connection ends."""
        try:
            buffer: ReceiveBuffer = self._context.run(self._protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, "get_buffer")
            return None
        return buffer

    def _buffer_updated(self, count: int) -> None:
        """Engine: ``count`` bytes (never 0) are in the buffer that :meth:`_get_buffer` returned."""
        self._in_context("buffer_updated", self._protocol.buffer_updated, count)

    def _end_of_file(self) -> None:
        """Engine: the peer has sent its last byte. ``eof_received`` is called once, and not while paused."""
        if self._paused and not self._closing and self._held is None:
            self._held = b""
            return
        if self._ended or self._closing or self._failure is not None:
            return
        self._ended = True
        if self._loop._debug:
            logger.debug("%r received EOF", self)
        try:
            keep_open = self._context.run(self._protocol.eof_received)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, "eof_received")
            return
        if not keep_open:
            self.close()
        elif not self._closing:
            self._stop_receiving()

    def _receive_failed(self, exc: BaseException) -> None:
        """Engine: a receive ended in an error, so the connection does."""
        if not self._closing or self._size:
            self._fatal_error(exc, "Fatal read error on socket transport")

    # -- reading -------------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver what arrives from now on to ``protocol``."""
        self._protocol: Any = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        """Return the current protocol; None when the connection is over."""
        protocol: asyncio.BaseProtocol = self._protocol
        return protocol

    def is_reading(self) -> bool:
        """Whether data that arrives goes to the protocol."""
        return not (self._paused or self._closing)

    def pause_reading(self) -> None:
        """Call the protocol with no more data, nor with the end of file, until :meth:`resume_reading`."""
        if self._paused or self._closing:
            return
        self._paused = True
        self._stop_receiving()
        if self._loop.get_debug():
            logger.debug("%r pauses reading", self)

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`."""
        if not self._paused or self._closing:
            return
        self._loop._check_closed()
        self._paused = False
        if self._held is not None:
            self._loop.call_soon(self._deliver_held)
        elif not self._ended:
            self._receive_on()
        if self._loop.get_debug():
            logger.debug("%r resumes reading", self)

    def _deliver_held(self) -> None:
        if self._paused or self._closing or self._held is None:
            return
        data, self._held = self._held, None
        if not data:
            self._end_of_file()
            return
        self._received(data)
        if not (self._paused or self._closing or self._ended):
            self._receive_on()

    def _feed_buffered(self, data: bytes) -> None:
        """Copy ``data`` through a BufferedProtocol: only for what was received before it took over."""
        view = memoryview(data)
        while view:
            buffer = memoryview(self._protocol.get_buffer(len(view))).cast("B")
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            self._protocol.buffer_updated(count)
            view = view[count:]

    def _receive_on(self) -> None:
        try:
            self._start_receiving()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the system cannot watch one more descriptor, for example
            self._fatal_error(exc, "Fatal error on starting to receive")

    # -- callbacks -----------------------------------------------------------------------------------------------

    def _in_context(self, name: str, callback: Callable[..., _T], *args: Any) -> _T | None:
        """Call the protocol in the connection's context; what it raises ends this connection only."""
        return self._call(name, self._context.run, callback, *args)

    def _call(self, name: str, callback: Callable[..., _T], *args: Any) -> _T | None:
        try:
            return callback(*args)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, name)
            return None

    def _callback_failed(self, exc: BaseException, name: str) -> None:
        self._loop.call_exception_handler(
            {
                "message": f"Fatal error: protocol.{name}() call failed.",
                "exception": exc,
                "transport": self,
                "protocol": self._protocol,
            }
        )
        self._force_close(exc)

    # -- what the subclass adds ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _force_close(self, exc: BaseException | None) -> None:
        """End the connection now."""
