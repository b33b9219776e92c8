"""Frames with a varint before the payload, as Protocol Buffers streams have them.

A varint holds 7 bits of the number in each byte, the lowest first; the high bit says that another byte follows. 32 bits
take 5 bytes at most, and of the fifth only the lowest four bits: more is corrupt, not too long.

A number can be written with more bytes than it needs, ``80 00`` for 0. Protocol Buffers readers accept that, and
writers that reserve bytes for the length before they know it rely on it. So it is accepted here; ``encode`` writes the
shortest.

Source: Protocol Buffers documentation, "Encoding", Base 128 Varints.
"""

from __future__ import annotations

from typing import Any, Literal

from proactor_echo.errors import FrameCorrupt
from proactor_echo.wire.codec import Decoder, check_limit
from proactor_echo.wire.equal_frames import EqualFramesCache
from proactor_echo.wire.length_prefixed import DEFAULT_MAX_FRAME_LENGTH, FrameSize, SizedCodec, SizedDecoder

__all__ = ["VarintCodec"]


class VarintCodec(SizedCodec):
    """Frames with a 32-bit varint length before the payload.

    :param max_frame_length: the longest payload in bytes, below 4 GiB.
    :param on_too_long: ``"raise"`` ends the stream with FrameTooLong as soon as the length is there; ``"skip"``
        discards exactly that frame, without storing it, counts it in ``decoder.skipped`` and goes on.
    """

    def __init__(
        self,
        *,
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
        on_too_long: Literal["raise", "skip"] = "raise",
    ) -> None:
        check_limit(max_frame_length, on_too_long)
        if max_frame_length >= 1 << 32:
            raise ValueError(f"max_frame_length is {max_frame_length}, but a varint length has 32 bits")
        self.max_frame_length = max_frame_length
        self.on_too_long = on_too_long
        self._equal_frames = EqualFramesCache(_shape)

    def __repr__(self) -> str:
        return f"VarintCodec(max_frame_length={self.max_frame_length}, on_too_long={self.on_too_long!r})"

    def header(self, length: int) -> bytes:
        """Return the shortest varint for ``length``."""
        if length < 0x80:
            return bytes((length,))
        if length < 0x4000:
            return bytes((length & 0x7F | 0x80, length >> 7))
        return bytes((length & 0x7F | 0x80,)) + self.header(length >> 7)

    def decoder(self) -> Decoder:
        """Return a new decoder, for one stream."""
        return _VarintDecoder(self)


def _shape(header: bytes) -> tuple[str, tuple[Any, ...], str]:
    length = sum((byte & 0x7F) << 7 * index for index, byte in enumerate(header))
    return f"{len(header)}s{length}x", (header,), f"{len(header)}x{length}s"


class _VarintDecoder(SizedDecoder):
    def __init__(self, codec: VarintCodec) -> None:
        super().__init__(
            longest_header=5,
            max_frame_length=codec.max_frame_length,
            equal_frames=codec._equal_frames,
            on_too_long=codec.on_too_long,
        )

    def parse_header(self, data: bytes, position: int) -> FrameSize | None:
        try:
            number = data[position]
            if number < 0x80:
                return 1, 1 + number
            for index in range(1, 5):
                byte = data[position + index]
                number += byte - 1 << 7 * index  # the 1 takes away the high bit of the byte before
                if byte < 0x80:
                    if number >> 32:
                        break
                    return index + 1, index + 1 + number
        except IndexError:
            return None
        raise FrameCorrupt("a varint length of more than 32 bits")
