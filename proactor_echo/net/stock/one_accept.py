"""One accept at a time on one listener, which can be cancelled without losing a connection.

Cancelling a task that waits in ``loop.sock_accept`` throws away what it would have returned, if that has arrived and
the task has not run yet: the client is dropped and its socket leaks (gh-77875). Cancelling the *future* that
``sock_accept`` waits for does nothing once it is done. So :class:`Accept` keeps hold of that future.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import sys
import traceback
import types
from collections.abc import Coroutine, Generator
from typing import Any

from proactor_echo.sockets.addresses import Address

__all__ = ["Accept"]

Accepted = tuple[socket.socket, Address]


class Accept:
    """Take connections from ``listener`` one after the other."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._future: asyncio.Future[Any] | None = None

    async def take(self) -> Accepted:
        """Wait for a connection; return its socket, non-blocking, and the peer's address."""
        sock, address = await self._drive(asyncio.get_running_loop().sock_accept(self._listener))
        sock.setblocking(False)
        return sock, address

    def cancel(self) -> bool:
        """Cancel the accept unless it has completed; return whether there was one."""
        if self._future is None:
            return False
        if not self._future.done() and self._listener.fileno() != -1:
            # The stock selector loop may have its accept() due in this same iteration. It would go through with it, and
            # leak the socket because the future is cancelled; unless its reader is removed first.
            with contextlib.suppress(NotImplementedError):  # a proactor has none
                asyncio.get_running_loop().remove_reader(self._listener)
        self._future.cancel()
        return True

    @types.coroutine
    def _drive(self, accepting: Coroutine[Any, Any, Accepted]) -> Generator[Any, Any, Accepted]:
        """Await ``accepting``, keeping the future it waits for."""
        guard = _Guard() if sys.platform == "win32" else None
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
            accepted: Accepted = done.value
            return accepted
        except Exception:
            if guard:
                guard.close_socket()
            raise
        finally:
            self._future = None


class _Guard:
    """Tidy up after the stock proactor's accept.

    It starts a task of its own for each accept whose only work is to close the new socket when the accept is
    cancelled. If the accept fails, nobody asks that task for its exception ("Task exception was never retrieved") and
    nobody closes the socket ("unclosed socket"). A task factory set for the one synchronous step in which that task is
    made lets us do both. If that step fails itself, the socket is in the frame that failed.
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
        except StopIteration:
            raise  # a client was there already
        except Exception as error:
            self._socket = self._socket or _socket_in(error)
            raise
        finally:
            loop.set_task_factory(before)

    def close_socket(self) -> None:
        """Close the socket of an accept that failed."""
        if isinstance(self._socket, socket.socket):
            self._socket.close()


def _socket_in(error: Exception) -> Any:
    # A function of its own: a generator left in a frame of the traceback that it walks is a cycle.
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return next((frame.f_locals["conn"] for frame in frames if "conn" in frame.f_locals), None)
