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

logger = logging.getLogger("asyncio")

FIRST_PAUSE = 0.1  # seconds without accepting after the system ran out of something; doubled up to LONGEST_PAUSE
LONGEST_PAUSE = 1.0

PATIENCE = 64  # accepts that may fail in a row for a reason that is not a peer's, before that is a cause to pause too


class Acceptor:
    """One listening socket being served. Abstract: an engine says how to accept (:meth:`start`, :meth:`stop`)."""

    __slots__ = (
        "_context",
        "_factory",
        "_failures",
        "_handshake_timeout",
        "_loop",
        "_pause",
        "_retry",
        "_server",
        "_shutdown_timeout",
        "_sock",
        "_tls",
    )

    def __init__(
        self,
        loop: Any,
        factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        tls: Any,
        server: Any,
        handshake_timeout: float | None,
        shutdown_timeout: float | None,
    ) -> None:
        self._loop = loop
        self._factory = factory
        self._sock = sock
        self._tls = tls
        self._server = server
        self._handshake_timeout = handshake_timeout
        self._shutdown_timeout = shutdown_timeout
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
        """Engine: a connection, already non-blocking. Makes its transport and opens it, or closes it."""
        self._failures = 0
        self._pause = 0.0
        if self._loop.get_debug():
            logger.debug("%r got a new connection from %r: %r", self._server, peer, conn)
        context = self._context.copy()
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

    def failed(self, exc: OSError) -> bool:
        """Engine: an accept failed. True: accept again at once. False: accepting is paused, :meth:`start` follows."""
        if classify(exc).reason is DisconnectReason.OTHER:  # not a peer that went away: those may be any number
            self._failures += 1
        if self._failures < PATIENCE and not is_resource_error(exc):
            if self._loop.get_debug():
                logger.debug("accept failed on %r", self._sock, exc_info=exc)
            return True
        if not self._pause:
            self._loop.call_exception_handler(
                {
                    "message": "socket.accept() fails; accepting is paused",
                    "exception": exc,
                    "socket": private.TransportSocket(self._sock),
                }
            )
        self._pause = min(self._pause * 2 or FIRST_PAUSE, LONGEST_PAUSE)
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
