"""Accepts asked for one at a time, by ``loop.sock_accept``: cancelled without losing a connection."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.accept is for Windows only")

import weakref
from collections import deque
from typing import TYPE_CHECKING, Any

from proactor_echo.loops.iocp.operations import Accept

if TYPE_CHECKING:
    import asyncio
    import socket

    from proactor_echo.loops.iocp.port import BatchProactor


#: Seconds between checks whether the listener has been closed, while a connection waits that nobody asked for.
FIRST_POLL, LONGEST_POLL = 0.02, 1.0


class AcceptQueue:
    """``loop.sock_accept`` of one listener. The connection that a cancelled call had taken goes to the next call.

    None is lost. CPython would close the connection that a cancelled accept had already taken.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, proactor: BatchProactor, listener: socket.socket) -> None:
        self._loop = loop
        self._proactor = proactor
        self._listener = weakref.ref(listener)
        self._waiters: deque[asyncio.Future[tuple[socket.socket, Any]]] = deque()
        self._arrived: deque[tuple[socket.socket, Any]] = deque()
        self._accepts: set[Accept] = set()  # outstanding, and not cancelled
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
                self._cancel_accept(waiter)
            elif waiter.exception() is None:
                self._hand_on(waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _cancel_accept(self, waiter: asyncio.Future[Any]) -> None:
        """Have no more outstanding accepts than there are waiters; a connection that one took already is passed on."""
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
            self._poll_listener(FIRST_POLL)

    def _poll_listener(self, delay: float) -> None:
        """Close connections that nobody asked for once the listener is closed, for which there is no event."""
        listener = self._listener()
        if listener is None or listener.fileno() == -1:
            self.close()
        elif self._arrived:
            self._loop.call_later(delay, self._poll_listener, min(delay * 2, LONGEST_POLL))

    def _next_waiter(self) -> asyncio.Future[tuple[socket.socket, Any]] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def close(self) -> None:
        """Close the connections that arrived and that nobody asked for."""
        while self._arrived:
            self._arrived.popleft()[0].close()

    def __del__(self) -> None:
        self.close()
