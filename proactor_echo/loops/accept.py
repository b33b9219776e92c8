"""Accepting: what both engines do with a connection that arrived, and with an accept that failed.

A listener survives every error (gh-93821, gh-156365). An error of one connection ends that connection. After an error
of the system or of the listener there is a pause (:mod:`proactor_echo.sockets.accept_errors`), which is logged once. An
exception of a callback ends the connection that the callback got.
"""

from __future__ import annotations

import logging
import socket
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.engine import AcceptCompletions, AcceptEngine
from proactor_echo.loops.stream_writing import contained
from proactor_echo.sockets import accept_errors

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from proactor_echo.loops.stream import StreamTransport

    # A connection, already non-blocking, and the peer's address. If it raises it has not taken the connection.
    Deliver = Callable[[socket.socket, Any], object]
    Report = Callable[[BaseException, float], None]  # an accept that failed; seconds until the next, 0.0 is at once

logger: logging.Logger = logging.getLogger("asyncio")

_IP_FAMILIES: Final = {socket.AF_INET, getattr(socket, "AF_INET6", socket.AF_INET)}


class Acceptor(AcceptEngine, AcceptCompletions):
    """Accepts on one listening socket. Abstract: an engine says how to accept (``_start_accepting``).

    It may be stopped and started again: clients wait in the backlog meanwhile. A connection that had arrived by then
    may still be delivered after :meth:`stop`, but not after :meth:`close`.
    """

    __slots__ = ("_closed", "_context", "_deliver", "_failures", "_loop", "_most", "_report", "_retry", "_sock")

    def __init__(
        self, loop: Any, sock: socket.socket, deliver: Deliver, report: Report, most: int | None = None
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._deliver = deliver
        self._report = report
        self._most = most  # outstanding accepts, at most, on Windows
        self._context = copy_context()
        self._failures = 0  # in a row, of the listener's own
        self._retry: asyncio.TimerHandle | None = None  # the end of a pause
        self._closed = False

    def start(self) -> None:
        """Start accepting, or start again: this ends a pause. Nothing after :meth:`close`."""
        self._end_pause()
        if not self._closed:
            self._start_accepting()

    def stop(self) -> None:
        """Stop accepting; the socket stays open."""
        self._end_pause()
        self._stop_accepting()

    def close(self) -> None:
        """Stop accepting for ever: the server is closing."""
        self._closed = True
        self.stop()

    # -- what the engine reports, and none of it raises ----------------------------------------------------------

    def accepted(self, conn: socket.socket, peer: Any) -> None:
        """Engine: a connection, already non-blocking."""
        self._failures = 0
        try:
            self._context.run(self._deliver, conn, peer)
        except BaseException as exc:
            conn.close()
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise
            self._report_error("Error on taking an incoming connection", exc)

    def failed(self, exc: BaseException, *, submitting: bool = False) -> bool:
        """Engine: an accept failed. True: accept again at once. False: accepting is paused.

        Several outstanding accepts may fail together; there is one pause for all of them.
        """
        if self._closed:
            return False
        if self._retry is not None:
            self._report_failure(exc, self._retry.when() - self._loop.time())
            return False
        pause = accept_errors.pause_after(exc, self._failures, submitting=submitting)
        if submitting or not accept_errors.is_of_one_connection(exc):
            self._failures += 1
        if pause:
            self._stop_accepting()
            self._retry = self._loop.call_later(pause, self._go_on)
        self._report_failure(exc, pause)
        return not (pause or self._closed)

    # -- pausing -------------------------------------------------------------------------------------------------

    def _go_on(self) -> None:
        self._retry = None
        if self._sock.fileno() == -1:
            return  # the socket was closed without close() of this object
        try:
            self.start()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the system cannot watch one more descriptor, for example
            self.failed(exc, submitting=True)
            if self._retry is None:
                self._retry = self._loop.call_later(accept_errors.FIRST_PAUSE, self._go_on)

    def _end_pause(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _report_failure(self, exc: BaseException, pause: float) -> None:
        try:
            self._report(exc, pause)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._report_error("Error on reporting a failed accept", failure)

    def _report_error(self, message: str, exc: BaseException) -> None:
        self._loop.call_exception_handler({"message": message, "exception": exc, "loop": self._loop})

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """Loop: a callback of this object raised what nobody expected. The listener survives."""
        self._report_error(message, exc)
        self.failed(exc, submitting=True)


class ServerConnections:
    """What ``loop.create_server`` does with a connection: a protocol and a transport, in a context of their own."""

    def __init__(self, loop: Any, factory: Callable[[], asyncio.BaseProtocol], server: Any) -> None:
        self._loop = loop
        self._factory = factory
        self._server = server
        self._pause_logged = False  # of the pause, since the last connection

    def deliver(self, conn: socket.socket, peer: Any) -> None:
        """Make the connection's transport and open it, or close the connection."""
        self._pause_logged = False
        if self._loop.get_debug():
            logger.debug("%r got a new connection from %r: %r", self._server, peer, conn)
        context = copy_context()
        context.run(self._connect, conn, peer, context)

    def _connect(self, conn: socket.socket, peer: Any, context: Context) -> None:
        try:
            if private.WINDOWS:  # elsewhere it has the listener's
                set_nodelay(conn)
            transport = self.make_transport(self._factory(), conn, peer, context)
        except BaseException as exc:
            conn.close()
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise
            self._loop.call_exception_handler(
                {"message": "Error on transport creation for incoming connection", "exception": exc}
            )
        else:
            transport._open()

    def make_transport(
        self, protocol: asyncio.BaseProtocol, conn: socket.socket, peer: Any, context: Context
    ) -> StreamTransport:
        """Make the connection's transport."""
        transport: StreamTransport = self._loop._stream_class(
            self._loop, conn, protocol, server=self._server, context=context, peer=peer
        )
        return transport

    def report(self, exc: BaseException, pause: float) -> None:
        """Report that accepting is paused, once until there is a connection again."""
        if pause and not self._pause_logged:
            self._pause_logged = True
            self._loop.call_exception_handler(
                {"message": "socket.accept() fails; accepting is paused", "exception": exc, "loop": self._loop}
            )
        elif self._loop.get_debug():
            logger.debug("%r: accept failed", self._server, exc_info=exc)


def set_nodelay(sock: socket.socket) -> None:
    """Send small writes at once, as asyncio does for every TCP connection; a socket that refuses keeps working.

    For the calls of asyncio alone, whose users have no option for it. On a listener it holds for what it accepts.
    """
    if sock.family in _IP_FAMILIES and sock.type == socket.SOCK_STREAM:
        with contained:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
