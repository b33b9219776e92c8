"""Netstrings: ``5:hello,``.

The length in decimal digits, a colon, the payload, a comma. Source: D. J. Bernstein, "Netstrings", 1997. As it demands,
a length has no leading zeros: there is one way to write each netstring, and every other is corrupt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, Literal

from proactor_echo.errors import FrameCorrupt
from proactor_echo.wire.codec import Decoder, check_limit, too_long
from proactor_echo.wire.equal_frames import EqualFramesCache
from proactor_echo.wire.length_prefixed import DEFAULT_MAX_FRAME_LENGTH, FrameSize, SizedCodec, SizedDecoder

__all__ = ["NetstringCodec"]

#: Digits in a length, at most, when frames that are too long are skipped: enough for 64 bits.
MOST_DIGITS: Final = 20

#: Digits in a length, at most, whose meaning is kept: a thousand of them is all there can be.
MOST_DIGITS_KEPT: Final = 3


class NetstringCodec(SizedCodec):
    """Frames written as ``5:hello,``.

    :param max_frame_length: the longest payload in bytes.
    :param on_too_long: ``"raise"`` ends the stream with FrameTooLong, as soon as the digits make a number over the
        limit; ``"skip"`` discards exactly that frame, without storing it, counts it in ``decoder.skipped`` and goes on.
    """

    trailer = b","

    def __init__(
        self,
        *,
        max_frame_length: int = DEFAULT_MAX_FRAME_LENGTH,
        on_too_long: Literal["raise", "skip"] = "raise",
    ) -> None:
        check_limit(max_frame_length, on_too_long)
        self.max_frame_length = max_frame_length
        self.on_too_long = on_too_long
        self.canonical: bool = on_too_long == "raise"
        self._equal_frames = EqualFramesCache(_shape)

    def __repr__(self) -> str:
        return f"NetstringCodec(max_frame_length={self.max_frame_length}, on_too_long={self.on_too_long!r})"

    def header(self, length: int) -> bytes:
        """Return the digits and the colon."""
        return b"%d:" % length

    def headers(self, lengths: Iterable[int]) -> Iterable[bytes]:
        """Return the headers of payloads of these lengths."""
        return map(b"%d:".__mod__, lengths)

    def decoder(self) -> Decoder:
        """Return a new decoder, for one stream."""
        return _NetstringDecoder(self)


def _shape(header: bytes) -> tuple[str, tuple[Any, ...], str]:
    length = int(header[:-1])
    return f"{len(header)}s{length}xc", (header, b","), f"{len(header)}x{length}sx"


class _NetstringDecoder(SizedDecoder):
    def __init__(self, codec: NetstringCodec) -> None:
        digits = MOST_DIGITS if codec.on_too_long == "skip" else len(str(codec.max_frame_length))
        super().__init__(
            longest_header=digits + 1,
            max_frame_length=codec.max_frame_length,
            equal_frames=codec._equal_frames,
            on_too_long=codec.on_too_long,
            trailer=codec.trailer,
        )

    def parse_header(self, data: bytes, position: int) -> FrameSize | None:
        colon = data.find(b":", position, position + self._longest_header)
        if colon > position:
            digits = data[position:colon]
            if (known := _SHORT_SIZES.get(digits)) is not None:
                return known
            if digits.isdigit() and (digits[:1] != b"0" or len(digits) == 1):
                start = len(digits) + 1
                frame_size = start, start + int(digits) + 1
                if start <= MOST_DIGITS_KEPT + 1:
                    _SHORT_SIZES[digits] = frame_size
                return frame_size
        self._check_beginning(data[position : position + self._longest_header])
        return None

    def _check_beginning(self, header: bytes) -> None:
        """Raise if ``header``, which has no colon in the right place, cannot become a header with more bytes."""
        digits = _DIGITS(header)[0]  # type: ignore[index]  # it matches anything
        if len(digits) > 1 and digits[:1] == b"0":
            raise FrameCorrupt("the length of a netstring must not begin with a zero")
        if digits and not self._skips and int(digits) > self._limit:
            raise too_long(int(digits), self._limit)
        if len(digits) < len(header):
            byte = header[len(digits) : len(digits) + 1]
            raise FrameCorrupt(f"the length of a netstring must be digits and a colon, not {digits + byte!r}")
        if len(digits) == self._longest_header:
            raise FrameCorrupt(f"the length of a netstring has more than {MOST_DIGITS} digits")


#: What short headers say, once they were seen: in a stream of tiny frames, reading them is most of the work.
_SHORT_SIZES: Final[dict[bytes, FrameSize]] = {}

_DIGITS: Final = re.compile(rb"[0-9]*").match
