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
10054 on Windows): count it and go on at once. It was taken from the backlog, so this cannot spin, and pausing would let
whoever resets many connections fill the backlog. The stock ``create_server`` closes the listener (gh-93821). Being out
of descriptors, memory or buffers is a state: pause, say so once, try again. Errors that are neither may be a broken
listener's: a few are answered at once, then they are paused for too.

Cancelling. Accepts are cancelled only when the server closes, and only while they have not completed (see
:mod:`~proactor_echo.net.accept`). What arrived meanwhile is closed.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ..addresses import format_address
from ..errors import DisconnectReason, classify, is_resource_error
from .accept import Accept
from .protocol import is_proactor

__all__ = ["Acceptor", "Trouble"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Seconds to wait for descriptors, memory or buffers; Trio waits as long.
PAUSE = 0.1
#: Errors of no known kind, in a row, that one lane answers at once before it pauses.
PATIENCE = 3
#: What ends a connection without the listener's having a part in it.
OF_THE_PEER = frozenset(
    {
        DisconnectReason.PEER_RESET,
        DisconnectReason.PEER_GONE,
        DisconnectReason.ABORTED,
        DisconnectReason.TIMED_OUT,
        DisconnectReason.UNREACHABLE,
    }
)
#: Connections taken in a row before the rest of the program gets a turn.
BURST = 32
#: Seconds without trouble after which the next pause is worth a line in the log again.
CALM = 5.0


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
        failed: Callable[[Exception], None] = lambda error: None,
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
            except Exception as error:
                if not self._closing:
                    self._failed(error)
                    await self._recover(lane, error)
                continue
            lane.failures = 0
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
        else:
            self._connected(sock, address)

    async def _recover(self, lane: _Lane, error: Exception) -> None:
        """Wait as long as this error needs."""
        what = classify(error)
        if is_resource_error(error) or (what.reason not in OF_THE_PEER and lane.failures >= PATIENCE):
            lane.trouble.report(error)
            with lane.resting():
                await asyncio.sleep(PAUSE)
        else:
            lane.failures += what.reason not in OF_THE_PEER
            logger.info("%s: accepting a connection failed: %s", lane.trouble.where, what.text)
            await asyncio.sleep(0)


class _Lane:
    """A task that accepts, and what it is doing."""

    def __init__(self, trouble: Trouble) -> None:
        self.trouble = trouble
        self.accept = Accept(trouble.listener)
        #: Errors of no known kind since the last connection.
        self.failures = 0
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


class Trouble:
    """What is wrong with a listener, told once and not at every try."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.where: str = format_address(listener.getsockname())
        self._last = -math.inf
        self._healed = True

    def report(self, error: Exception, pause: float = PAUSE) -> None:
        """Log why accepting is paused, unless that has been said and nothing has been well for long since then."""
        now = asyncio.get_running_loop().time()
        if self._healed and now - self._last >= CALM:
            why = getattr(error, "strerror", None) or repr(error)
            logger.warning("accepting on %s is paused, trying again every %.1f s: %s", self.where, pause, why)
        self._last = now
        self._healed = False

    def ease(self) -> None:
        """Note that a connection was accepted."""
        self._healed = True
