"""QueueingProtocol: frames wait in a queue until somebody receives them."""

from __future__ import annotations

import asyncio
import copy
from collections import deque
from time import perf_counter
from typing import Final

from proactor_echo.errors import Disconnect, DisconnectReason, FramingError, ProactorEchoError
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.observers import wake
from proactor_echo.net.tcp.protocol import FRAMES_AT_ONCE

__all__ = ["PER_FRAME", "QueueingProtocol"]

#: Of a read with more than :data:`FRAMES_AT_ONCE` frames, how many the receiver gets in an iteration of the loop, and
#: the seconds that an iteration may take: above them the number is halved, below a quarter of them doubled.
_FIRST_PORTION: Final = 64
_FEWEST: Final = 16
_ITERATION: Final = 0.002

#: What an object in a queue costs beside its payload, in bytes; keeps queues of empty frames bounded too.
PER_FRAME: Final = 48


class QueueingProtocol(StreamProtocol):
    """The protocol of a :class:`~proactor_echo.net.tcp.connection.Connection`: it queues frames, and wakes waiters.

    It does not refer to the connection, only to objects that both share: the two would be a cycle, and left to the
    garbage collector.
    """

    _has_watchers = True

    read_paused: bool = False
    ended: bool = False  # nothing comes behind the frames in the queue
    broken: Disconnect | None = None
    failure: FramingError | None = None
    later: deque[bytes] | None = None  # behind `frames`, while there are such: an empty one takes 600 bytes
    _portion: int = _FIRST_PORTION  # of `later`, that an iteration gets
    _refilled: float | None = None  # when the last portion was given, while there are more
    reader: asyncio.Future[None] | None = None

    def __init__(self, read_limit: int) -> None:
        super().__init__()
        self.frames: deque[bytes] = deque()  # to be received in this iteration of the loop
        self.queued: int = 0  # bytes in the queue, as they were on the wire
        self._counted = 0  # how many of the stream's bytes are in `queued`, or were
        self.writers: list[asyncio.Future[None]] = []
        self.watchers: list[asyncio.Future[None]] = []
        self._read_limit = read_limit

    def refill(self) -> None:
        """Move the next frames into ``frames``, from which the receiver takes them in this iteration of the loop.

        The fewer, the longer the last iteration took: many connections with many tiny frames, or a receiver that takes
        long for each, must not delay the others.
        """
        frames, later = self.frames, self.later
        if later is None:
            return
        now = perf_counter()
        if self._refilled is not None:
            took = now - self._refilled
            if took > _ITERATION:
                self._portion = max(_FEWEST, self._portion // 2)
            elif took < _ITERATION / 4:
                self._portion = min(FRAMES_AT_ONCE, self._portion * 2)
        for _ in range(min(len(later), self._portion - len(frames))):
            frames.append(later.popleft())
        if later:
            self._refilled = now
        else:
            self.later = self._refilled = None

    def end_error(self) -> ProactorEchoError:
        """Return the exception for receiving after the last frame."""
        stream = self._stream
        if self.failure is not None:
            return stream.sign(copy.copy(self.failure))
        return stream.end_of_stream() if self.broken is None else stream.lost_error(self.broken)

    @property
    def idle(self) -> bool:
        """Whether there is no pending output, no frame in the queue, and a task waits for the next one."""
        waits = self.reader is not None and not self.reader.done()
        return waits and not self.frames and not self.later and super().idle

    # -- called by the transport, and from StreamProtocol --------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Decode the bytes of one read and queue the frames (called by the transport)."""
        stream = self._stream
        try:
            frames = stream.feed(data)
        except Exception as error:  # of a codec of the application's own
            self.handler_failed(error)
            return
        if frames:
            if self.later or len(self.frames) + len(frames) > FRAMES_AT_ONCE:
                self._queue_behind(frames)
            else:
                self.frames.extend(frames)
            came = stream.bytes_in
            self.queued += came - self._counted + PER_FRAME * len(frames)
            self._counted = came
            if self.queued > self._read_limit and not self.read_paused:
                self.read_paused = True
                self._pause_reading()
            reader = self.reader
            if reader is not None:
                self.reader = None
                if not reader.done():  # cancelled
                    reader.set_result(None)
        if stream.failure is not None:
            self._framing_failed()

    def pause_writing(self) -> None:
        """Make senders wait (called by the transport)."""
        self._write_paused = True

    def resume_writing(self) -> None:
        """Let senders go on (called by the transport)."""
        self._write_paused = False
        wake(self.writers)

    def end_received(self) -> None:
        """End receiving after the frames in the queue; the handler decides what is still sent."""
        self._end()

    def connection_closed(self, disconnect: Disconnect) -> None:
        """End receiving, and wake a task that waits for a frame."""
        self._end(None if disconnect.reason in _ORDERLY else disconnect)

    def _handle_last(self, frames: list[bytes]) -> None:
        self._queue_behind(frames)
        self._wake_reader()

    def _framing_failed(self) -> None:
        """Have the receiver get the error, after the frames before it, and stop reading."""
        failure = self._stream.failure
        self._stream.set_reason(DisconnectReason.FRAMING, failure)
        if not self.ended:
            self.failure = failure
        self.read_paused = True
        self._pause_reading()
        self._end()

    def _close(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        super()._close(reason, error)
        if reason is DisconnectReason.LOCAL_CLOSE:
            self._end()

    def _state_changed(self) -> None:
        if self.watchers:
            wake(self.watchers)
        if self.writers and not self._stream.can_send:
            wake(self.writers)

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    def _holds_frames(self) -> bool:
        return bool(self.frames or self.later)

    def _clear_text_ended(self) -> None:
        self.read_paused = False  # what it was paused for has been received

    def _queue_behind(self, frames: list[bytes]) -> None:
        if self.later is None:
            self.later = deque()
        self.later.extend(frames)
        if self.reader is not None:  # it waits, and there was nothing
            self.refill()

    def _end(self, broken: Disconnect | None = None) -> None:
        """End receiving after the frames in the queue; the first reason counts."""
        if not self.ended:
            self.ended = True
            self.broken = broken
        if self.reader is not None:
            self._wake_reader()

    def _wake_reader(self) -> None:
        reader = self.reader
        if reader is not None:
            self.reader = None
            if not reader.done():  # cancelled
                reader.set_result(None)


_ORDERLY: Final = (DisconnectReason.END_OF_FILE, DisconnectReason.LOCAL_CLOSE)
