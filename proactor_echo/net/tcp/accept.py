"""The accept pipeline of a server: accepting connections on listening sockets, and going on after every error.

:class:`BaseAcceptPipeline` is the interface for a server, with the part that does not depend on how connections are
accepted: the slots of ``max_connections``. :class:`NativeAcceptPipeline` accepts on our own event loops, which have
accepting built in: no tasks, only callbacks. On any other loop it is
:class:`~proactor_echo.net.stock.accept.StockAcceptPipeline`.

Throttling. While ``max_connections`` are served nothing new is accepted; clients wait in the listen backlog, are not
dropped, and are taken when somebody leaves. A connection that arrives when the last slot has just gone, from an accept
that was already outstanding, is held until there is one. (An accept does not take its slot before it has a connection:
the last slot would then wait for a client of one listener while another listener has one.)
"""

from __future__ import annotations

import abc
import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

from proactor_echo.net.loop_api import AcceptPipeline, native
from proactor_echo.net.tcp.accept_log import AcceptErrorLog
from proactor_echo.sockets.addresses import Address, format_address

__all__ = ["BaseAcceptPipeline", "NativeAcceptPipeline"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")


class BaseAcceptPipeline(abc.ABC):
    """Accept from ``listeners`` and call ``connected(sock, address)`` for each connection.

    At most ``max_connections`` are served at once: call :meth:`leave` when one of them has ended. ``failed`` is called
    for each accept error, ``refused`` for each connection that arrived too late to be served. ``accepts`` bounds the
    outstanding accepts of a listener, on a proactor loop.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connected: Callable[[socket.socket, Address], None],
        *,
        accepts: int = 32,
        max_connections: int | None = None,
        failed: Callable[[BaseException], None] = lambda error: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._listeners = list(listeners)
        self._connected = connected
        self._failed = failed
        self._refused = refused
        self._accepts = accepts
        self._max_connections = max_connections
        self._slots = max_connections  # those that are free; None: there is no limit
        self._waiting: deque[tuple[socket.socket, Address]] = deque()  # accepted when the last slot had just gone
        self._closing = False
        self._held = False

    @abc.abstractmethod
    def start(self) -> None:
        """Begin to accept."""

    @abc.abstractmethod
    def _pause(self) -> None:
        """Accept no more until :meth:`_resume`: there is no slot. May be called when it is paused already."""

    @abc.abstractmethod
    def _resume(self) -> None:
        """Accept again: there is a slot."""

    def leave(self) -> None:
        """Free the slot of a connection that has ended."""
        if self._slots is None:
            return
        self._slots += 1
        if self._closing:
            return
        while self._waiting and self._slots:
            if not self._serve(*self._waiting.popleft()):
                self._slots += 1
        if self._slots == 1 and not self._held:
            self._resume()

    def hold(self) -> None:
        """Accept no more for now, although there are slots."""
        self._held = True
        self._pause()

    def let_go(self) -> None:
        """Undo :meth:`hold`."""
        self._held = False
        if self._slots != 0 and not self._closing:
            self._resume()

    def stop(self) -> None:
        """Stop accepting at once; a connection that waits for a slot is refused."""
        self._closing = True
        while self._waiting:
            self._waiting.popleft()[0].close()
            self._refused()

    @abc.abstractmethod
    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""

    # -- what the two ways of accepting report -------------------------------------------------------------------

    def _arrived(self, sock: socket.socket, address: Address) -> None:
        """Serve a connection, hold it until there is a slot, or refuse it because the server is closing."""
        if self._closing:
            sock.close()
            self._refused()
        elif self._slots == 0:
            self._waiting.append((sock, address))
            self._pause()  # a listener may have come back from a pause of its own
        elif not self._serve(sock, address):
            self.leave()

    def _serve(self, sock: socket.socket, address: Address) -> bool:
        """Take a slot and begin to serve; return whether that worked. If not, it is logged and the socket closed."""
        if self._slots is not None:
            self._slots -= 1
            if not self._slots:
                self._pause()
        try:
            self._connected(sock, address)
        except BaseException as error:
            sock.close()
            if isinstance(error, SystemExit | KeyboardInterrupt):
                raise
            logger.error("serving a connection from %s could not begin", format_address(address), exc_info=error)
            return False
        return True

    def _accept_failed(self, error_log: AcceptErrorLog, error: BaseException, pause: float) -> None:
        self._failed(error)
        error_log.report(error, pause)


class NativeAcceptPipeline(BaseAcceptPipeline):
    """Accepting by ``accept_connections`` of the running loop, one of ours. It goes on after every error by itself."""

    _pipelines: tuple[AcceptPipeline, ...] = ()

    def start(self) -> None:
        """Have the loop accept."""
        loop = native(asyncio.get_running_loop())
        assert loop is not None
        # Without a limit there is nothing to ask for; and nothing arrives at a pipeline of the loop that was closed.
        arrived = self._serve if self._slots is None else self._arrived
        for listener in self._listeners:
            self._pipelines += (
                loop.accept_connections(
                    listener, arrived, self._reporter(AcceptErrorLog(listener)), most=self._accepts
                ),
            )

    def stop(self) -> None:
        """Stop accepting at once."""
        super().stop()
        for pipeline in self._pipelines:
            pipeline.close()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        self.stop()
        for listener in self._listeners:
            listener.close()

    def _pause(self) -> None:
        for pipeline in self._pipelines:
            pipeline.stop()

    def _resume(self) -> None:
        # Another one first each time, or the first listener would always have the slot.
        self._pipelines = (*self._pipelines[1:], *self._pipelines[:1])
        for pipeline in self._pipelines:
            pipeline.start()

    def _reporter(self, error_log: AcceptErrorLog) -> Callable[[BaseException, float], None]:
        def report(error: BaseException, pause: float) -> None:
            self._accept_failed(error_log, error, pause)

        return report
