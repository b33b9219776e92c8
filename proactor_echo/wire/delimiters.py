r"""Frames that end with a delimiter, and lines.

Which delimiter ends a frame? The one that is complete first; of two that are complete with the same byte the longer
one. So with ``\r\n`` and ``\n``, a ``\r`` before ``\n`` belongs to the delimiter. This can be decided at every byte
without knowing the next one: no frame waits for bytes that a peer who waits for an answer will not send, and it does
not matter how the stream was cut. The price: a delimiter that contains another one anywhere but at its end would never
be found (``\r\n`` beside ``\r``: the ``\r`` ends the frame), so such a set is refused.

In a set that is accepted, the delimiter that is complete first has also begun first, and the search can be left to
:meth:`bytes.split` or one regular expression.

The bytes of an unfinished frame are searched once. Only its last bytes, in which a delimiter can have begun, are
searched again together with what follows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final, Literal

from proactor_echo.arguments import check_bytes, check_choice, check_flag
from proactor_echo.errors import FramingError
from proactor_echo.wire.codec import (
    BytesLike,
    Codec,
    Decoder,
    PartialFrame,
    as_bytes,
    check_limit,
    join,
    too_long,
    truncated,
)

__all__ = ["DelimiterCodec", "LineCodec"]

#: 64 KiB, asyncio's limit for ``StreamReader.readline``.
DEFAULT_MAX_LINE_LENGTH: Final = 1 << 16

#: Bytes in all delimiters of a codec together. Each byte of a stream that is made of near-misses is compared with up to
#: so many, so this bounds the CPU time a peer can use. A MIME boundary, the longest in use, has 74 (RFC 2046).
MOST_DELIMITER_BYTES: Final = 128


class DelimiterCodec(Codec):
    r"""Frames that end with one of several delimiters; the first is the one that ``encode`` writes.

    If the end of a payload and the first delimiter together would be read as another delimiter, ``encode`` writes the
    next one: with the delimiters ``\n`` and ``\r\n``, the payload ``a\r`` is written ``a\r\r\n``. So whatever a decoder
    returns can be encoded, except a last frame that had no delimiter.

    :param delimiters: one or more, of 128 bytes together at most; none of them empty, none hidden by another one (see
        the module's documentation).
    :param strip_delimiter: hand out frames without their delimiter. False leaves it on, and then a payload for
        ``encode`` brings its own.
    :param max_frame_length: the longest payload, in bytes, as the user gets it, so with its delimiter if that is left
        on.
    :param on_too_long: ``"raise"`` ends the stream with FrameTooLong; ``"skip"`` discards exactly that frame,
        without storing it, counts it in ``decoder.skipped`` and goes on.
    :param partial: what to do with a last frame that has no delimiter: ``"error"`` raises FrameTruncated;
        ``"deliver"`` hands it out as a :class:`PartialFrame`.
    """

    max_frame_length: int

    def __init__(
        self,
        *delimiters: bytes,
        strip_delimiter: bool = True,
        max_frame_length: int = DEFAULT_MAX_LINE_LENGTH,
        on_too_long: Literal["raise", "skip"] = "raise",
        partial: Literal["error", "deliver"] = "error",
    ) -> None:
        for delimiter in delimiters:
            check_bytes("a delimiter", delimiter)
        check_limit(max_frame_length, on_too_long)
        check_choice("partial", partial, ("error", "deliver"))
        check_flag("strip_delimiter", strip_delimiter)
        self.delimiters: tuple[bytes, ...] = tuple(map(as_bytes, delimiters))
        _check_delimiters(self.delimiters)
        self.strip_delimiter = strip_delimiter
        self.max_frame_length = max_frame_length
        self.on_too_long = on_too_long
        self.partial = partial
        self.canonical: bool = not strip_delimiter and on_too_long == "raise"
        self._longest = max(map(len, self.delimiters))
        if not strip_delimiter and max_frame_length < self._longest:
            raise ValueError(
                f"max_frame_length is {max_frame_length}, but with its delimiter, which is not stripped, "
                f"a frame can have {self._longest} bytes and no payload"
            )
        self._find, self._split = _searches(self.delimiters, strip_delimiter)

    def __repr__(self) -> str:
        return (
            f"DelimiterCodec({', '.join(map(repr, self.delimiters))}, strip_delimiter={self.strip_delimiter}, "
            f"max_frame_length={self.max_frame_length}, on_too_long={self.on_too_long!r}, partial={self.partial!r})"
        )

    def encode(self, payload: BytesLike) -> bytes:
        """Return the payload with a delimiter, or as it is if delimiters are not stripped."""
        payload = as_bytes(payload)
        size = len(payload)
        if size > self.max_frame_length:
            raise too_long(size, self.max_frame_length)
        if self.strip_delimiter:
            for delimiter in self.delimiters:
                frame = payload + delimiter
                if self._find(frame) == (size, len(frame)):
                    return frame
            found = self._find(payload + self.delimiters[0])
        else:
            found = self._find(payload)
            if found is None:
                raise FramingError("the payload must end with its delimiter, because strip_delimiter is False")
            if found[1] == size:
                return payload
        assert found is not None
        raise FramingError(
            f"the payload holds a delimiter, {(payload + self.delimiters[0])[slice(*found)]!r} at byte {found[0]}"
        )

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the payloads, each with a delimiter."""
        if not payloads:
            return b""
        delimiter = self.delimiters[0] if self.strip_delimiter else b""
        frames = join(delimiter, payloads) + delimiter
        # Decoding at once is quicker than searching each payload, and leaves no doubt.
        arrived = self._split(frames)[:-1]
        limit = self.max_frame_length
        if arrived == list(payloads) and (len(frames) <= limit or max(map(len, arrived)) <= limit):
            return frames
        return super().encode_many(payloads)

    def decoder(self) -> Decoder:
        """Return a new decoder, for one stream."""
        return _DelimiterDecoder(self)


class LineCodec(DelimiterCodec):
    r"""Lines that end with ``\n`` or ``\r\n``, whichever comes; ``encode`` writes ``newline``.

    :param newline: ``b"\n"`` or ``b"\r\n"``.
    :param strip_newline: hand out lines without their newline.
    :param max_frame_length: the longest line in bytes, without its newline if that is stripped.
    :param on_too_long: as for :class:`DelimiterCodec`.
    :param partial: as for :class:`DelimiterCodec`, for a last line without a newline.

    A lone ``\r`` is a byte like any other. A line that ends with one is always written with ``\r\n``.
    """

    def __init__(
        self,
        *,
        newline: bytes = b"\n",
        strip_newline: bool = True,
        max_frame_length: int = DEFAULT_MAX_LINE_LENGTH,
        on_too_long: Literal["raise", "skip"] = "raise",
        partial: Literal["error", "deliver"] = "error",
    ) -> None:
        check_bytes("newline", newline)
        check_flag("strip_newline", strip_newline)
        if newline not in (b"\n", b"\r\n"):
            raise ValueError(f"newline must be b'\\n' or b'\\r\\n', not {newline!r}")
        super().__init__(
            *((b"\n", b"\r\n") if newline == b"\n" else (b"\r\n", b"\n")),
            strip_delimiter=strip_newline,
            max_frame_length=max_frame_length,
            on_too_long=on_too_long,
            partial=partial,
        )

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the payloads, each with the newline."""
        if payloads and self.strip_delimiter:
            newline = self.delimiters[0]
            frames = join(newline, payloads) + newline
            # No newline but ours, and no carriage return that one of ours would take along.
            is_clean = frames.count(b"\n") == len(payloads) and (newline == b"\r\n" or b"\r" not in frames)
            if is_clean and len(frames) <= self.max_frame_length:
                return frames
        return super().encode_many(payloads)

    def __repr__(self) -> str:
        return (
            f"LineCodec(newline={self.delimiters[0]!r}, strip_newline={self.strip_delimiter}, "
            f"max_frame_length={self.max_frame_length}, on_too_long={self.on_too_long!r}, partial={self.partial!r})"
        )


def _check_delimiters(delimiters: Sequence[bytes]) -> None:
    if not delimiters:
        raise ValueError("at least one delimiter is needed")
    if b"" in delimiters:
        raise ValueError("a delimiter must not be empty")
    if (total := sum(map(len, delimiters))) > MOST_DELIMITER_BYTES:
        raise ValueError(f"the delimiters must have {MOST_DELIMITER_BYTES} bytes together or fewer, not {total}")
    for one in delimiters:
        for other in delimiters:
            if one in other[:-1]:
                raise ValueError(f"the delimiter {other!r} would never be found, because {one!r} is complete before it")


class _DelimiterDecoder(Decoder):
    def __init__(self, codec: DelimiterCodec) -> None:
        super().__init__()
        self._find = codec._find
        self._split = codec._split
        self._overlap = codec._longest - 1
        self._strips = codec.strip_delimiter
        self._limit = codec.max_frame_length
        self._skips = codec.on_too_long == "skip"
        self._delivers = codec.partial == "deliver"
        # The most that an unfinished frame can have while it may still turn out to be short enough.
        self._most_pending = self._limit + self._overlap if self._strips else self._limit - 1
        self._skipping = False

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        if self.pending or self._skipping:
            rest = self._complete(data, frames)
            if rest is None:
                return
            data = rest
        pieces = self._split(data)
        rest = pieces.pop()
        if len(data) > self._limit and pieces and max(map(len, pieces)) > self._limit:
            pieces = self._without_too_long(pieces, frames)
        frames += pieces
        self._keep(rest)

    def decode_end(self, frames: list[bytes]) -> None:
        if self._skipping:
            self.pending.clear()
            if not self._delivers:
                raise truncated(b"")
        elif self.pending and self._delivers:
            if len(self.pending) > self._limit:  # by what could have been the beginning of a delimiter
                self._too_long(len(self.pending))
            else:
                frames.append(PartialFrame(self.pending))
            self.pending.clear()
        super().decode_end(frames)

    def _complete(self, data: bytes, frames: list[bytes]) -> bytes | None:
        """Look for the end of the frame in ``pending``; return what follows it, or None if it is not there yet."""
        pending = self.pending
        tail = bytes(pending[-self._overlap :]) if self._overlap else b""
        found = self._find(tail + data)
        if found is None:
            self._keep(data)
            return None
        start, end = (index - len(tail) for index in found)
        length = len(pending) + (start if self._strips else end)
        if self._skipping:
            self._skipping = False
        elif length > self._limit:
            self._too_long(length)
        else:
            pending += data[:end]
            del pending[length:]
            frames.append(bytes(pending))
        pending.clear()
        return data[end:]

    def _keep(self, data: bytes) -> None:
        """Add to the unfinished frame; once that is certainly too long, keep no more than a delimiter may begin in."""
        pending = self.pending
        pending += data
        if len(pending) > self._most_pending and not self._skipping and pending:
            self._too_long(len(pending))
            self._skipping = True
        if self._skipping:
            del pending[: max(0, len(pending) - self._overlap)]

    def _without_too_long(self, pieces: list[bytes], frames: list[bytes]) -> list[bytes]:
        good = []
        for piece in pieces:
            if len(piece) <= self._limit:
                good.append(piece)
            else:
                frames += good
                good = []
                self._too_long(len(piece))
        return good

    def _too_long(self, length: int) -> None:
        if not self._skips:
            raise too_long(length, self._limit)
        self.skipped += 1


Find = Callable[[bytes], tuple[int, int] | None]
Split = Callable[[bytes], list[bytes]]


def _searches(delimiters: Sequence[bytes], strip: bool) -> tuple[Find, Split]:
    """Return the quickest way to find the first delimiter, and to split at all of them.

    The last piece of a split is what follows the last delimiter.
    """
    if set(delimiters) == {b"\n", b"\r\n"}:
        return _find_newline, _split_lines if strip else _split_keeping(b"(\n)")
    if len(delimiters) == 1:
        return _find_one(delimiters[0]), _split_one(delimiters[0]) if strip else _split_keeping_one(delimiters[0])
    # Where two match at one place neither begins the other, so their order means nothing; where one is the end of the
    # other, the longer begins first and is found first.
    pattern = re.compile(b"|".join(map(re.escape, delimiters)))

    def find(data: bytes) -> tuple[int, int] | None:
        found = pattern.search(data)
        return found and found.span()

    return find, pattern.split if strip else _split_keeping(b"(" + pattern.pattern + b")")


def _find_one(delimiter: bytes) -> Find:
    def find(data: bytes) -> tuple[int, int] | None:
        start = data.find(delimiter)
        return None if start < 0 else (start, start + len(delimiter))

    return find


def _split_one(delimiter: bytes) -> Split:
    def split(data: bytes) -> list[bytes]:
        return data.split(delimiter)

    return split


def _split_keeping_one(delimiter: bytes) -> Split:
    def split(data: bytes) -> list[bytes]:
        pieces = data.split(delimiter)
        return [*(piece + delimiter for piece in pieces[:-1]), pieces[-1]]

    return split


def _split_keeping(pattern: bytes) -> Split:
    split = re.compile(pattern).split

    def keeping(data: bytes) -> list[bytes]:
        pieces = split(data)
        return [*map(bytes.__add__, pieces[:-1:2], pieces[1::2]), pieces[-1]]

    return keeping


def _find_newline(data: bytes) -> tuple[int, int] | None:
    start = data.find(b"\n")
    if start < 0:
        return None
    return start - data.endswith(b"\r", 0, start), start + 1


def _split_lines(data: bytes) -> list[bytes]:
    pieces = data.split(b"\n")
    if b"\r" in data:
        last = pieces.pop()
        pieces = [piece.removesuffix(b"\r") for piece in pieces]
        pieces.append(last)
    return pieces
