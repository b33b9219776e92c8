"""Length-prefixed frames: what the length, netstring and varint codecs have in common.

On the wire such a frame is a header, a payload, and perhaps a trailer. A subclass writes and parses headers. Frames
that arrive in pieces and frames that are too long are handled here, once for all of them.

The bytes of an unfinished frame are collected in ``pending``, and are not looked at again until the frame is complete:
a frame that arrives byte by byte costs each byte once. Frames that lie whole in a chunk are cut out of the chunk and
never touch ``pending``. A frame that is skipped is never stored.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import Final, NoReturn

from proactor_echo.arguments import check_bytes
from proactor_echo.errors import FrameCorrupt
from proactor_echo.wire.codec import BytesLike, Codec, Decoder, as_bytes, join, too_long, truncated
from proactor_echo.wire.equal_frames import MAX_EQUAL_FRAMES, MIN_EQUAL_FRAMES, Backoff, EqualFramesCache

__all__ = ["DEFAULT_MAX_FRAME_LENGTH", "FrameSize", "SizedCodec", "SizedDecoder"]

#: 1 MiB, as in no protocol's specification; Netty asks for a number and tokio-util takes 8 MiB.
DEFAULT_MAX_FRAME_LENGTH: Final = 1 << 20

#: ``(bytes before the payload, bytes of the whole frame)``, as a header says.
FrameSize = tuple[int, int]


_LEN_COUNTS_BYTES: Final = frozenset((bytes, bytearray))


class SizedCodec(Codec):
    """Puts a header before each payload, and the trailer behind it."""

    max_frame_length: int
    min_frame_length: int = 0
    trailer: bytes = b""

    @abstractmethod
    def header(self, length: int) -> bytes:
        """Return the header of a payload of ``length`` bytes, which is within the limits."""

    def headers(self, lengths: Iterable[int]) -> Iterable[bytes]:
        """Return the headers of payloads of these lengths."""
        return map(self.header, lengths)

    def encode(self, payload: BytesLike) -> bytes:
        """Return the frame that carries one payload."""
        payload = as_bytes(payload)
        length = len(payload)
        if not self.min_frame_length <= length <= self.max_frame_length:
            self.refuse(length)
        return self.header(length) + payload + self.trailer

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the frames that carry the payloads; fastest when all of them have the same length."""
        if len(payloads) < 2:
            return self.encode(payloads[0]) if payloads else b""
        try:
            lengths = list(map(len, payloads))
        except TypeError:
            for payload in payloads:
                check_bytes("the payload", payload)
            raise
        length = lengths[0]
        is_uniform = lengths.count(length) == len(lengths) and not self.trailer
        if is_uniform and self.min_frame_length <= length <= self.max_frame_length:
            header = self.header(length)
            frames = join(header, [b"", *payloads])
            # Not so if a payload is a memoryview or an array: their length counts items.
            if len(frames) == len(lengths) * (len(header) + length):
                return frames
        if not _LEN_COUNTS_BYTES.issuperset(map(type, payloads)):
            payloads = list(map(as_bytes, payloads))
            lengths = list(map(len, payloads))
        # A total within the limit saves looking for the longest.
        if sum(lengths) > self.max_frame_length and (longest := max(lengths)) > self.max_frame_length:
            self.refuse(longest)
        if self.min_frame_length and (shortest := min(lengths)) < self.min_frame_length:
            self.refuse(shortest)
        width = 3 if self.trailer else 2
        parts: list[BytesLike] = [self.trailer] * (width * len(lengths))
        parts[::width] = self.headers(lengths)
        parts[1::width] = payloads
        return b"".join(parts)

    def refuse(self, length: int) -> NoReturn:
        """Raise for a payload that is too long."""
        raise too_long(length, self.max_frame_length)


class SizedDecoder(Decoder):
    """Decodes frames whose length is known from their header."""

    pending: bytearray

    def __init__(
        self,
        *,
        longest_header: int,
        max_frame_length: int,
        equal_frames: EqualFramesCache,
        on_too_long: str = "raise",
        fail_fast: bool = True,
        trailer: bytes = b"",
    ) -> None:
        super().__init__()
        self._longest_header = longest_header
        self._limit = max_frame_length
        self._equal_frames = equal_frames
        self._skips = on_too_long == "skip"
        self._fail_fast = fail_fast
        self._trailer = trailer
        self._backoff = Backoff()
        self._needed = 0  # bytes of the frame in `pending`, 0 while its header is incomplete
        self._left = 0  # bytes still to come of a frame that is discarded
        self._deferred_length: int | None = None  # its length, if FrameTooLong is to be raised at its end

    @abstractmethod
    def parse_header(self, data: bytes, position: int) -> FrameSize | None:
        """Return the size of the frame at ``position``, or None while its header is incomplete.

        Raises :class:`~proactor_echo.errors.FrameCorrupt` for a header that makes no sense.
        """

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        """Cut the frames out of one chunk."""
        position = self.resume(data, frames) if self.pending or self._left else 0
        size = len(data)
        backoff = self._backoff
        last = backoff.last
        limit, trailer = self._limit, self._trailer
        tail = len(trailer)
        while position < size and (frame_size := self.parse_header(data, position)) is not None:
            start, total = frame_size
            length = total - start - tail
            if length > limit:
                position = self.discard_frame(length, total, data, position)
                continue
            end = position + total
            if end > size:
                self._needed = total
                break
            if frame_size != last:
                last = frame_size
            elif backoff.wait:
                backoff.wait -= 1
            elif (count := (size - position) // total) >= MIN_EQUAL_FRAMES:
                if count > backoff.longest:
                    count = backoff.longest
                headers, expected, payloads = self._equal_frames[data[position : position + start], count]
                if headers(data, position) == expected:
                    frames += payloads(data, position)
                    position += count * total
                    if backoff.longest < MAX_EQUAL_FRAMES:
                        backoff.succeeded()
                    continue
                backoff.failed()
            if tail and data[end - tail : end] != trailer:
                self._check_trailer(data, end)  # raises
            frames.append(data[position + start : end - tail])
            position = end
        backoff.last = last
        if position < size:
            self.pending += data[position:]

    def decode_end(self, frames: list[bytes]) -> None:
        """Raise FrameTruncated, also inside a frame that was being discarded, of which there are no bytes to show."""
        if self._left:
            raise truncated(b"")
        super().decode_end(frames)

    def resume(self, data: bytes, frames: list[bytes]) -> int:
        """Go on with the frame that the last chunk left unfinished; return where the next one begins in ``data``."""
        if self._left:
            return self._discard(data)
        pending = self.pending
        held = len(pending)
        if not self._needed:
            header = bytes(pending) + data[: self._longest_header - held]
            frame_size = self.parse_header(header, 0)
            if frame_size is None:
                pending += data
                return len(data)
            start, total = frame_size
            length = total - start - len(self._trailer)
            if length > self._limit:
                pending.clear()
                return self.discard_frame(length, total, data, -held)
            self._needed = total
        used = self._needed - held
        if used > len(data):
            pending += data
            return len(data)
        pending += data[:used]
        self._needed = 0
        frames.append(self.unwrap(pending))
        self.pending = bytearray()
        return used

    def unwrap(self, frame: bytearray) -> bytes:
        """Return the payload of a whole frame."""
        start, _ = self.parse_header(bytes(frame[: self._longest_header]), 0) or (0, 0)
        self._check_trailer(frame, len(frame))
        return bytes(memoryview(frame)[start : len(frame) - len(self._trailer)])

    def discard_frame(self, length: int, total: int, data: bytes, position: int) -> int:
        """Raise for the frame at ``position``, which is too long, or discard it; return where decoding goes on.

        ``position`` is negative when the frame began that many bytes before ``data``.
        """
        if self._skips:
            self.skipped += 1
        else:
            if self._fail_fast:
                raise too_long(length, self._limit)
            self._deferred_length = length
        self._left = total
        return self._discard(data, position)

    def _discard(self, data: bytes, position: int = 0) -> int:
        """Discard bytes of a frame, up to ``_left`` of them from ``position`` on; return where they end."""
        end = min(position + self._left, len(data))
        self._left -= end - position
        if not self._left:
            if self._deferred_length is not None:
                raise too_long(self._deferred_length, self._limit)
            self._check_trailer(data, end)
        return end

    def _check_trailer(self, data: bytes | bytearray, end: int) -> None:
        trailer = self._trailer
        if trailer and data[end - 1 : end] != trailer:
            raise FrameCorrupt(f"a frame must end with {trailer!r}, not {bytes(data[end - 1 : end])!r}")
