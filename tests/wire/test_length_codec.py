"""The length codec: Netty's own examples, its arithmetic tried in full, and what is refused."""

import itertools
from typing import Any

import pytest
from helpers.streams import decode

from proactor_echo.errors import FrameCorrupt, FrameTooLong, FramingError
from proactor_echo.wire import LengthCodec

HELLO = b"HELLO, WORLD"

# The examples in the documentation of io.netty.handler.codec.LengthFieldBasedFrameDecoder.
NETTY = {
    "2 bytes at 0, not stripped": (
        LengthCodec(2, initial_bytes_to_strip=0),
        b"\x00\x0c" + HELLO,
        b"\x00\x0c" + HELLO,
    ),
    "2 bytes at 0, stripped": (LengthCodec(2), b"\x00\x0c" + HELLO, HELLO),
    "the length of the whole": (
        LengthCodec(2, length_adjustment=-2, initial_bytes_to_strip=0),
        b"\x00\x0e" + HELLO,
        b"\x00\x0e" + HELLO,
    ),
    "3 bytes after a header": (
        LengthCodec(3, length_field_offset=2, initial_bytes_to_strip=0),
        b"\xca\xfe\x00\x00\x0c" + HELLO,
        b"\xca\xfe\x00\x00\x0c" + HELLO,
    ),
    "3 bytes before a header": (
        LengthCodec(3, length_adjustment=2, initial_bytes_to_strip=0),
        b"\x00\x00\x0c\xca\xfe" + HELLO,
        b"\x00\x00\x0c\xca\xfe" + HELLO,
    ),
    "2 bytes between two headers": (
        LengthCodec(2, length_field_offset=1, length_adjustment=1, initial_bytes_to_strip=3, header_bytes=b"\xca"),
        b"\xca\x00\x0c\xfe" + HELLO,
        b"\xfe" + HELLO,
    ),
    "the same, the length of the whole": (
        LengthCodec(2, length_field_offset=1, length_adjustment=-3, initial_bytes_to_strip=3, header_bytes=b"\xca"),
        b"\xca\x00\x10\xfe" + HELLO,
        b"\xfe" + HELLO,
    ),
}


@pytest.mark.parametrize(("codec", "frame", "payload"), NETTY.values(), ids=NETTY)
def test_netty_s_examples_hold_both_ways(codec: LengthCodec, frame: bytes, payload: bytes) -> None:
    assert codec.decoder().feed(frame * 3) == [payload] * 3
    assert codec.encode(payload) == frame


@pytest.mark.parametrize("width", [1, 2, 3, 4, 8])
def test_every_parameter_set_goes_both_ways_or_is_refused(width: int) -> None:
    accepted = refused = 0
    for offset, adjustment, strip, byteorder in itertools.product(
        (0, 1, 3), (-13, -9, -8, -4, -3, -2, -1, 0, 1, 4), (None, *range(13)), ("big", "little")
    ):
        parameters: dict[str, Any] = {
            "length_field_length": width,
            "length_field_offset": offset,
            "length_adjustment": adjustment,
            "initial_bytes_to_strip": strip,
            "byteorder": byteorder,
        }
        if (codec := make(parameters)) is None:
            refused += 1
            continue
        accepted += 1
        header_end = offset + width
        stripped = header_end if strip is None else strip
        for value in (0, 1, 2, 3, 4, 8, 9, 15):
            total = header_end + value + adjustment
            field = value.to_bytes(width, codec.byteorder)
            # What is stripped, the length field apart, is zeros, which is what the encoder puts there.
            frame = (bytes(offset) + field + bytes(max(0, stripped - header_end))).ljust(total, b"p")
            if total < max(header_end, stripped):
                assert decode(codec, [frame]).error is FrameCorrupt, parameters
            else:
                payload = frame[stripped:]
                assert decode(codec, [frame, frame]) == ([payload] * 2, None, 0), parameters
                assert codec.encode(payload) == frame, parameters
    assert accepted > 500
    assert refused == 0 or width == 1


def make(parameters: dict[str, Any]) -> LengthCodec | None:
    try:
        return LengthCodec(**parameters)
    except ValueError:
        return None


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"length_field_length": 5}, "length_field_length must be 1, 2, 3, 4 or 8, not 5"),
        ({"length_field_length": 0}, "length_field_length must be 1, 2, 3, 4 or 8, not 0"),
        ({"length_field_offset": -1}, "length_field_offset must be 0 or more bytes, not -1"),
        ({"initial_bytes_to_strip": -1}, "initial_bytes_to_strip must be 0 or more bytes, not -1"),
        ({"max_frame_length": -1}, "max_frame_length must be 0 or more bytes, not -1"),
        ({"byteorder": "middle"}, "byteorder must be 'big' or 'little', not 'middle'"),
        ({"on_too_long": "ignore"}, "on_too_long must be 'raise' or 'skip', not 'ignore'"),
        (
            {"length_field_length": 1, "max_frame_length": 256},
            "max_frame_length is 256, but with these parameters a 1-byte length field can announce no more than 255",
        ),
        (
            {"length_field_length": 1, "length_adjustment": -2, "max_frame_length": 255},
            "max_frame_length is 255, but with these parameters a 1-byte length field can announce no more than 253",
        ),
        (
            {"length_adjustment": 10, "max_frame_length": 9},
            "max_frame_length is 9, but with these parameters a payload has 10 bytes or more",
        ),
        (
            {"length_field_length": 1, "length_adjustment": -300},
            (
                "with these parameters a payload has 0 bytes or more, "
                "but a 1-byte length field can announce no more than -45"
            ),
        ),
        (
            {"length_field_offset": 2, "header_bytes": b"abc"},
            "header_bytes must have 2 bytes, as many as are stripped besides the length field, not 3",
        ),
    ],
)
def test_parameters_that_cannot_go_both_ways_are_refused_with_one_sentence(
    parameters: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError) as caught:
        LengthCodec(**parameters)
    assert str(caught.value) == sentence


def test_the_limit_is_a_mebibyte_or_what_the_field_can_say() -> None:
    assert LengthCodec().max_frame_length == 1 << 20
    assert LengthCodec(1).max_frame_length == 255
    assert LengthCodec(2, length_adjustment=-2).max_frame_length == 65533
    assert LengthCodec(length_adjustment=2 << 20).max_frame_length == 2 << 20


def test_the_limit_counts_the_payload_and_not_the_header() -> None:
    codec = LengthCodec(2, length_field_offset=4, length_adjustment=-6, max_frame_length=3)
    assert codec.decoder().feed(b"head\x00\x09abc") == [b"abc"]
    with pytest.raises(FrameTooLong) as caught:
        codec.decoder().feed(b"head\x00\x0a")
    assert (caught.value.length, caught.value.limit) == (4, 3)


def test_too_long_is_said_as_soon_as_the_header_is_there() -> None:
    decoder = LengthCodec(max_frame_length=3).decoder()
    assert decoder.feed(b"\0\0\0") == []
    with pytest.raises(FrameTooLong):
        decoder.feed(b"\x04")


def test_too_long_is_said_at_the_end_of_the_frame_if_so_wanted() -> None:
    decoder = LengthCodec(max_frame_length=3, fail_fast=False).decoder()
    assert decoder.feed(b"\0\0\0\1a\0\0\0\x04") == [b"a"]
    assert decoder.feed(b"bcd") == []
    assert decoder.buffered == 0
    with pytest.raises(FrameTooLong) as caught:
        decoder.feed(b"e\0\0\0\1f")
    assert (caught.value.length, caught.value.frames) == (4, [])


def test_exactly_the_frame_that_is_too_long_is_skipped() -> None:
    codec = LengthCodec(max_frame_length=3, on_too_long="skip")
    stream = b"\0\0\0\1a" + b"\0\0\0\4bcde" + b"\0\0\0\5fghij" + b"\0\0\0\3klm"
    assert decode(codec, [stream]) == ([b"a", b"klm"], None, 2)


def test_a_skipped_frame_is_never_stored() -> None:
    decoder = LengthCodec(8, max_frame_length=3, on_too_long="skip").decoder()
    decoder.feed((1 << 40).to_bytes(8, "big"))
    for _ in range(100):
        assert decoder.feed(bytes(10_000)) == []
        assert decoder.buffered == 0
    assert decoder.skipped == 1


def test_a_corrupt_length_is_not_skipped() -> None:
    decoder = LengthCodec(2, length_adjustment=-2, max_frame_length=3, on_too_long="skip").decoder()
    with pytest.raises(FrameCorrupt, match="a length field of 1 is too small"):
        decoder.feed(b"\x00\x01")


def test_the_longest_length_of_8_bytes_is_too_long_and_not_negative() -> None:
    with pytest.raises(FrameTooLong) as caught:
        LengthCodec(8).decoder().feed(b"\xff" * 8)
    assert caught.value.length == (1 << 64) - 1


def test_stripped_header_bytes_are_written_around_the_length_field() -> None:
    codec = LengthCodec(1, length_field_offset=2, initial_bytes_to_strip=5, header_bytes=b"<<>>")
    assert codec.encode(b"abc") == b"<<\x05>>abc"
    assert codec.encode_many([b"abc", b"de"]) == b"<<\x05>>abc<<\x04>>de"
    assert codec.decoder().feed(b"??\x05??abc") == [b"abc"]


def test_a_payload_that_holds_its_own_length_must_hold_the_right_one() -> None:
    codec = LengthCodec(2, length_field_offset=1, initial_bytes_to_strip=0)
    assert codec.encode(b"T\x00\x03abc") == b"T\x00\x03abc"
    with pytest.raises(FramingError, match="the length field must be 00 03, not 00 04"):
        codec.encode(b"T\x00\x04abc")
    with pytest.raises(FramingError, match="a payload has 3 bytes or more, not 2"):
        codec.encode(b"T\x00")


def test_a_payload_shorter_than_the_parameters_can_say_is_refused() -> None:
    codec = LengthCodec(1, length_adjustment=2)
    assert codec.min_frame_length == 2
    assert codec.encode(b"ab") == b"\x00ab"
    for refused in ([b"a"], [b"a", b"b"], [b"abc", b"a"]):
        with pytest.raises(FramingError, match="a payload has 2 bytes or more, not 1"):
            codec.encode_many(refused)


def test_lengths_are_bytes_even_for_a_view_of_larger_items() -> None:
    wide = memoryview(b"abcdefgh").cast("I")
    codec = LengthCodec(1)
    assert codec.encode(wide) == b"\x08abcdefgh"
    assert codec.encode_many([wide, wide]) == b"\x08abcdefgh" * 2
    assert codec.encode_many([b"ab", wide]) == b"\x02ab\x08abcdefgh"
