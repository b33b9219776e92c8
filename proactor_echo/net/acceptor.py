"""The accept pipeline: connections taken from listening sockets on any asyncio loop, whatever goes wrong.

How it works. A task waits until there is room, asks the loop for one connection with ``loop.sock_accept``, and hands
the socket on. A proactor loop runs ``accepts`` such tasks a listener, so that as many AcceptEx are outstanding and a
burst of clients completes without a round trip each. A readiness loop runs one: ``sock_accept`` there takes what is in
the backlog without waiting, so one task accepts until it would block.

Throttling. While ``max_connections`` are served nothing new is posted; clients wait in the listen backlog, are not
dropped, and are taken when somebody leaves. An accept that was already outstanding when the last place went is held
until there is room.

Errors. A connection that died before it was accepted says so through the accept (ECONNABORTED on POSIX, WinError 64 or
10054 on Windows): count it and go on at once. The stock ``create_server`` closes the listener instead (gh-93821).
Being out of descriptors, memory or buffers is a state: pause, say so once, try again. Any error that keeps coming is
paused for too, so a broken listener cannot spin.

Cancelling. ``sock_accept`` is cancelled only when the server closes, and only while it has not completed (gh-77875: a
task cancelled at the wrong moment drops the client and leaks its socket). What arrived meanwhile is closed.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket
import sys
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

from ..addresses import format_address
from ..errors import classify, is_resource_error
from .protocol import is_proactor

__all__ = ["Acceptor"]

logger = logging.getLogger("proactor_echo.net")

#: Seconds to wait for descriptors, memory or buffers; Trio waits as long.
RESOURCE_PAUSE = 0.1
#: Errors in a row, without one connection, that are answered at once.
PATIENCE = 100
#: Connections taken in a row before the rest of the program gets a turn.
BURST = 32


class Acceptor:
    """Accept from ``listeners`` and call ``connected(sock)`` for each connection, at most ``max_connections`` at once.

    Call :meth:`leave` when a connection that was handed over has ended. ``failed`` is called for each accept error.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connected: Callable[[socket.socket], None],
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
        self._depth = accepts if is_proactor(asyncio.get_running_loop()) else 1
        self._room = None if max_connections is None else asyncio.Semaphore(max_connections)
        self._pending: dict[asyncio.Task[None], _Accept] = {}
        self._closing = False
        self._starved = False

    def start(self) -> None:
        """Post the accepts."""
        for listener in self._listeners:
            for _ in range(self._depth):
                accept = _Accept(listener)
                task = asyncio.create_task(self._run(accept), name=f"accept {format_address(listener.getsockname())}")
                self._pending[task] = accept

    def leave(self) -> None:
        """Give back the place of a connection that has ended."""
        if self._room is not None:
            self._room.release()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        self._closing = True
        for task, accept in self._pending.items():
            # A task that waits for room or for descriptors holds nothing that cancelling could lose.
            if not accept.cancel() and accept.waiting:
                task.cancel()
        if self._pending:
            await asyncio.wait(list(self._pending))
        for listener in self._listeners:
            listener.close()

    async def _run(self, accept: _Accept) -> None:
        errors = taken = 0
        while not self._closing:
            if self._room is not None:
                accept.waiting = True
                async with self._room:  # wait for room, but leave it to whoever gets a connection first
                    accept.waiting = False
            try:
                sock = await accept.take()
            except OSError as error:
                errors += 1
                if not self._closing:
                    self._failed(error)
                    await self._recover(accept, error, errors)
                continue
            except asyncio.CancelledError:
                if self._closing:
                    return
                raise
            errors, self._starved = 0, False
            await self._hand_over(accept, sock)
            taken += 1
            if taken % BURST == 0:
                await asyncio.sleep(0)

    async def _hand_over(self, accept: _Accept, sock: socket.socket) -> None:
        if self._room is not None and not self._closing:
            accept.waiting = True
            try:
                await self._room.acquire()
            except asyncio.CancelledError:
                sock.close()
                self._refused()
                raise
            accept.waiting = False
        if self._closing:
            sock.close()
            self._refused()
        else:
            self._connected(sock)

    async def _recover(self, accept: _Accept, error: OSError, errors: int) -> None:
        """Wait as long as this error needs, and say so once."""
        starved = is_resource_error(error)
        if not starved and errors < PATIENCE:
            logger.info("accepting a connection failed: %s; going on", classify(error).text)
            return
        if not self._starved:
            self._starved = True
            logger.warning(
                "accepting on %s is paused, trying every %.1f s: %s",
                format_address(accept.listener.getsockname()), RESOURCE_PAUSE, error.strerror or error,
            )  # fmt: skip
        accept.waiting = True
        await asyncio.sleep(RESOURCE_PAUSE)
        accept.waiting = False


class _Accept:
    """One accept at a time on one listener, which can be cancelled without losing a connection."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        #: Whether the task waits for something else than its accept.
        self.waiting = False
        self._future: asyncio.Future[Any] | None = None

    async def take(self) -> socket.socket:
        """Wait for a connection; the socket returned is non-blocking."""
        sock: socket.socket
        sock, _ = await self._drive(asyncio.get_running_loop().sock_accept(self.listener))
        sock.setblocking(False)
        return sock

    def cancel(self) -> bool:
        """Cancel the accept unless it has completed; tell whether there was one."""
        if self._future is None:
            return False
        self._future.cancel()
        return True

    @types.coroutine
    def _drive(self, accepting: Coroutine[Any, Any, tuple[socket.socket, Any]]) -> Generator[Any, Any, Any]:
        """Await ``accepting``, keeping the future it waits for so that it is this which can be cancelled.

        Cancelling a future that is done does nothing, while cancelling the task which waits for it would throw its
        result away.
        """
        guard = _AcceptGuard() if sys.platform == "win32" else None
        try:
            step = guard.start(accepting) if guard else accepting.send(None)
            while True:
                self._future = step
                try:
                    yield step
                except BaseException as error:
                    step = accepting.throw(error)
                else:
                    step = accepting.send(None)
        except StopIteration as done:
            return done.value
        except OSError:
            if guard:
                guard.close_socket()
            raise
        finally:
            self._future = None


class _AcceptGuard:
    """Tidy up after the stock proactor's accept.

    It starts a task of its own for each accept whose only work is to close the new socket when the accept is
    cancelled. If the accept fails, nobody asks that task for its exception ("Task exception was never retrieved") and
    nobody closes the socket ("unclosed socket"). A task factory set for the one synchronous step in which that task is
    made lets us do both.
    """

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def start(self, accepting: Coroutine[Any, Any, Any]) -> Any:
        """Run the first step of ``loop.sock_accept``."""
        loop = asyncio.get_running_loop()
        before = loop.get_task_factory()

        def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
            self._socket = inspect.getcoroutinelocals(coro).get("conn") if inspect.iscoroutine(coro) else None
            task = before(loop, coro, **options) if before else asyncio.Task(coro, loop=loop, **options)
            task.add_done_callback(lambda task: task.cancelled() or task.exception())
            return task

        loop.set_task_factory(factory)
        try:
            return accepting.send(None)
        finally:
            loop.set_task_factory(before)

    def close_socket(self) -> None:
        """Close the socket of an accept that failed."""
        if isinstance(self._socket, socket.socket):
            self._socket.close()
