"""One direction of a proxied connection: what arrives on one side goes through the faults and leaves on the other."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from typing import Final

from proactor_echo.errors import Disconnected, DisconnectReason, FramingError, ProtocolStateError
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.testing.faults.base import End, Piece, StreamEffect

__all__ = ["Pipe"]

#: Bytes held back at which reading from the source pauses.
LIMIT: Final = 1 << 20


class Pipe:
    """Carry bytes from ``source`` to ``sink`` until the stream ends.

    ``passed`` is called with the bytes that leave, ``worked`` with the key of each effect that something has gone
    through, once or more often, and ``ended`` once with how the stream ended.
    """

    def __init__(
        self,
        source: Connection,
        sink: Connection,
        *,
        passed: Callable[[bytes], None],
        worked: Callable[[Hashable], None],
        ended: Callable[[End], None],
    ) -> None:
        self._source = source
        self._sink = sink
        self._passed = passed
        self._worked = worked
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._effects: dict[Hashable, StreamEffect] = {}
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._queue: deque[Piece] = deque()
        self._held = 0
        self._source_end: End | None = None
        self._over = False
        self._changed = asyncio.Event()
        self._below_limit = asyncio.Event()
        self._tasks = [
            self._loop.create_task(self._read(), name="proxy: read"),
            self._loop.create_task(self._write(), name="proxy: write"),
        ]

    def add(self, key: Hashable, effect: StreamEffect) -> None:
        """Let ``effect`` work on everything that arrives from now on."""
        self._effects[key] = effect
        if first := list(effect.start(self._loop.time())):
            self._worked(key)
            self._enqueue(first)
        if effect.timer is not None:
            seconds, end = effect.timer
            self._timers[key] = self._loop.call_later(seconds, self._end_now, key, end)

    def remove(self, key: Hashable) -> None:
        """Take the effect away; pieces that it holds back may leave, and an end of file that it dropped comes."""
        later = self._after(key)
        effect = self._effects.pop(key, None)
        if timer := self._timers.pop(key, None):
            timer.cancel()
        if effect is not None:
            for piece in self._queue:
                piece.holds.pop(effect, None)
            self._pass(effect.release(self._loop.time()), later)
            if self._source_end is not None:
                self._arrived(Piece(self._loop.time(), end=self._source_end))
            self._changed.set()

    async def close(self) -> None:
        """Stop at once and drop what is held."""
        for timer in self._timers.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)

    # -- in ------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        end = End.EOF
        try:
            async for data in self._source:
                self._arrived(Piece(self._loop.time(), data))
                while self._held > LIMIT:
                    self._below_limit.clear()
                    await self._below_limit.wait()
        except Disconnected as error:
            if error.reason in (DisconnectReason.ABORTED, DisconnectReason.LOCAL_CLOSE):
                return  # we ended it
            end = End.RESET
        self._source_end = end
        self._arrived(Piece(self._loop.time(), end=end))

    def _arrived(self, piece: Piece) -> None:
        self._pass([piece], list(self._effects.items()))

    def _pass(self, pieces: Iterable[Piece], effects: Iterable[tuple[Hashable, StreamEffect]]) -> None:
        for key, effect in effects:
            self._worked(key)
            pieces = [out for arrived in pieces for out in effect.apply(arrived)]
        self._enqueue(pieces)

    def _after(self, key: Hashable) -> list[tuple[Hashable, StreamEffect]]:
        """Return the effects that work on what has been through this one."""
        keys = list(self._effects)
        return [(other, self._effects[other]) for other in keys[keys.index(key) + 1 :]] if key in keys else []

    def _enqueue(self, pieces: Iterable[Piece]) -> None:
        for piece in pieces:
            if self._over:
                return
            self._over = piece.end is not None
            self._queue.append(piece)
            self._held += len(piece.data)
            self._changed.set()

    def _end_now(self, key: Hashable, end: End) -> None:
        """End by a timer: pieces that are held back at that time are dropped."""
        self._worked(key)
        self._queue.clear()
        self._over = False
        self._enqueue([Piece(self._loop.time(), end=end)])

    # -- out -----------------------------------------------------------------------------------------------------

    async def _write(self) -> None:
        while True:
            piece = await self._next()
            if piece.end is not None:
                if piece.end is End.EOF:
                    with contextlib.suppress(Disconnected, ProtocolStateError):
                        await self._sink.send_eof()
                else:
                    await self._drain()
                self._ended(piece.end)
                return
            data = piece.data
            while self._queue and self._queue[0].joins and self._queue[0].due <= self._loop.time():
                data += self._take().data
            with contextlib.suppress(Disconnected, ProtocolStateError, FramingError):  # the sink's own pipe reports it
                await self._sink.send(data)
                self._passed(data)
            # Each piece is a write of its own: a connection joins what is sent in one iteration of the loop.
            await asyncio.sleep(0)

    async def _next(self) -> Piece:
        """Wait for the first piece in the queue, and until it is due."""
        while not self._queue or self._queue[0].due > self._loop.time():
            self._changed.clear()
            timer = None
            if self._queue and self._queue[0].due < _FAR:
                timer = self._loop.call_at(self._queue[0].due, self._changed.set)
            try:
                await self._changed.wait()
            finally:
                if timer:
                    timer.cancel()
        return self._take()

    def _take(self) -> Piece:
        piece = self._queue.popleft()
        self._held -= len(piece.data)
        if self._held <= LIMIT:
            self._below_limit.set()
        return piece

    async def _drain(self) -> None:
        """Wait until the sink's system has taken what was written, as long as it does take something."""
        transport = self._sink.transport
        last, tries = -1, 0
        while not transport.is_closing() and (left := transport.get_write_buffer_size()) and tries < 100:
            tries = tries + 1 if left == last else 0
            last = left
            await asyncio.sleep(0.005)


_FAR: Final = float("inf")
