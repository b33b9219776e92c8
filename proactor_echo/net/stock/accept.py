"""Accepting on any asyncio loop, by tasks that await ``loop.sock_accept``.

How it works. Each listener has accept tasks, which wait until there is a slot, accept one connection and deliver it. A
proactor loop runs ``accepts`` tasks for a listener, so that as many AcceptEx are outstanding and a burst of clients is
accepted without a round trip each. A readiness loop runs one: ``sock_accept`` there takes what is in the backlog
without waiting, so one task accepts until it would block.

Errors. A connection that ended before it was accepted makes the accept fail (ECONNABORTED on POSIX, WinError 64 or
10054 on Windows): that is counted, and accepting goes on at once. The stock ``create_server`` closes the listener
(gh-93821). Which errors ask for a pause, and for how long, is in :mod:`~proactor_echo.sockets.accept_errors`; a pause
is logged once.

Cancelling. Accepts are cancelled only when the server closes, and only while they have not completed (see
:mod:`~proactor_echo.net.stock.one_accept`). What arrived meanwhile is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.stock.one_accept import Accept
from proactor_echo.net.tcp.accept import BaseAcceptPipeline
from proactor_echo.net.tcp.accept_log import AcceptErrorLog

__all__ = ["StockAcceptPipeline"]

#: Connections accepted in a row before other tasks run.
BURST: Final = 32


class StockAcceptPipeline(BaseAcceptPipeline):
    """Accepting by ``sock_accept`` of the running loop, whichever it is."""

    _tasks: tuple[_AcceptTask, ...] = ()
    _free: asyncio.Event  # whether there is a slot

    def start(self) -> None:
        """Start the tasks."""
        self._free = asyncio.Event()
        self._free.set()
        super().start()

    def _accept_on(self, listener: socket.socket, *, shared: bool) -> None:
        count = self._accepts if is_proactor(self._loop) else 1
        if self._max_connections is not None:
            count = min(count, self._max_connections)
        error_log = AcceptErrorLog(listener)
        for accept_task in [_AcceptTask(error_log) for _ in range(count)]:
            accept_task.task = self._loop.create_task(self._run(accept_task), name=f"accept on {error_log.where}")
            self._tasks += (accept_task,)

    def stop(self) -> None:
        """Stop accepting at once; :meth:`close` waits until the tasks have ended."""
        super().stop()
        for accept_task in self._tasks:
            accept_task.stop()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        try:
            await super().close()
            tasks = [accept_task.task for accept_task in self._tasks if accept_task.task is not None]
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for listener in self._listeners:
                listener.close()

    def _pause(self) -> None:
        self._free.clear()

    def _resume(self) -> None:
        self._free.set()

    async def _run(self, accept_task: _AcceptTask) -> None:
        taken = 0
        while not self._closing:
            if not self._free.is_set():
                with accept_task.waiting():
                    await self._free.wait()
                # Go on although the slot may be taken by now: the first task that gets a connection takes it. A task
                # that went back to the end of the queue each time might never accept.
            try:
                sock, address = await accept_task.accept.take()
            except asyncio.CancelledError:
                if self._closing:
                    return
                raise
            except (SystemExit, KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                if not self._closing:
                    await self._recover(accept_task, error)
                continue
            accept_task.error_log.accepted()
            self._arrived(sock, address)
            taken += 1
            if taken % BURST == 0:
                await asyncio.sleep(0)

    async def _recover(self, accept_task: _AcceptTask, error: BaseException) -> None:
        """Wait as long as this error needs."""
        pause = accept_task.error_log.pause_after(error)
        self._accept_failed(accept_task.error_log, error, pause)
        with accept_task.waiting() if pause else contextlib.nullcontext():
            await asyncio.sleep(pause)


class _AcceptTask:
    """A task that accepts, and whether it waits for something else."""

    def __init__(self, error_log: AcceptErrorLog) -> None:
        self.error_log = error_log
        self.accept = Accept(error_log.listener)
        self.task: asyncio.Task[None] | None = None
        self._is_waiting = False

    @contextlib.contextmanager
    def waiting(self) -> Iterator[None]:
        """Mark a wait for something else than a connection: cancelling the task then loses none."""
        self._is_waiting = True
        try:
            yield
        finally:
            self._is_waiting = False

    def stop(self) -> None:
        """End the task soon, without losing a connection that has arrived."""
        if not self.accept.cancel() and self._is_waiting and self.task is not None:
            self.task.cancel()
