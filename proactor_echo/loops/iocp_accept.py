"""Accepting with AcceptEx: several accepts wait with the kernel, as many as the rate of connections asks for."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp_accept is for Windows only")

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from proactor_echo.loops.accepting import Acceptor
from proactor_echo.loops.overlapped import Accept
from proactor_echo.loops.writing import contained

if TYPE_CHECKING:
    import asyncio
    import socket

    from proactor_echo.loops.iocp_poll import BatchProactor

FLOOR = 4
"""Accepts a quiet listener leaves with the kernel; each holds a socket."""

CEILING = 64
"""Most accepts of one listener, unless told otherwise: the kernel's backlog holds the connections of a longer burst."""

CALM_TURNS = 64
"""Turns in a row that used a quarter of the accepts or less, before there are half as many."""


class IocpAcceptor(Acceptor):
    """A listening socket served by a pipeline of AcceptEx."""

    __slots__ = ("_accepting", "_accepts", "_calm", "_depth", "_fill_due", "_taken")

    _most: int

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._accepts: set[Accept] = set()
        self._accepting = False
        self._most = CEILING if self._most is None else self._most
        self._depth = min(FLOOR, self._most)
        self._calm = 0  # turns
        self._taken = 0  # accepts that came back since the last refill
        self._fill_due = False
        self._loop._proactor.watch(self._sock)

    def _start_accepting(self) -> None:
        """Keep the pipeline full from now on."""
        self._accepting = True
        self._fill()

    def _stop_accepting(self) -> None:
        """Submit no more. What is with the kernel stays there: it has its socket already."""
        self._accepting = False

    def close(self) -> None:
        """Have every accept back; a connection that arrived first is closed."""
        super().close()
        for accept in self._accepts:
            with contained:
                accept.cancel()

    def _fill(self) -> None:
        """Submit accepts up to the depth, which follows how many the last turn took.

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
            self._calm = 0
        elif taken * 4 > self._depth:
            self._calm = 0
        elif taken:
            self._calm += 1
            if self._calm >= CALM_TURNS:
                self._depth = max(self._depth // 2, min(FLOOR, self._most))
                self._calm = 0

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
        # Once a turn: how many accepts a turn takes is what the depth follows.
        if not self._fill_due and self._accepting:
            self._fill_due = True
            self._loop.call_soon(self._fill)


FIRST_LOOK, LAST_LOOK = 0.02, 1.0
"""Seconds between looks whether the listener of a connection nobody asked for has been closed."""


class AcceptQueue:
    """``loop.sock_accept`` of one listener. What a cancelled call had taken goes to the next.

    Nothing is lost and nothing logged: CPython closes the connection that a cancelled accept had already taken.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, proactor: BatchProactor, listener: socket.socket) -> None:
        self._loop = loop
        self._proactor = proactor
        self._listener = weakref.ref(listener)
        self._waiters: deque[asyncio.Future[tuple[socket.socket, Any]]] = deque()
        self._arrived: deque[tuple[socket.socket, Any]] = deque()
        self._accepts: set[Accept] = set()  # with the kernel, and not asked back
        proactor.watch(listener)

    async def accept(self, listener: socket.socket) -> tuple[socket.socket, Any]:
        """Wait for a connection: a socket as blocking as the listener, and the peer's address.

        Lifetime: as :meth:`Accept.submit`; each accept holds this queue until its completion.
        """
        if self._arrived:
            return self._arrived.popleft()
        if len(self._accepts) <= len(self._waiters):
            accept = Accept(listener, self._finished)
            accept.submit(self._proactor)
            self._accepts.add(accept)
        waiter: asyncio.Future[tuple[socket.socket, Any]] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except BaseException:
            if not waiter.done() or waiter.cancelled():
                self._ask_back(waiter)
            elif waiter.exception() is None:
                self._hand_on(waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _ask_back(self, waiter: asyncio.Future[Any]) -> None:
        """Leave no more accepts with the kernel than somebody waits for; what they took already is handed on."""
        if len(self._accepts) > sum(other is not waiter for other in self._waiters):
            self._accepts.pop().cancel()

    def _finished(self, accept: Accept, peer: Any, exc: BaseException | None) -> None:
        wanted = accept in self._accepts
        self._accepts.discard(accept)
        if exc is None:
            listener = self._listener()
            if listener is None or listener.fileno() == -1:
                accept.conn.close()
                return
            accept.conn.settimeout(listener.gettimeout())
            self._hand_on((accept.conn, peer))
        elif wanted and (waiter := self._next_waiter()) is not None:
            waiter.set_exception(exc)

    def _hand_on(self, connection: tuple[socket.socket, Any]) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(connection)
        else:
            self._arrived.append(connection)
            self._look(FIRST_LOOK)

    def _look(self, delay: float) -> None:
        """Close what arrived and nobody asked for when the listener is closed, which no event tells."""
        listener = self._listener()
        if listener is None or listener.fileno() == -1:
            self.close()
        elif self._arrived:
            self._loop.call_later(delay, self._look, min(delay * 2, LAST_LOOK))

    def _next_waiter(self) -> asyncio.Future[tuple[socket.socket, Any]] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def close(self) -> None:
        """Close what arrived and nobody asked for."""
        while self._arrived:
            self._arrived.popleft()[0].close()

    def __del__(self) -> None:
        self.close()
