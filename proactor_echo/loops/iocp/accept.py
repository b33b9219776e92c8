"""Accepting with AcceptEx: several accepts are outstanding, and their number follows the rate of connections."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.accept is for Windows only")

from typing import Any, Final

from proactor_echo.loops.accept import Acceptor
from proactor_echo.loops.iocp.operations import Accept

#: Outstanding accepts of a listener without traffic; each holds a socket.
FLOOR: Final = 4

#: Outstanding accepts of one listener, at most, by default: the backlog holds the connections of a longer burst.
CEILING: Final = 64

#: Iterations in a row in which a quarter of the accepts or fewer completed, before the depth is halved.
QUIET_ITERATIONS: Final = 64


class IocpAcceptor(Acceptor):
    """A listening socket served by a pipeline of AcceptEx."""

    __slots__ = ("_accepting", "_accepts", "_depth", "_fill_due", "_quiet", "_taken")

    _most: int

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._accepts: set[Accept] = set()
        self._accepting = False
        self._most = CEILING if self._most is None else self._most
        self._depth = min(FLOOR, self._most)
        self._quiet = 0  # iterations
        self._taken = 0  # accepts that came back since the last refill
        self._fill_due = False
        self._loop._proactor.watch(self._sock)

    def _start_accepting(self) -> None:
        """Keep the pipeline full from now on."""
        self._accepting = True
        self._fill()

    def _stop_accepting(self) -> None:
        """Submit no more. Outstanding accepts stay: each has its socket already."""
        self._accepting = False

    def close(self) -> None:
        """Cancel every outstanding accept; a connection that arrives before that is closed."""
        super().close()
        for accept in self._accepts:
            accept.reclaim()

    def _fill(self) -> None:
        """Submit accepts up to the depth, which follows how many completed in the last iteration.

        Lifetime: as :meth:`Accept.submit`; this object is held by each accept until its completion.
        """
        self._fill_due = False
        self._adapt()
        loop = self._loop
        while self._accepting and len(self._accepts) < self._depth and self._sock.fileno() != -1:
            try:
                accept = Accept(self._sock, self._finished)
                accept.submit(loop._proactor)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                if self.failed(exc, submitting=True):
                    self._fill_soon()
                return
            self._accepts.add(accept)

    def _adapt(self) -> None:
        taken, self._taken = self._taken, 0
        if taken >= self._depth:
            self._depth = min(self._depth * 2, self._most)
            self._quiet = 0
        elif taken * 4 > self._depth:
            self._quiet = 0
        elif taken:
            self._quiet += 1
            if self._quiet >= QUIET_ITERATIONS:
                self._depth = max(self._depth // 2, min(FLOOR, self._most))
                self._quiet = 0

    def _finished(self, accept: Accept, peer: Any, exc: BaseException | None) -> None:
        self._accepts.discard(accept)
        self._taken += 1
        if self._closed:
            accept.conn.close()
            return
        try:
            if exc is None:
                self.accepted(accept.conn, peer)
            else:
                self.failed(exc)  # a pause it takes also stops the refill
        finally:
            self._fill_soon()

    def _fill_soon(self) -> None:
        # Once in an iteration: the depth follows how many accepts complete in one.
        if not self._fill_due and self._accepting:
            self._fill_due = True
            self._loop.call_soon(self._fill)
