"""Accepting on any asyncio loop, by tasks that await ``loop.sock_accept``.

How it works. Each listener has lanes: tasks that wait until there is a slot, take one connection and hand it on. A
proactor loop runs ``accepts`` lanes a listener, so that as many AcceptEx are outstanding and a burst of clients
completes without a round trip each. A readiness loop runs one: ``sock_accept`` there takes what is in the backlog
without waiting, so one lane accepts until it would block.

Errors. A connection that died before it was accepted says so through the accept (ECONNABORTED on POSIX, WinError 64 or
10054 on Windows): count it and go on at once. The stock ``create_server`` closes the listener (gh-93821). What else
asks for a pause, and for how long, is in :mod:`~proactor_echo.sockets.accept_errors`; a pause is said once.

Cancelling. Accepts are cancelled only when the server closes, and only while they have not completed (see
:mod:`~proactor_echo.net.stock.one_accept`). What arrived meanwhile is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator

from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.stock.one_accept import Accept
from proactor_echo.net.tcp.accept import BaseAcceptPipeline
from proactor_echo.net.tcp.accept_log import Trouble

__all__ = ["StockAcceptPipeline"]

#: Connections taken in a row before the rest of the program gets a turn.
BURST = 32


class StockAcceptPipeline(BaseAcceptPipeline):
    """Accepting by ``sock_accept`` of the running loop, whichever it is."""

    _lanes: tuple[_Lane, ...] = ()
    _free: asyncio.Event  # whether there is a slot

    def start(self) -> None:
        """Start the lanes."""
        self._free = asyncio.Event()
        self._free.set()
        lanes = self._accepts if is_proactor(asyncio.get_running_loop()) else 1
        if self._max_connections is not None:
            lanes = min(lanes, self._max_connections)
        troubles = [Trouble(listener) for listener in self._listeners]
        self._lanes = tuple(_Lane(trouble) for trouble in troubles for _ in range(lanes))
        for lane in self._lanes:
            lane.task = asyncio.create_task(self._run(lane), name=f"accept on {lane.trouble.where}")

    def stop(self) -> None:
        """Accept no more, from this moment on; :meth:`close` waits until nothing of it is left."""
        super().stop()
        for lane in self._lanes:
            lane.stop()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        self.stop()
        try:
            tasks = [lane.task for lane in self._lanes if lane.task is not None]
            if tasks:
                await asyncio.wait(tasks)
        finally:
            for listener in self._listeners:
                listener.close()

    def _pause(self) -> None:
        self._free.clear()

    def _resume(self) -> None:
        self._free.set()

    async def _run(self, lane: _Lane) -> None:
        taken = 0
        while not self._closing:
            if not self._free.is_set():
                with lane.resting():
                    await self._free.wait()
                # Go on although the slot may be gone by now: it is for whoever gets a connection first, and a lane
                # that went back to the end of the queue each time could be kept from accepting for ever.
            try:
                sock, address = await lane.accept.take()
            except asyncio.CancelledError:
                if self._closing:
                    return
                raise
            except (SystemExit, KeyboardInterrupt, GeneratorExit):
                raise
            except BaseException as error:
                if not self._closing:
                    await self._recover(lane, error)
                continue
            lane.trouble.ease()
            self._arrived(sock, address)
            taken += 1
            if taken % BURST == 0:
                await asyncio.sleep(0)

    async def _recover(self, lane: _Lane, error: BaseException) -> None:
        """Wait as long as this error needs."""
        pause = lane.trouble.pause_after(error)
        self._accept_failed(lane.trouble, error, pause)
        with lane.resting() if pause else contextlib.nullcontext():
            await asyncio.sleep(pause)


class _Lane:
    """A task that accepts, and what it is doing."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self.accept = Accept(trouble.listener)
        self.task: asyncio.Task[None] | None = None
        self._resting = False

    @contextlib.contextmanager
    def resting(self) -> Iterator[None]:
        """Mark a wait for something else than a connection: cancelling the task then loses none."""
        self._resting = True
        try:
            yield
        finally:
            self._resting = False

    def stop(self) -> None:
        """Come to an end soon, without losing sight of a connection that has arrived."""
        if not self.accept.cancel() and self._resting and self.task is not None:
            self.task.cancel()
