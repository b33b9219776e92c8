"""Frames with a length field: the parameters of Netty's LengthFieldBasedFrameDecoder, both ways in one object.

::

    | leading            | length field        | rest of the header, payload ...    |
     length_field_offset   length_field_length
    |<-------- H -------------------------->|
    |<-- initial_bytes_to_strip -->|<---- the payload as the user sees it ------->|
    |<-------------------------- the whole frame -------------------------------->|

With ``H = length_field_offset + length_field_length``, a frame whose field says ``value`` takes
``H + value + length_adjustment`` bytes, and the user gets it without its first ``initial_bytes_to_strip`` bytes. That
is Netty's arithmetic; what differs is that ``max_frame_length`` counts the payload handed to the user, not the frame.

Going the other way, a payload of n bytes needs ``value = n + initial_bytes_to_strip - H - length_adjustment``. What was
stripped has to be put back:

* everything stripped but the length field comes from ``header_bytes``, zeros if it is not given;
* a part of the header that is *not* stripped belongs to the payload, and the encoder finds it there. Where that part
  holds the length field, or the end of it, it must say what it has to say, or the payload is refused.

So whatever was decoded can be encoded, and gives the same bytes again, apart from what ``header_bytes`` replaced.

Source: io.netty.handler.codec.LengthFieldBasedFrameDecoder, its class documentation.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, Literal, NoReturn

from proactor_echo.arguments import check_bytes, check_choice, check_flag, check_whole
from proactor_echo.errors import FrameCorrupt, FramingError
from proactor_echo.wire.codec import BytesLike, Decoder, as_bytes, check_limit
from proactor_echo.wire.equal_frames import MAX_EQUAL_FRAMES, MIN_EQUAL_FRAMES, EqualFramesCache
from proactor_echo.wire.length_prefixed import DEFAULT_MAX_FRAME_LENGTH, FrameSize, SizedCodec, SizedDecoder

__all__ = ["LengthCodec"]


class LengthCodec(SizedCodec):
    """Frames that carry their length in a binary field, by default 4 bytes, big-endian, before the payload.

    :param length_field_length: bytes of the length field: 1, 2, 3, 4 or 8. It is unsigned.
    :param length_field_offset: bytes before the length field.
    :param length_adjustment: what to add to the field's value to get the number of bytes after the field. Negative
        where the field counts the header too; positive where more header follows that the field does not count.
    :param initial_bytes_to_strip: bytes at the start of the frame that the user does not get. None strips all up to
        the end of the length field.
    :param byteorder: ``"big"`` or ``"little"``.
    :param max_frame_length: the longest payload, in bytes, as the user gets it. None stands for 1 MiB, or what the
        length field can say if that is less.
    :param on_too_long: ``"raise"`` ends the stream with FrameTooLong; ``"skip"`` passes over exactly that frame,
        without storing it, counts it in ``decoder.skipped`` and goes on.
    :param fail_fast: raise FrameTooLong as soon as the header is there. False waits until the whole frame has gone by,
        without storing it.
    :param header_bytes: what ``encode`` puts into the stripped part of the header, the length field apart: first what
        comes before the field, then what comes after it. The decoder does not compare it. None: zeros.

    Raises ValueError for parameters with which some payload could not make the round trip.
    """

    max_frame_length: int

    def __init__(
        self,
        length_field_length: Literal[1, 2, 3, 4, 8] = 4,
        *,
        length_field_offset: int = 0,
        length_adjustment: int = 0,
        initial_bytes_to_strip: int | None = None,
        byteorder: Literal["big", "little"] = "big",
        max_frame_length: int | None = None,
        on_too_long: Literal["raise", "skip"] = "raise",
        fail_fast: bool = True,
        header_bytes: bytes | None = None,
    ) -> None:
        check_whole("length_field_length", length_field_length, least=None, unit="bytes")
        if length_field_length not in _FIELD:
            raise ValueError(f"length_field_length must be 1, 2, 3, 4 or 8, not {length_field_length}")
        check_whole("length_field_offset", length_field_offset, unit="bytes")
        check_whole("length_adjustment", length_adjustment, least=None, unit="bytes")
        check_whole("initial_bytes_to_strip", initial_bytes_to_strip, unit="bytes", optional=True)
        check_choice("byteorder", byteorder, ("big", "little"))
        check_flag("fail_fast", fail_fast)
        header_end = length_field_offset + length_field_length
        strip = header_end if initial_bytes_to_strip is None else initial_bytes_to_strip
        self.length_field_length = length_field_length
        self.length_field_offset = length_field_offset
        self.length_adjustment = length_adjustment
        self.initial_bytes_to_strip = strip
        self.byteorder: Literal["big", "little"] = byteorder
        self.on_too_long = on_too_long
        self.fail_fast = fail_fast

        # A field that says v announces a payload of v + bias bytes.
        self._bias = length_adjustment + header_end - strip
        self._kept = max(0, header_end - strip)  # header bytes that are part of the payload
        longest = (1 << 8 * length_field_length) - 1 + self._bias
        #: The shortest payload, in bytes, that these parameters can carry.
        self.min_frame_length: int = max(self._kept, self._bias, 0)
        if longest < self.min_frame_length:
            raise ValueError(
                f"with these parameters a payload has {self.min_frame_length} bytes or more, "
                f"but a {length_field_length}-byte length field can announce no more than {longest}"
            )
        if max_frame_length is None:
            max_frame_length = min(max(DEFAULT_MAX_FRAME_LENGTH, self.min_frame_length), longest)
        check_limit(max_frame_length, on_too_long)
        self.max_frame_length = max_frame_length
        if max_frame_length > longest:
            raise ValueError(
                f"max_frame_length is {max_frame_length}, but with these parameters "
                f"a {length_field_length}-byte length field can announce no more than {longest}"
            )
        if max_frame_length < self.min_frame_length:
            raise ValueError(
                f"max_frame_length is {max_frame_length}, "
                f"but with these parameters a payload has {self.min_frame_length} bytes or more"
            )

        before = min(strip, length_field_offset)
        after = max(0, strip - header_end)
        if header_bytes is None:
            header_bytes = bytes(before + after)
        check_bytes("header_bytes", header_bytes)
        if len(header_bytes) != before + after:
            raise ValueError(
                f"header_bytes must have {before + after} bytes, as many as are stripped besides the length field, "
                f"not {len(header_bytes)}"
            )
        self.header_bytes: bytes = as_bytes(header_bytes)
        self._before = self.header_bytes[:before]
        self._after = self.header_bytes[before:]
        self._field_stripped = min(max(0, strip - length_field_offset), length_field_length)
        # Header bytes that are stripped are not compared with ours.
        self.canonical: bool = not self.header_bytes and on_too_long == "raise" and fail_fast
        self._is_plain = not (self.header_bytes or self._kept)
        order = ">" if byteorder == "big" else "<"
        if length_field_length == 3:
            self._pack: Callable[[int], bytes] = _pack_24_big if byteorder == "big" else _pack_24_little
        else:
            self._pack = struct.Struct(order + _FIELD[length_field_length]).pack
        self._equal_frames = EqualFramesCache(self._shape, order)

    def __repr__(self) -> str:
        names = (
            *("length_field_length", "length_field_offset", "length_adjustment", "initial_bytes_to_strip"),
            *("byteorder", "max_frame_length", "on_too_long", "fail_fast", "header_bytes"),
        )
        return f"LengthCodec({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"

    def header(self, length: int) -> bytes:
        """Return the header of a payload of ``length`` bytes, without the header bytes that are part of the payload."""
        field = self._pack(length - self._bias)
        return field if self._is_plain else self._before + field[: self._field_stripped] + self._after

    def headers(self, lengths: Iterable[int]) -> Iterable[bytes]:
        """Return the headers of payloads of these lengths."""
        return map(self._pack if self._is_plain and not self._bias else self.header, lengths)

    def encode(self, payload: BytesLike) -> bytes:
        """Return the frame that carries one payload."""
        if type(payload) is not bytes:
            payload = as_bytes(payload)
        length = len(payload)
        if not self.min_frame_length <= length <= self.max_frame_length:
            self.refuse(length)
        if self._is_plain:
            return self._pack(length - self._bias) + payload
        frame = self.header(length) + payload
        if self._kept:
            self._check_own_length(frame)
        return frame

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the frames that carry the payloads; fastest when all of them have the same length."""
        return b"".join(map(self.encode, payloads)) if self._kept else super().encode_many(payloads)

    def decoder(self) -> Decoder:
        """Return a new decoder, for one stream."""
        return _LengthDecoder(self)

    def refuse(self, length: int) -> NoReturn:
        """Raise for a payload that is too long or too short."""
        if length < self.min_frame_length:
            raise FramingError(
                f"with these parameters a payload has {self.min_frame_length} bytes or more, not {length}"
            )
        super().refuse(length)

    def _check_own_length(self, frame: bytes) -> None:
        """Raise unless the length field is right in a frame where the payload holds it, or the end of it."""
        start = self.length_field_offset
        found = frame[start : start + self.length_field_length]
        expected = self._pack(len(frame) - self.initial_bytes_to_strip - self._bias)
        if found != expected:
            raise FramingError(
                f"in a payload of {len(frame) - self.initial_bytes_to_strip} bytes with these parameters "
                f"the length field must be {expected.hex(' ')}, not {found.hex(' ')}"
            )

    def _shape(self, value: int) -> tuple[str, tuple[Any, ...], str]:
        """Describe a frame whose length field says ``value``, for :class:`EqualFramesCache`."""
        length = value + self._bias
        rest = length + self.initial_bytes_to_strip - self.length_field_offset - self.length_field_length
        expected = value if self.length_field_length != 3 else self._pack(value)
        return (
            f"{self.length_field_offset}x{_FIELD[self.length_field_length]}{rest}x",
            (expected,),
            f"{self.initial_bytes_to_strip}x{length}s",
        )


_FIELD: Final = {1: "B", 2: "H", 3: "3s", 4: "I", 8: "Q"}


class _LengthDecoder(SizedDecoder):
    def __init__(self, codec: LengthCodec) -> None:
        offset, width = codec.length_field_offset, codec.length_field_length
        super().__init__(
            longest_header=offset + width,
            max_frame_length=codec.max_frame_length,
            equal_frames=codec._equal_frames,
            on_too_long=codec.on_too_long,
            fail_fast=codec.fail_fast,
        )
        self._strip = codec.initial_bytes_to_strip
        self._beyond = codec._bias + codec.initial_bytes_to_strip  # from the field's value to the whole frame
        self._lowest = max(0, codec._kept - codec._bias)  # less would not hold its own header
        self._highest = codec.max_frame_length - codec._bias
        # The last chunk that was equal frames and nothing else: its size, its EqualFrames, and the answer of skim().
        # The next chunk is often like it: one frame again, from a peer that waits for each answer, or many.
        self._equal_chunk: tuple[int, _Unpack, object, _Unpack, tuple[int, int]] = -1, _NOTHING, None, _NOTHING, (0, 0)
        order = ">" if codec.byteorder == "big" else "<"
        self._read: Callable[[bytes, int], tuple[Any, ...]]
        if width == 3:
            self._read = _reader_24(offset, codec.byteorder)
        else:
            self._read = struct.Struct(f"{order}{offset}x{_FIELD[width]}").unpack_from

    def parse_header(self, data: bytes, position: int) -> FrameSize | None:
        if len(data) - position < self._longest_header:
            return None
        (value,) = self._read(data, position)
        if value < self._lowest:
            raise FrameCorrupt(f"a length field of {value} is too small for the frame to hold its own header")
        return self._strip, value + self._beyond

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        size = len(data)
        if self.pending or self._left:
            position = self.resume(data, frames)
        else:
            equal_size, headers, expected, payloads, _ = self._equal_chunk
            if size == equal_size and headers(data, 0) == expected:
                frames += payloads(data, 0)
                return
            position = 0
        _, position = self._walk(data, position, frames)
        if position < size:
            self.pending += data[position:]

    def skim(self, data: bytes) -> tuple[int, int]:
        if self.pending or self._left or self._over:
            return 0, 0
        size, headers, expected, _, skimmed = self._equal_chunk
        if len(data) == size and headers(data, 0) == expected:
            return skimmed
        return self._walk(data, 0, None)

    def _walk(self, data: bytes, position: int, frames: list[bytes] | None) -> tuple[int, int]:
        """Decode or count the whole frames from ``position`` on; return how many they are, and where the last one ends.

        Their payloads are appended to ``frames``. If that is None they are only counted, up to one that is not allowed.
        This does what the base class does, with parse_header() written out: decoding speed depends on this loop.
        """
        size = len(data)
        last_start = size - self._longest_header
        read, strip, beyond = self._read, self._strip, self._beyond
        lowest, highest = self._lowest, self._highest
        backoff = self._backoff
        last = before = backoff.last
        seen = 0
        while position <= last_start:
            (value,) = read(data, position)
            if not lowest <= value <= highest:
                if frames is None:
                    break
                self.parse_header(data, position)
                position = self.discard_frame(value + beyond - strip, value + beyond, data, position)
                continue
            end = position + value + beyond
            if end > size:
                if frames is not None:
                    self._needed = end - position
                break
            if value != last:
                last = value
            elif backoff.wait:
                backoff.wait -= 1
            elif (count := (size - position) // (end - position)) >= MIN_EQUAL_FRAMES:
                if count > backoff.longest:
                    count = backoff.longest
                headers, expected, payloads = self._equal_frames[value, count]
                if headers(data, position) == expected:
                    if frames is not None:
                        frames += payloads(data, position)
                    if not seen and count * (end - position) == size:
                        self._equal_chunk = size, headers, expected, payloads, (count, size)
                    seen += count
                    position += count * (end - position)
                    if backoff.longest < MAX_EQUAL_FRAMES:
                        backoff.succeeded()
                    continue
                backoff.failed()
            if frames is not None:
                frames.append(data[position + strip : end])
            seen += 1
            position = end
        backoff.last = last
        if seen == 1 and value == before and position == size == value + beyond:
            self._equal_chunk = size, *self._equal_frames[value, 1], (1, size)
        return seen, position

    def unwrap(self, frame: bytearray) -> bytes:
        return bytes(memoryview(frame)[self._strip :])


_Unpack = Callable[[bytes, int], tuple[Any, ...]]
_NOTHING: Final = struct.Struct("").unpack_from


def _reader_24(offset: int, byteorder: Literal["big", "little"]) -> Callable[[bytes, int], tuple[int]]:
    def read(data: bytes, position: int) -> tuple[int]:
        start = position + offset
        return (int.from_bytes(data[start : start + 3], byteorder),)

    return read


def _pack_24_big(value: int) -> bytes:
    return value.to_bytes(3, "big")


def _pack_24_little(value: int) -> bytes:
    return value.to_bytes(3, "little")
