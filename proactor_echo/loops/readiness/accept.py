"""Accepting in the readiness engine: until the backlog is empty, a bounded number in an iteration."""

from __future__ import annotations

import socket
from typing import Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.accept import Acceptor

# A connection costs some 30 us in the iterations around its acceptance: so long do the open ones wait for each. With 16
# a flood of connections triples their 99th percentile, with 128 it was 20 times that at rest; the CPU time is the same.
ACCEPTS_PER_ITERATION: Final = 16


class ReadinessAcceptor(Acceptor):
    """Accepts until the backlog is empty, a bounded number in an iteration."""

    __slots__ = ("_accept_quickly", "_accepting")

    def __init__(self, loop: Any, sock: socket.socket, *args: Any) -> None:
        super().__init__(loop, sock, *args)
        self._accept_quickly = private.quick_accept(sock)
        self._accepting = False

    def _start_accepting(self) -> None:
        """Accept whenever a connection is waiting."""
        poller = self._loop._selector
        poller.watch(self._sock.fileno(), poller.READ, self._readable)
        self._accepting = True

    def _stop_accepting(self) -> None:
        self._accepting = False
        poller = self._loop._selector
        fd = self._sock.fileno()
        if poller is not None and poller.watcher(fd) is self:  # the loop is not closed, nor the socket behind our back
            poller.forget(fd)

    def _readable(self, _mask: int) -> None:
        accept = self._accept_quickly if private.accepts_as_stock(self._sock) else self._sock.accept
        for _ in range(ACCEPTS_PER_ITERATION):
            conn = None
            try:
                conn, peer = accept()
                conn.setblocking(False)
            except (BlockingIOError, InterruptedError):
                return
            except BaseException as exc:
                if conn is not None:
                    conn.close()
                if isinstance(exc, SystemExit | KeyboardInterrupt):
                    raise
                self.failed(exc)
            else:
                self.accepted(conn, peer)
            if not self._accepting:  # paused, or the callback stopped accepting or closed its server
                return
