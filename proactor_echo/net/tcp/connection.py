"""Connection: the same frames in coroutines.

::

    async for frame in conn:
        await conn.send(frame)

Cancelling loses nothing. Frames wait in a queue that belongs to the connection, never in the coroutine that waits for
one: a cancelled :meth:`Connection.receive` took none. :meth:`Connection.send` waits *before* it takes the frame: if it
is cancelled, nothing of that frame was sent; once it returns, all of it will be.

The receive queue is bounded: with more than ``read_limit`` bytes in it, reading from the socket pauses until the queue
has been emptied, and the peer's own flow control does the rest. A receiver that never has to wait lets others run after
every :data:`~proactor_echo.net.tcp.protocol.FRAMES_AT_ONCE` frames: only so many are within its reach at a time.
"""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Self

from proactor_echo.arguments import check_whole
from proactor_echo.errors import (
    Disconnect,
    DisconnectReason,
    EndOfStream,
    FramingError,
    ProactorEchoError,
    ProtocolStateError,
)
from proactor_echo.net.loop_api import turn_end_of
from proactor_echo.net.tcp.core import next_wake, wake
from proactor_echo.net.tcp.ending import lost_error
from proactor_echo.net.tcp.protocol import FRAMES_AT_ONCE, Buffer, FramedProtocol
from proactor_echo.wire import Codec
from proactor_echo.wire.lifecycle import ConnectionState

__all__ = ["Connection"]

#: Bytes that a sender who never waits sends before they leave, and before it lets others run.
_GATHER = 65536
#: What an object in a queue costs beside its payload, in bytes; keeps queues of empty frames bounded too.
_PER_FRAME = 48


class Connection(FramedProtocol):
    """One TCP connection, of a server's handler or made by :func:`~proactor_echo.connect_tcp`.

    ``read_limit``: bytes in the receive queue at which reading pauses. Use it in ``async with`` or ``close()`` it.
    """

    def __init__(
        self,
        codec: Codec | None = None,
        *,
        write_limit: tuple[int, int] | None = None,
        read_limit: int = 262144,
        close_timeout: float = 10.0,
    ) -> None:
        check_whole("read_limit", read_limit, unit="bytes")
        super().__init__()
        self.configure(codec, write_limit=write_limit, close_timeout=close_timeout)
        self._loop = asyncio.get_running_loop()
        self._call_at_turn_end = turn_end_of(self._loop)
        self._read_limit = read_limit
        self._frames: deque[bytes] = deque()  # to be received in this iteration of the loop
        self._later: deque[bytes] = deque()  # behind them
        self._queued = 0
        self._sent_at_once = 0  # bytes sent since receiving or sending waited
        self._read_paused = False
        self._ended = False
        self._broken: Disconnect | None = None
        #: The :class:`FramingError` that ended receiving, if one did.
        self.failure: FramingError | None = None
        self._reader: asyncio.Future[None] | None = None
        self._writers: list[asyncio.Future[None]] = []
        self._watchers: list[asyncio.Future[None]] = []

    # -- receiving -----------------------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next frame.

        Raises :class:`EndOfStream` after the last frame once the peer (or we) ended the connection in an orderly way,
        :class:`Disconnected` when it broke, :class:`FramingError` when the bytes are no frames. Frames received
        before the end are always handed over first. One task may receive at a time.
        """
        while not self._frames:
            await self._more_frames()
        return self._frames.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            while not self._frames:
                await self._more_frames()
        except EndOfStream:
            raise StopAsyncIteration from None
        return self._frames.popleft()

    def _more_frames(self) -> Awaitable[None]:
        """Return what to await until the queue may have a frame, or raise what ended it."""
        if self._later:
            return self._next_portion_of_frames()
        if self._ended:
            raise self._end_error()
        # One that is done belongs to a task which was cancelled.
        if self._reader is not None and not self._reader.done():
            raise ProtocolStateError("another task is already receiving from this connection")
        self._queued = self._sent_at_once = 0
        if self._read_paused:
            self._read_paused = False
            self._resume_reading()
        self._reader = reader = self._loop.create_future()
        return reader

    async def _next_portion_of_frames(self) -> None:
        await asyncio.sleep(0)
        self._refill()

    def _refill(self) -> None:
        frames, later = self._frames, self._later
        while later and len(frames) < FRAMES_AT_ONCE:
            frames.append(later.popleft())

    def _end_error(self) -> ProactorEchoError:
        if self.failure is not None:
            return self._ending.sign(copy.copy(self.failure))
        if self._broken is not None:
            return self._ending.sign(lost_error(self.peer, self._broken))
        return self._ending.sign(EndOfStream(f"{self.peer}: no more frames"))

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(self, frame: Buffer) -> None:
        """Send one frame, after waiting while the peer is slow.

        Frames sent in one turn of the loop leave together. Raises as :meth:`FramedProtocol.send_frame` does. When it
        is cancelled, nothing of this frame was sent.
        """
        if self._write_paused or self._sent_at_once >= _GATHER:
            await self._room()
        if not self._lifecycle.can_send:
            self._check_sendable()
        encoded = self.codec.encode(frame)
        if not self._out:
            self._call_at_turn_end(self._flush)
        self._out.append(encoded)
        self._sent_at_once += len(encoded) + _PER_FRAME
        self._stats.frames_out += 1

    async def send_many(self, frames: Sequence[Buffer]) -> None:
        """Send several frames, after waiting while the peer is slow: one call, where :meth:`send` is one for each.

        All of them are sent or, when it raises or is cancelled, none; it waits before the first, not in between. Raises
        as :meth:`FramedProtocol.send_frame` does.
        """
        if self._write_paused or self._sent_at_once >= _GATHER:
            await self._room()
        if not self._lifecycle.can_send:
            self._check_sendable()
        encoded = self.codec.encode_many(frames)
        if not self._out:
            self._call_at_turn_end(self._flush)
        self._out.append(encoded)
        self._sent_at_once += len(encoded) + _PER_FRAME * len(frames)
        self._stats.frames_out += len(frames)

    async def _room(self) -> None:
        """Wait while the peer is slow, and let others run after so many bytes."""
        while True:
            if self._sent_at_once >= _GATHER:
                self._sent_at_once = 0
                self._flush()
                await asyncio.sleep(0)
            elif self._write_paused:
                self._check_sendable()
                await next_wake(self._writers)
            else:
                return

    # -- ending -------------------------------------------------------------------------------------------------

    async def state_changed(self) -> ConnectionState:
        """Wait for a change of :attr:`state` and return what it is then; returns at once when it is closed."""
        if self.state is ConnectionState.CLOSED:
            return self.state
        await next_wake(self._watchers)
        return self.state

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer or 'unconnected'} {self.state.value}>"

    @property
    def idle(self) -> bool:
        """Whether nothing is owed either way and somebody is waiting for the next frame."""
        waits = self._reader is not None and not self._reader.done()
        return waits and not self._frames and not self._later and super().idle

    # -- called from FramedProtocol ------------------------------------------------------------------------------

    def _deliver(self, frames: list[bytes]) -> None:
        """Queue the frames of one read."""
        self._stats.frames_in += len(frames)
        if self._later or len(self._frames) + len(frames) > FRAMES_AT_ONCE:
            self._later.extend(frames)
            if self._reader is not None:  # it waits, and there was nothing
                self._refill()
        else:
            self._frames.extend(frames)
        self._queued += sum(map(len, frames)) + _PER_FRAME * len(frames)
        if self._queued > self._read_limit and not self._read_paused:
            self._read_paused = True
            self._pause_reading()
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():
                reader.set_result(None)

    def end_received(self) -> None:
        """Let the receiver come to the end; the handler decides what is still sent."""
        self._end()

    def connection_closed(self, disconnect: Disconnect) -> None:
        """Wake whoever waits for a frame."""
        self._end(None if disconnect.reason in _ORDERLY else disconnect)

    def pause_writing(self) -> None:
        """Make senders wait (called by the transport)."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let senders go on (called by the transport)."""
        self._write_paused = False
        wake(self._writers)

    def _close(self, reason: DisconnectReason) -> None:
        super()._close(reason)
        if reason is DisconnectReason.LOCAL_CLOSE:
            self._end()

    def _fail(self, error: FramingError) -> None:
        """Hand the error to the receiver, after the frames before it, and read no more."""
        self._ending.note(DisconnectReason.FRAMING, error)
        if not self._ended:
            self.failure = copy.copy(error)  # which has no traceback, and none may be added: it would lead to us
        self._read_paused = True
        self._pause_reading()
        self._end()

    def _end(self, broken: Disconnect | None = None) -> None:
        """Let receiving come to its end after the frames in the queue; what ended it first stays the reason."""
        if not self._ended:
            self._ended = True
            self._broken = broken
        self._wake_reader()

    def _wake_reader(self) -> None:
        reader = self._reader
        if reader is not None:
            self._reader = None
            if not reader.done():  # cancelled
                reader.set_result(None)

    def _state_changed(self, before: ConnectionState, after: ConnectionState) -> None:
        wake(self._watchers)
        if not self._lifecycle.can_send:
            wake(self._writers)


_ORDERLY = (DisconnectReason.END_OF_FILE, DisconnectReason.LOCAL_CLOSE)
