"""The stream transport both engines share: opening, closing, and information about it.

Writing is in :mod:`proactor_echo.loops.stream_writing`, reading and the end of file in
:mod:`proactor_echo.loops.stream_reading`, what an engine has to add in :mod:`proactor_echo.loops.engine`. The order of
a connection's life is::

    connection_made  (data_received | buffer_updated)*  [eof_received]  connection_lost

and each of the bracketed ends happens once, whatever is paused, reset or aborted meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import warnings
from contextvars import Context, copy_context
from typing import Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.stream_reading import FlowControlledReader

logger: logging.Logger = logging.getLogger("asyncio")

#: asyncio's own default (transports._FlowControlMixin).
HIGH_WATER: Final = 64 * 1024
LOW_WATER: Final = HIGH_WATER // 4

#: Names that get_extra_info looks up when first asked for.
_LOOKED_UP: Final = frozenset(("socket", "sockname", "peername"))


class StreamTransport(FlowControlledReader):
    """A connected stream socket, driven by completions. Abstract: an engine subclasses it.

    It is made by the loop (``create_server``, ``create_connection``, …). ``peer`` is the peer's address, where it is
    known.
    """

    __slots__ = (
        "__dict__",  # made only for who sets an attribute of its own, as tests that replace ``write`` do
        "__weakref__",
        "_named",
        "_peer",
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
        self._extra = extra  # made when first asked for: most connections never do
        self._protocol_paused = False
        self._high_water = HIGH_WATER
        self._low_water = LOW_WATER
        self._sock: socket.socket | None = sock
        self._init_writing()
        self._init_reading(copy_context() if context is None else context)
        self._server = server
        self._peer = peer
        self._named: tuple[socket.socket, Any] | None = None  # the socket and its own, once looked up
        self._protocol = protocol
        self._buffered = isinstance(protocol, asyncio.BufferedProtocol)
        if server is not None:
            private.attach(server, self)

    # -- starting ------------------------------------------------------------------------------------------------

    def _open_soon(self, waiter: asyncio.Future[None] | None) -> None:
        """Open in the next iteration of the loop, as asyncio's own transports do."""
        self._loop.call_soon(self._open, waiter, context=self._context)

    def _open(self, waiter: asyncio.Future[None] | None = None) -> None:
        """Call connection_made, then start receiving. Must run in the connection's context."""
        if self._protocol is not None:
            try:
                self._protocol.connection_made(self)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._callback_failed(exc, "connection_made")
            if not (self._paused or self._closing):
                self._receive_on()
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    # -- closing -------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._closing

    def close(self) -> None:
        """Send what was written, then close. Nothing more is received.

        Until that is sent a write is still taken, as by asyncio's own transports: TLS writes its close_notify then.
        """
        if self._closing:
            return
        self._closing = True
        self._held = None
        if not self._size:
            self._finish(None)
            return
        self._stop_receiving()
        if not self._sending:
            self._flush()

    def abort(self) -> None:
        """Close now. Written data the system would not take at once is lost."""
        self._force_close(None)

    def _fatal_error(self, exc: BaseException, message: str = "Fatal error on transport") -> None:
        """End the connection because of ``exc``; a network error is logged in debug mode only."""
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
        self._closing = True
        self._finish(exc)

    def _finish(self, exc: BaseException | None) -> None:
        """Nothing more is to be sent: cancel every pending operation, then call connection_lost."""
        self._conn_lost += 1
        self._may_write = False
        self._failure = exc
        try:
            drained = self._cancel_pending()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            drained = True  # the socket is closed next, which ends whatever it takes part in
        if drained:
            self._loop.call_soon(self._call_connection_lost, exc, context=self._context)

    def _all_completed(self) -> None:
        """Engine: no operation is outstanding any more, after :meth:`_cancel_pending` returned False."""
        self._loop.call_soon(self._call_connection_lost, self._failure, context=self._context)

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        protocol = self._protocol
        try:
            if protocol is not None:
                protocol.connection_lost(exc)
        finally:
            self._release(exc)

    def _release(self, exc: BaseException | None) -> None:
        """Close the socket and drop all references, whatever the protocol did (gh-83191, gh-149388)."""
        sock, self._sock = self._sock, None
        try:
            if sock is not None:
                if self._extra is None or "sockname" not in self._extra:
                    self._look_up_names(sock)
                sock.close()
        finally:
            self._protocol = None
            self._failure = None  # its traceback leads to us: a cycle
            if self._empty_waiter is not None:
                self._fail_empty_waiter(exc)
            server, self._server = self._server, None
            if server is not None:
                private.detach(server, self)

    def __del__(self) -> None:
        try:
            sock = self._sock
        except AttributeError:  # __init__ itself has raised
            return
        if sock is not None:
            warnings.warn(f"unclosed transport {self!r}", ResourceWarning, source=self, stacklevel=2)
            sock.close()
            if self._server is not None:
                private.detach(self._server, self)

    # -- information ---------------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """``socket``, ``sockname`` and ``peername``, looked up when first asked for."""
        if name in _LOOKED_UP and (self._extra is None or name not in self._extra):
            if self._sock is not None:
                self._look_up_names(self._sock)
            if self._named is not None:
                sock, sockname = self._named
                extra = {"socket": private.TransportSocket(sock), "sockname": sockname, "peername": self._peer}
                self._extra = extra if self._extra is None else extra | self._extra
        return default if self._extra is None else self._extra.get(name, default)

    def _look_up_names(self, sock: socket.socket) -> None:
        sockname = None
        try:
            sockname = sock.getsockname()
            if self._peer is None:
                self._peer = sock.getpeername()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:  # reset: the system has forgotten what it was connected to
            pass
        self._named = sock, sockname

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
