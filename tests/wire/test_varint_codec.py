"""Varints: five bytes and thirty-two bits, and the stream stays in step wherever it is cut."""

import pytest
from helpers.streams import decode, every_split

from proactor_echo.errors import FrameCorrupt, FrameTooLong
from proactor_echo.wire import VarintCodec

MOST = (1 << 32) - 1


@pytest.mark.parametrize(
    ("length", "header"),
    [
        (0, b"\x00"),
        (1, b"\x01"),
        (127, b"\x7f"),
        (128, b"\x80\x01"),
        (300, b"\xac\x02"),
        (16383, b"\xff\x7f"),
        (16384, b"\x80\x80\x01"),
        (2097151, b"\xff\xff\x7f"),
        (2097152, b"\x80\x80\x80\x01"),
    ],
)
def test_lengths_are_written_with_as_few_bytes_as_they_need(length: int, header: bytes) -> None:
    codec = VarintCodec(max_frame_length=MOST)
    payload = bytes(length)
    assert codec.encode(payload) == header + payload
    assert codec.decoder().feed(header + payload) == [payload]


def test_the_longest_length_has_32_bits() -> None:
    assert VarintCodec(max_frame_length=MOST).header(MOST) == b"\xff\xff\xff\xff\x0f"
    with pytest.raises(FrameTooLong) as caught:
        VarintCodec().decoder().feed(b"\xff\xff\xff\xff\x0f")
    assert caught.value.length == MOST


@pytest.mark.parametrize("header", [b"\xff\xff\xff\xff\x10", b"\xff\xff\xff\xff\x7f", b"\x80\x80\x80\x80\x80"])
def test_more_is_corrupt_and_not_too_long(header: bytes) -> None:
    for pieces in every_split(header):
        assert decode(VarintCodec(on_too_long="skip"), pieces).error is FrameCorrupt


def test_a_length_written_with_more_bytes_than_it_needs_is_accepted() -> None:
    assert VarintCodec().decoder().feed(b"\x80\x00" + b"\x81\x80\x80\x80\x00a" + b"\x82\x00bc") == [b"", b"a", b"bc"]


def test_a_run_with_lengths_written_in_two_ways_is_cut_right() -> None:
    stream = (b"\x01a" * 30 + b"\x81\x00b") * 5
    assert VarintCodec().decoder().feed(stream) == ([b"a"] * 30 + [b"b"]) * 5


def test_a_cut_after_any_byte_of_the_length_keeps_the_stream_in_step() -> None:
    stream = VarintCodec().encode_many([bytes(300), b"next", bytes(20000), b"last"])
    for place in [*range(12), *range(300, 320), *range(20310, len(stream))]:
        outcome = decode(VarintCodec(), [stream[:place], stream[place:]])
        assert list(map(len, outcome.frames)) == [300, 4, 20000, 4]


def test_exactly_the_frame_that_is_too_long_is_skipped() -> None:
    codec = VarintCodec(max_frame_length=3, on_too_long="skip")
    assert decode(codec, [b"\x01a\x04bc", b"de", b"\x80\x01" + bytes(128) + b"\x03fgh"]) == ([b"a", b"fgh"], None, 2)


def test_a_limit_beyond_32_bits_is_refused() -> None:
    with pytest.raises(ValueError, match="a varint length has 32 bits"):
        VarintCodec(max_frame_length=1 << 32)
