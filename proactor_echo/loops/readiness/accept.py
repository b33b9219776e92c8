"""Accepting in the readiness engine: until the backlog is empty, a bounded number in an iteration.

Several processes on one listener. Each accepts a few and then waits behind the others, so that on Linux the next
connection wakes the one that waits longest, and not all (EPOLLEXCLUSIVE, as nginx uses it). A process that was woken
and stopped before it accepted has taken that wake-up with it: so each looks again once a second.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.accept import Acceptor

# A connection costs some 30 us in the iterations around its acceptance: so long do the open ones wait for each. With 16
# a flood of connections triples their 99th percentile, with 128 it was 20 times that at rest; the CPU time is the same.
ACCEPTS_PER_ITERATION: Final = 16

#: The same on a listener that other processes accept on too, so that a burst is not all for the first of them.
ACCEPTS_OF_A_SHARE: Final = 2
#: Seconds after which such a listener is looked at without having been reported.
LOOK_AGAIN: Final = 1.0


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
        self._accept(ACCEPTS_PER_ITERATION)

    def _accept(self, most: int) -> None:
        accept = self._accept_quickly if private.accepts_as_stock(self._sock) else self._sock.accept
        for _ in range(most):
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


class SharedAcceptor(ReadinessAcceptor):
    """Accepts on a listener that other processes accept on too."""

    __slots__ = ("_timer",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._timer: asyncio.TimerHandle | None = None

    def _start_accepting(self) -> None:
        """Wait behind the other processes; what is in the backlog now is reported at once."""
        self._loop._selector.watch_shared(self._sock.fileno(), self._readable)
        self._accepting = True
        if self._timer is None:
            self._timer = self._loop.call_later(LOOK_AGAIN, self._look_again)

    def _stop_accepting(self) -> None:
        super()._stop_accepting()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_again(self) -> None:
        self._timer = None
        self._go_on()

    def _readable(self, _mask: int) -> None:
        self._accept(ACCEPTS_OF_A_SHARE)
        if self._accepting:
            self._start_accepting()
