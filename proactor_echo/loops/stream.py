"""The stream transport both engines share: reading, half-close, closing.

Writing is in :mod:`proactor_echo.loops.stream_writing`; what an engine has to add is in the docstring of
:mod:`proactor_echo.loops`. The order of a connection's life is::

    connection_made  (data_received | buffer_updated)*  [eof_received]  connection_lost

and each of the bracketed ends happens once, whatever is paused, reset or aborted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private
from proactor_echo.loops.stream_writing import BufferedWriter, contained

if TYPE_CHECKING:
    from collections.abc import Callable

logger: logging.Logger = logging.getLogger("asyncio")

HIGH_WATER = 64 * 1024  # asyncio's own default (transports._FlowControlMixin)
LOW_WATER = HIGH_WATER // 4

_LOOKED_UP = frozenset(("socket", "sockname", "peername"))  # by get_extra_info, when first asked for


class StreamTransport(BufferedWriter):
    """A connected stream socket, driven by completions. Abstract: an engine subclasses it.

    Made by the loop (``create_server``, ``create_connection``, …), never by hand. `peer` is the peer's address,
    where it is known; with `waiter`, that future is done when ``connection_made`` has been called.
    """

    __slots__ = (
        "__dict__",  # made only for who sets an attribute of its own, as tests that replace ``write`` do
        "__weakref__",
        "_buffered",
        "_closing",
        "_context",
        "_ended",
        "_failure",
        "_held",
        "_paused",
        "_peer",
        "_protocol",
        "_server",
    )

    _start_tls_compatible = True
    _sendfile_compatible = private.SENDFILE_TRY_NATIVE

    def __init__(
        self,
        loop: Any,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
        peer: Any = None,
    ) -> None:
        self._loop = loop
        self._init_engine(sock)  # may refuse the socket, which then is still the caller's
        self._extra = extra  # type: ignore[assignment]  # made when first asked for: most connections never do
        self._protocol_paused = False
        self._high_water = HIGH_WATER
        self._low_water = LOW_WATER
        self._sock: socket.socket | None = sock
        self._init_writing()
        self._context = copy_context() if context is None else context
        self._server = server
        self._peer = peer
        self._closing = False
        self._paused = False
        self._ended = False
        self._failure: BaseException | None = None
        self._held: bytes | None = None  # arrived while paused; b"" is an end of file
        self.set_protocol(protocol)
        if server is not None:
            private.attach(server, self)

    # -- starting ------------------------------------------------------------------------------------------------

    def _open_soon(self, waiter: asyncio.Future[None] | None) -> None:
        """Open in the next turn of the loop, as asyncio's own transports do."""
        self._loop.call_soon(self._open, waiter, context=self._context)

    def _open(self, waiter: asyncio.Future[None] | None = None) -> None:
        """Tell the protocol, then start receiving. Must run in the connection's context."""
        if self._protocol is not None:
            self._call("connection_made", self._protocol.connection_made, self)
            if not (self._paused or self._closing):
                self._receive_on()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def _receive_on(self) -> None:
        try:
            self._start_receiving()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the system has no room to watch one more, say
            self._fatal_error(exc, "Fatal error on starting to receive")

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

    def _borrow(self) -> Any:
        """Engine: the BufferedProtocol's own buffer to receive into; None when it failed and the connection ends.

        Lifetime: the protocol keeps the buffer; it must not be resized or reused until :meth:`_filled` says that the
        receive is done, so an engine that leaves it to the kernel also holds a memoryview of it until then.
        """
        try:
            buffer = self._context.run(self._protocol.get_buffer, -1)
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._callback_failed(exc, "get_buffer")
            return None
        return buffer

    def _filled(self, count: int) -> None:
        """Engine: `count` bytes (never 0) are in the buffer that :meth:`_borrow` gave and the protocol still owns."""
        self._in_context("buffer_updated", self._protocol.buffer_updated, count)

    def _end_of_file(self) -> None:
        """Engine: the peer has sent its last byte. Passed on once, and not while paused."""
        if self._paused and not self._closing and self._held is None:
            self._held = b""
            return
        if self._ended or self._closing or self._failure is not None:
            return
        self._ended = True
        self._stop_receiving()
        if self._loop.get_debug():
            logger.debug("%r received EOF", self)
        keep_open = self._in_context("eof_received", self._protocol.eof_received)
        if not keep_open:
            self.close()

    def _receive_failed(self, exc: BaseException) -> None:
        """Engine: a receive ended in an error, so the connection does."""
        if not self._closing or self._size:
            self._fatal_error(exc, "Fatal read error on socket transport")

    def _quiet(self) -> None:
        """Engine: after :meth:`_withdraw` returned False, the last pending operation has come back."""
        self._loop.call_soon(self._call_connection_lost, self._failure, context=self._context)

    # -- reading -------------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives from now on to `protocol`."""
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
        """Copy `data` through a BufferedProtocol: only for what was received before it took over."""
        view = memoryview(data)
        while view:
            buffer = memoryview(self._protocol.get_buffer(len(view))).cast("B")
            if not len(buffer):
                raise RuntimeError("get_buffer() returned an empty buffer")
            count = min(len(buffer), len(view))
            buffer[:count] = view[:count]
            self._protocol.buffer_updated(count)
            view = view[count:]

    # -- callbacks -----------------------------------------------------------------------------------------------

    def _in_context(self, name: str, callback: Callable[..., Any], *args: Any) -> Any:
        """Call the protocol in the connection's context; what it raises ends this connection only."""
        return self._call(name, self._context.run, callback, *args)

    def _call(self, name: str, callback: Callable[..., Any], *args: Any) -> Any:
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

    # -- closing -------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Send what was written, then close. Nothing more is received.

        Until that is sent a write is still taken, as by asyncio's own transports: TLS writes its farewell then.
        """
        if self._closing:
            return
        self._closing = True
        self._held = None
        self._stop_receiving()
        if not self._size:
            self._finish(None)
        elif not self._sending:
            self._flush()

    def abort(self) -> None:
        """Close now. Written data the system would not take at once is lost."""
        self._force_close(None)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        """End the connection because of `exc`; a network error is worth a word in debug mode only."""
        if not isinstance(exc, OSError):
            self._loop.call_exception_handler(
                {"message": message, "exception": exc, "transport": self, "protocol": self._protocol}
            )
        elif self._loop.get_debug():
            logger.debug("%r: %s", self, message, exc_info=exc)
        self._force_close(exc)

    def _force_close(self, exc: BaseException | None) -> None:
        if self._conn_lost:
            return
        self._drop_writes()
        self._held = None
        if not self._closing:
            self._closing = True
            with contained:
                self._stop_receiving()
        self._finish(exc)

    def _finish(self, exc: BaseException | None) -> None:
        """Nothing more to send: have every pending operation back, then tell the protocol."""
        self._conn_lost += 1
        self._may_write = False
        self._failure = exc
        try:
            quiet = self._withdraw()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            quiet = True  # the socket is closed next, which ends whatever it takes part in
        if quiet:
            self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol = self._protocol
        try:
            if protocol is not None:
                protocol.connection_lost(exc)
        finally:
            self._release(exc)

    def _release(self, exc: BaseException | None) -> None:
        """Close the socket and let go of everything, whatever the protocol did (gh-83191, gh-149388)."""
        sock, self._sock = self._sock, None
        try:
            if sock is not None:
                if self._extra is None or "sockname" not in self._extra:
                    self._remember(sock)
                sock.close()
        finally:
            self._protocol = None
            self._failure = None  # its traceback leads to us: a cycle
            self._fail_empty_waiter(exc)
            server, self._server = self._server, None
            if server is not None:
                private.detach(server, self)

    def __del__(self) -> None:
        # A slot may be missing: __init__ itself may have raised.
        sock = getattr(self, "_sock", None)
        if sock is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
            sock.close()
            if self._server is not None:
                private.detach(self._server, self)

    # -- what it is ----------------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``socket``, ``sockname`` and ``peername``, looked up when first asked for."""
        if name in _LOOKED_UP and (self._extra is None or name not in self._extra) and self._sock is not None:
            self._remember(self._sock)
        return default if self._extra is None else self._extra.get(name, default)

    def _remember(self, sock: socket.socket) -> None:
        sockname, peername = None, self._peer
        with contained:  # reset: the system has forgotten what it was connected to
            sockname = sock.getsockname()
            if peername is None:
                peername = sock.getpeername()
        extra = {"socket": private.TransportSocket(sock), "sockname": sockname, "peername": peername}
        self._extra = extra if self._extra is None else extra | self._extra

    def __repr__(self) -> str:
        info = [type(self).__name__]
        if self._sock is None:
            info.append("closed")
        elif self._closing:
            info.append("closing")
        if self._sock is not None:
            info.append(f"fd={self._sock.fileno()}")
            info.append(f"read={'paused' if self._paused else 'ended' if self._ended else 'on'}")
            info.append(f"write=<{'pending' if self._sending else 'idle'}, bufsize={self._size}>")
        return f"<{' '.join(info)}>"

    # -- what the engine adds ------------------------------------------------------------------------------------

    def _init_engine(self, sock: socket.socket) -> None:
        raise NotImplementedError

    def _start_receiving(self) -> None:
        raise NotImplementedError

    def _stop_receiving(self) -> None:
        raise NotImplementedError

    def _withdraw(self) -> bool:
        raise NotImplementedError
