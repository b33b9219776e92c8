"""Frames of one fixed length."""

from __future__ import annotations

from typing import Any

from proactor_echo.arguments import check_whole
from proactor_echo.errors import FramingError
from proactor_echo.wire.codec import BytesLike, Codec, Decoder, as_bytes, too_long
from proactor_echo.wire.equal_frames import MAX_EQUAL_FRAMES, EqualFramesCache

__all__ = ["FixedCodec"]


class FixedCodec(Codec):
    """Frames that all have the same length and nothing around them.

    :param length: bytes in each frame, 1 or more.

    ``encode`` refuses a payload of any other length: padding it is the application's business, for only the application
    can take the padding off again.
    """

    max_frame_length: int
    canonical = True

    def __init__(self, length: int) -> None:
        check_whole("length", length, least=1, unit="bytes")
        self.length = self.max_frame_length = length
        self._equal_frames = EqualFramesCache(_shape)

    def __repr__(self) -> str:
        return f"FixedCodec({self.length})"

    def encode(self, payload: BytesLike) -> bytes:
        """Return the payload, if it has the right length."""
        payload = as_bytes(payload)
        if len(payload) > self.length:
            raise too_long(len(payload), self.length)
        if len(payload) < self.length:
            raise FramingError(f"a payload must have exactly {self.length} bytes, not {len(payload)}")
        return payload

    def decoder(self) -> Decoder:
        """Return a new decoder, for one stream."""
        return _FixedDecoder(self.length, self._equal_frames)


def _shape(length: int) -> tuple[str, tuple[Any, ...], str]:
    return "", (), f"{length}s"


class _FixedDecoder(Decoder):
    def __init__(self, length: int, equal_frames: EqualFramesCache) -> None:
        super().__init__()
        self._length = length
        self._equal_frames = equal_frames

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        length = self._length
        position = 0
        if self.pending:
            position = length - len(self.pending)
            self.pending += data[:position]
            if len(self.pending) < length:
                return
            frames.append(bytes(self.pending))
            self.pending.clear()
        while count := min((len(data) - position) // length, MAX_EQUAL_FRAMES):
            frames += self._equal_frames[length, count].payloads(data, position)
            position += count * length
        self.pending += data[position:]
