"""Accepting: what both engines do with a connection that arrived, and with an accept that failed.

Whatever happens, the listener lives (gh-93821, gh-156365): an error of one connection costs that connection, an error
of the system (no descriptors, no memory, no buffers) costs a pause, logged once and not once a try.
"""

from __future__ import annotations

import logging
import socket
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any

from proactor_echo.errors import DisconnectReason, classify, is_resource_error
from proactor_echo.loops import private

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    Deliver = Callable[[socket.socket, Any], None]  # a connection, already non-blocking, and the peer's address
    Report = Callable[[Exception, float], None]  # an accept that failed; seconds until the next, 0.0 is at once

logger: logging.Logger = logging.getLogger("asyncio")

FIRST_PAUSE = 0.1  # seconds without accepting after the system ran out of something; doubled up to LONGEST_PAUSE
LONGEST_PAUSE = 1.0

PATIENCE = 64  # accepts that may fail in a row for a reason that is not a peer's, before that is a cause to pause too


class Acceptor:
    """One listening socket being served. Abstract: an engine says how to accept (:meth:`start`, :meth:`stop`).

    Whoever has one may stop and start it again: clients wait in the backlog meanwhile. A connection that had arrived
    by then may still be delivered after :meth:`stop`, but not after :meth:`close`.
    """

    __slots__ = ("_context", "_deliver", "_failures", "_loop", "_most", "_pause", "_report", "_retry", "_sock")

    def __init__(
        self, loop: Any, sock: socket.socket, deliver: Deliver, report: Report, most: int | None = None
    ) -> None:
        self._loop = loop
        self._sock = sock
        self._deliver = deliver
        self._report = report
        self._most = most  # accepts to leave with the kernel, for an engine that does so
        self._context = copy_context()
        self._failures = 0  # in a row, of the listener's own
        self._pause = 0.0
        self._retry: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Accept from now on."""
        raise NotImplementedError

    def stop(self) -> None:
        """Accept no more; the socket stays open."""
        raise NotImplementedError

    def accepted(self, conn: socket.socket, peer: Any) -> None:
        """Engine: a connection, already non-blocking."""
        self._failures = 0
        self._pause = 0.0
        self._context.run(self._deliver, conn, peer)

    def failed(self, exc: Exception) -> bool:
        """Engine: an accept failed. True: accept again at once. False: accepting is paused, :meth:`start` follows."""
        if classify(exc).reason is DisconnectReason.OTHER:  # not a peer that went away: those may be any number
            self._failures += 1
        if self._failures < PATIENCE and not is_resource_error(exc):
            self._report(exc, 0.0)
            return True
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
        self._report(exc, self._pause)
        self.stop()
        self._retry = self._loop.call_later(self._pause, self._resume)
        return False

    def _resume(self) -> None:
        self._retry = None
        self.start()

    def close(self) -> None:
        """Accept no more, ever: the server is closing."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self.stop()


class ServerConnections:
    """What ``loop.create_server`` does with a connection: a protocol and a transport, in a context of their own."""

    def __init__(
        self,
        loop: Any,
        factory: Callable[[], asyncio.BaseProtocol],
        tls: Any,
        server: Any,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._tls = tls
        self._server = server
        self._handshake_timeout = handshake_timeout
        self._shutdown_timeout = shutdown_timeout

    def deliver(self, conn: socket.socket, peer: Any) -> None:
        """Make the connection's transport and open it, or close the connection."""
        if self._loop.get_debug():
            logger.debug("%r got a new connection from %r: %r", self._server, peer, conn)
        context = copy_context()
        context.run(self._connect, conn, peer, context)

    def _connect(self, conn: socket.socket, peer: Any, context: Context) -> None:
        try:
            protocol = self._factory()
            if self._tls:
                protocol = private.SSLProtocol(
                    self._loop,
                    protocol,
                    self._tls,
                    None,
                    True,
                    ssl_handshake_timeout=self._handshake_timeout,
                    ssl_shutdown_timeout=self._shutdown_timeout,
                )
            transport = self._loop._stream_class(
                self._loop, conn, protocol, server=self._server, context=context, peer=peer
            )
        except BaseException as exc:
            conn.close()
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise
            self._loop.call_exception_handler(
                {"message": "Error on transport creation for incoming connection", "exception": exc}
            )
        else:
            transport._open()

    def report(self, exc: Exception, pause: float) -> None:
        """Say that accepting is paused, at the first try alone."""
        if pause == FIRST_PAUSE:
            self._loop.call_exception_handler(
                {"message": "socket.accept() fails; accepting is paused", "exception": exc, "loop": self._loop}
            )
        elif self._loop.get_debug():
            logger.debug("%r: accept failed", self._server, exc_info=exc)
