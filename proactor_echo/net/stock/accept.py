"""The accept pipeline: connections taken from listening sockets on any asyncio loop, whatever goes wrong.

How it works. Each listener has lanes: tasks that wait until there is room, take one connection with
``loop.sock_accept``, and hand it on. A proactor loop runs ``accepts`` lanes a listener, so that as many AcceptEx are
outstanding and a burst of clients completes without a round trip each. A readiness loop runs one: ``sock_accept`` there
takes what is in the backlog without waiting, so one lane accepts until it would block.

Throttling. While ``max_connections`` are served nothing new is posted; clients wait in the listen backlog, are not
dropped, and are taken when somebody leaves. An accept that was already outstanding when the last place went is held
until there is room. (A lane does not take its place before it has a connection: the last place would then wait for a
client of one listener while another listener has one.)

Errors. A connection that died before it was accepted says so through the accept (ECONNABORTED on POSIX, WinError 64 or
10054 on Windows): count it and go on at once. The stock ``create_server`` closes the listener (gh-93821). What else
asks for a pause, and for how long, is in :mod:`~proactor_echo.sockets.accept_errors`; a pause is said once.

Cancelling. Accepts are cancelled only when the server closes, and only while they have not completed (see
:mod:`~proactor_echo.net.stock.one_accept`). What arrived meanwhile is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from proactor_echo.errors import classify
from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.stock.one_accept import Accept
from proactor_echo.net.tcp.accept_log import Trouble
from proactor_echo.sockets.addresses import format_address

__all__ = ["Acceptor"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")
#: Connections taken in a row before the rest of the program gets a turn.
BURST = 32


class Acceptor:
    """Accept from ``listeners`` and call ``connected(sock, address)`` for each connection.

    At most ``max_connections`` are handed over at once: call :meth:`leave` when one of them has ended. ``failed`` is
    called for each accept error, ``refused`` for each connection that arrived too late to be handed over.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connected: Callable[[socket.socket, Any], None],
        *,
        accepts: int = 32,
        max_connections: int | None = None,
        failed: Callable[[BaseException], None] = lambda error: None,
        refused: Callable[[], None] = lambda: None,
    ) -> None:
        self._connected = connected
        self._failed = failed
        self._refused = refused
        lanes = accepts if is_proactor(asyncio.get_running_loop()) else 1
        if max_connections is not None:
            lanes = min(lanes, max_connections)
        self._troubles = [Trouble(listener) for listener in listeners]
        self._lanes = [_Lane(trouble) for trouble in self._troubles for _ in range(lanes)]
        self._room = None if max_connections is None else asyncio.Semaphore(max_connections)
        self._closing = False

    def start(self) -> None:
        """Post the accepts."""
        for lane in self._lanes:
            lane.task = asyncio.create_task(self._run(lane), name=f"accept on {lane.trouble.where}")

    def leave(self) -> None:
        """Give back the place of a connection that has ended."""
        if self._room is not None:
            self._room.release()

    def stop(self) -> None:
        """Accept no more, from this moment on; :meth:`close` waits until nothing of it is left."""
        self._closing = True
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
            for trouble in self._troubles:
                trouble.listener.close()

    async def _run(self, lane: _Lane) -> None:
        taken = 0
        while not self._closing:
            if self._room is not None:
                with lane.resting():
                    await self._room.acquire()
                self._room.release()  # there is room; it goes to whoever gets a connection first
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
                    self._failed(error)
                    await self._recover(lane, error)
                continue
            lane.trouble.ease()
            await self._hand_over(lane, sock, address)
            taken += 1
            if taken % BURST == 0:
                await asyncio.sleep(0)

    async def _hand_over(self, lane: _Lane, sock: socket.socket, address: Any) -> None:
        if self._room is not None and not self._closing:
            try:
                with lane.resting():
                    await self._room.acquire()
            except asyncio.CancelledError:
                sock.close()
                self._refused()
                raise
        if self._closing:
            sock.close()
            self._refused()
        elif not handed_over(self._connected, sock, address):
            self.leave()

    async def _recover(self, lane: _Lane, error: BaseException) -> None:
        """Wait as long as this error needs."""
        trouble = lane.trouble
        pause = trouble.pause_after(error)
        if pause:
            trouble.report(error, pause)
            with lane.resting():
                await asyncio.sleep(pause)
        else:
            logger.info("%s: accepting a connection failed: %s", trouble.where, classify(error).text)
            await asyncio.sleep(0)


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


def handed_over(connected: Callable[[socket.socket, Any], None], sock: socket.socket, address: Any) -> bool:
    """Call ``connected``; when it raises, log that, close the socket and return False: others are to be served."""
    try:
        connected(sock, address)
    except BaseException as error:
        sock.close()
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise
        logger.error("serving a connection from %s could not begin", format_address(address), exc_info=error)
        return False
    return True
