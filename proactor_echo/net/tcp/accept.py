"""Accepting on our own event loops, which have the pipeline built in: no tasks, only callbacks.

What :mod:`~proactor_echo.net.stock.accept` says about throttling, errors and closing holds here too. The loop goes on
after every error by itself; here its trouble is counted and told once.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from proactor_echo.errors import classify
from proactor_echo.net.loop_api import AcceptPipeline, NativeLoop
from proactor_echo.net.stock.accept import handed_over, logger
from proactor_echo.net.tcp.accept_log import Trouble

__all__ = ["NativeAcceptPipeline"]


class NativeAcceptPipeline:
    """The same as :class:`~proactor_echo.net.stock.accept.Acceptor`, on ``accept_connections`` of one of our loops."""

    def __init__(
        self,
        loop: NativeLoop,
        listeners: Sequence[socket.socket],
        connected: Callable[[socket.socket, Any], None],
        *,
        accepts: int = 32,
        max_connections: int | None = None,
        failed: Callable[[BaseException], None] = lambda error: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._listeners = list(listeners)
        self._connected = connected
        self._failed = failed
        self._refused = refused
        self._accepts = accepts
        self._room = max_connections
        self._waiting: deque[tuple[socket.socket, Any]] = deque()  # accepted when the last place had just gone
        self._pipelines: deque[AcceptPipeline] = deque()
        self._closing = False

    def start(self) -> None:
        """Post the accepts."""
        for listener in self._listeners:
            trouble = Trouble(listener)
            self._pipelines.append(
                self._loop.accept_connections(listener, self._arrived, self._reporter(trouble), most=self._accepts)
            )

    def leave(self) -> None:
        """Give back the place of a connection that has ended."""
        if self._room is None:
            return
        self._room += 1
        if self._closing:
            return
        if self._waiting:
            self._hand_over(*self._waiting.popleft())
        elif self._room == 1:
            self._pipelines.rotate()  # or the first listener would always have the place
            for pipeline in self._pipelines:
                pipeline.start()

    def stop(self) -> None:
        """Accept no more, from this moment on."""
        self._closing = True
        for pipeline in self._pipelines:
            pipeline.close()
        while self._waiting:
            self._waiting.popleft()[0].close()
            self._refused()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        self.stop()
        for listener in self._listeners:
            listener.close()

    def _arrived(self, sock: socket.socket, address: Any) -> None:
        if self._closing:
            sock.close()
            self._refused()
        elif self._room == 0:
            self._waiting.append((sock, address))
            self._stop_pipelines()  # one may have come back from a pause of its own
        else:
            self._hand_over(sock, address)

    def _hand_over(self, sock: socket.socket, address: Any) -> None:
        if self._room is not None:
            self._room -= 1
            if self._room == 0:
                self._stop_pipelines()
        if not handed_over(self._connected, sock, address):
            self.leave()

    def _stop_pipelines(self) -> None:
        for pipeline in self._pipelines:
            pipeline.stop()

    def _reporter(self, trouble: Trouble) -> Callable[[BaseException, float], None]:
        def report(error: BaseException, pause: float) -> None:
            self._failed(error)
            if pause:
                trouble.report(error, pause)
            else:
                logger.info("%s: accepting a connection failed: %s", trouble.where, classify(error).text)

        return report
