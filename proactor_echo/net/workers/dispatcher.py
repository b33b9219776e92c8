"""Accepting for all workers, in a thread: each connection goes to the worker that has the fewest.

The listeners belong to no event loop and no completion port, so that a connection can be handed to another process on
Windows too. Nothing is accepted while no worker can take it: clients wait in the backlog. A worker that does not say
that it has taken what it was handed gets no more than :data:`MOST_ON_THE_WAY` connections.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Sequence
from typing import Final, Protocol

from proactor_echo.errors import classify
from proactor_echo.sockets import accept_errors

__all__ = ["Dispatcher", "Taker"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

MOST_ON_THE_WAY: Final = 64


class Taker(Protocol):
    """A worker that takes connections."""

    open: int  # as it has said last
    on_the_way: int  # handed to it since

    def hand(self, sock: socket.socket) -> bool:
        """Hand a connection over; return whether that worked."""


class Dispatcher:
    """Accept on ``listeners``, which it closes at the end."""

    def __init__(self, listeners: Sequence[socket.socket]) -> None:
        self._listeners = list(listeners)
        self._takers: list[Taker] = []
        self._changed = threading.Condition()
        self._stopping = False
        self._failures = 0
        self._near, self._far = socket.socketpair()
        self._selector = selectors.DefaultSelector()
        for sock in (*self._listeners, self._far):
            sock.setblocking(False)
            self._selector.register(sock, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._run, name="accept for the workers", daemon=True)
        self._thread.start()

    def add(self, taker: Taker) -> None:
        """Have a worker take connections."""
        with self._changed:
            self._takers.append(taker)
            self._changed.notify()

    def remove(self, taker: Taker) -> None:
        """Have it take no more."""
        with self._changed:
            if taker in self._takers:
                self._takers.remove(taker)

    def taken(self, taker: Taker, count: int, open_now: int) -> None:
        """Note that a worker has taken so many connections."""
        with self._changed:
            taker.on_the_way -= count
            taker.open = open_now
            self._changed.notify()

    def stop(self) -> None:
        """Accept no more, and close the listeners."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        with contextlib.suppress(OSError):
            self._near.send(b"!")
        self._thread.join()
        self._selector.close()
        for sock in (*self._listeners, self._near, self._far):
            sock.close()

    # -- in the thread -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while self._wait_for_taker():
            for key, _ in self._selector.select():
                if key.fileobj is self._far:
                    return
                assert isinstance(key.fileobj, socket.socket)
                self._accept(key.fileobj)

    def _wait_for_taker(self) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._stopping or self._best() is not None)
            return not self._stopping

    def _best(self) -> Taker | None:
        able = [taker for taker in self._takers if taker.on_the_way < MOST_ON_THE_WAY]
        return min(able, key=lambda taker: taker.open + taker.on_the_way, default=None)

    def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = listener.accept()
        except BlockingIOError:
            return
        except OSError as error:
            self._failed(error)
            return
        self._failures = 0
        with sock:  # the worker has a copy
            while self._wait_for_taker():
                with self._changed:  # held while handing over: nothing is handed to one that was removed
                    taker = self._best()
                    if taker is None:
                        continue
                    taker.on_the_way += 1
                    if taker.hand(sock):
                        return
                    self._takers.remove(taker)

    def _failed(self, error: OSError) -> None:
        pause = accept_errors.pause_after(error, self._failures)
        if not accept_errors.is_of_one_connection(error):
            self._failures += 1
        if pause:
            if self._failures == 1:
                logger.error("accepting for the workers fails (%s); it goes on after a pause", classify(error).text)
            with self._changed:
                self._changed.wait_for(lambda: self._stopping, pause)
