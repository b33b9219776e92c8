"""The decoder for frames that say their length before they begin: what length, netstring and varint have in common.

On the wire such a frame is a header, a payload, and perhaps a trailer. A subclass measures the header; what is done
with a frame that has arrived in pieces, or is too long, is written here once.

An unfinished frame is collected in ``pending``, and nothing is looked at again until as many bytes are there as the
frame needs: a frame that arrives byte by byte costs each byte once. Frames that lie whole in a chunk are cut out of the
chunk and never touch ``pending``. A frame that is skipped is never stored at all.
"""

from abc import abstractmethod
from typing import Final

from ..errors import FrameCorrupt, FrameTooLong
from .codec import Decoder, too_long, truncated
from .runs import Pace, Runs

__all__ = ["DEFAULT_MAX_FRAME_LENGTH", "Measure", "SizedDecoder"]

DEFAULT_MAX_FRAME_LENGTH: Final = 1 << 20
"""1 MiB, as in no protocol's specification; Netty asks for a number and tokio-util takes 8 MiB."""

Measure = tuple[int, int]
"""How many bytes come before the payload, and how many the whole frame takes."""


class SizedDecoder(Decoder):
    """Collects and cuts frames whose length is known from their header."""

    def __init__(
        self,
        *,
        longest_header: int,
        max_frame_length: int,
        runs: Runs,
        on_too_long: str = "raise",
        fail_fast: bool = True,
        trailer: bytes = b"",
    ) -> None:
        super().__init__()
        self._longest_header = longest_header
        self._limit = max_frame_length
        self._runs = runs
        self._skips = on_too_long == "skip"
        self._fail_fast = fail_fast
        self._trailer = trailer
        self._pace = Pace()
        self._needed = 0  # bytes of the frame in `pending`, 0 while its header is incomplete
        self._left = 0  # bytes still to come of a frame that is passed over
        self._overdue: FrameTooLong | None = None  # to be raised when it has been

    @abstractmethod
    def measure(self, data: bytes, position: int) -> Measure | None:
        """Measure the frame at ``position``, or return None while its header is incomplete.

        Raises :class:`~proactor_echo.errors.FrameCorrupt` for a header that makes no sense.
        """

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        """Cut the frames out of one chunk."""
        position = 0
        if self._left:
            position = self._go_past(data)
        elif self.pending:
            position = self._complete(data, frames)
        if position < len(data):
            position = self.cut(data, position, frames)
            if position < len(data):
                self.pending += data[position:] if position else data

    def decode_end(self, frames: list[bytes]) -> None:
        """Say truncated, also inside a frame that was being skipped, of which there are no bytes to show."""
        if self._left:
            raise truncated(b"")
        super().decode_end(frames)

    def cut(self, data: bytes, position: int, frames: list[bytes]) -> int:
        """Append the frames that lie whole in ``data`` from ``position`` on; return where the unfinished one begins."""
        size = len(data)
        pace = self._pace
        tail = len(self._trailer)
        while position < size and (measured := self.measure(data, position)) is not None:
            start, total = measured
            end = position + total
            length = total - start - tail
            if length > self._limit:
                position = self._pass_over(length, total, data, position)
                continue
            if end > size:
                self._needed = total
                break
            header = data[position : position + start]
            if header != pace.last:
                pace.last, pace.streak = header, 0
            else:
                pace.streak += 1
                if pace.streak >= pace.after:
                    count = min((size - position) // total, pace.longest)
                    if count >= pace.SHORTEST:
                        run = self._runs.get(header, count)
                        if run.headers(data, position) == run.expected:
                            frames += run.payloads(data, position)
                            position += count * total
                            pace.succeeded()
                            continue
                        pace.failed()
            self._check_trailer(data, end)
            frames.append(data[position + start : end - tail])
            position = end
        return position

    def _complete(self, data: bytes, frames: list[bytes]) -> int:
        """Add to the frame in ``pending`` what belongs to it; return where the next one begins in ``data``."""
        pending = self.pending
        held = len(pending)
        if not self._needed:
            header = bytes(pending) + data[: self._longest_header - held]
            measured = self.measure(header, 0)
            if measured is None:
                pending += data
                return len(data)
            start, total = measured
            length = total - start - len(self._trailer)
            if length > self._limit:
                pending.clear()
                return self._pass_over(length, total, data, -held)
            self._needed = total
        used = self._needed - held
        if used > len(data):
            pending += data
            return len(data)
        pending += data[:used]
        self._needed = 0
        start, _ = self.measure(bytes(pending[: self._longest_header]), 0) or (0, 0)
        self._check_trailer(pending, len(pending))
        with memoryview(pending) as view:
            frames.append(bytes(view[start : len(pending) - len(self._trailer)]))
        pending.clear()
        return used

    def _pass_over(self, length: int, total: int, data: bytes, position: int) -> int:
        """Raise for the frame at ``position``, which is too long, or go past it; return where decoding goes on.

        ``position`` is negative when the frame began that many bytes before ``data``.
        """
        if self._skips:
            self.skipped += 1
        else:
            self._overdue = too_long(length, self._limit)
            if self._fail_fast:
                raise self._overdue
        self._left = position + total
        return self._go_past(data)

    def _go_past(self, data: bytes) -> int:
        """Drop the bytes of a frame that is passed over, ``_left`` of them from the start of ``data``."""
        passed = min(self._left, len(data))
        self._left -= passed
        if not self._left:
            if self._overdue is not None:
                raise self._overdue
            self._check_trailer(data, passed)
        return passed

    def _check_trailer(self, data: bytes | bytearray, end: int) -> None:
        trailer = self._trailer
        if trailer and data[end - 1 : end] != trailer:
            raise FrameCorrupt(f"a frame must end with {trailer!r}, not {bytes(data[end - 1 : end])!r}")
