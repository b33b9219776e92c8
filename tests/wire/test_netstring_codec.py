"""Netstrings: one way to write each, and bounded while their length is being read."""

import pytest
from helpers.streams import decode

from proactor_echo.errors import FrameCorrupt, FrameTooLong
from proactor_echo.wire import NetstringCodec


def test_the_examples_of_the_specification_hold_both_ways() -> None:
    codec = NetstringCodec()
    for payload, frame in ((b"hello world!", b"12:hello world!,"), (b"", b"0:,")):
        assert codec.encode(payload) == frame
        assert codec.decoder().feed(frame) == [payload]


def test_a_payload_may_hold_anything() -> None:
    assert NetstringCodec().decoder().feed(b"6:1:a,2:,0:,") == [b"1:a,2:", b""]


@pytest.mark.parametrize(
    ("stream", "sentence"),
    [
        (b"01:a,", "must not begin with a zero"),
        (b"00:,", "must not begin with a zero"),
        (b":,", "must be digits and a colon, not b':'"),
        (b"a", "must be digits and a colon, not b'a'"),
        (b"-1:", "must be digits and a colon, not b'-'"),
        (b"+1:a,", "must be digits and a colon, not b'\\+'"),
        (b" 1:a,", "must be digits and a colon, not b' '"),
        (b"1_0:", "must be digits and a colon, not b'1_'"),
        (b"\xb2:", r"must be digits and a colon, not b'\\xb2'"),
        (b"1:ab", "must end with b',', not b'b'"),
    ],
)
def test_everything_else_is_corrupt(stream: bytes, sentence: str) -> None:
    with pytest.raises(FrameCorrupt, match=sentence):
        NetstringCodec().decoder().feed(stream)
    assert decode(NetstringCodec(), [stream[i : i + 1] for i in range(len(stream))]).error is FrameCorrupt


def test_too_long_is_said_with_the_digit_that_makes_it_so() -> None:
    decoder = NetstringCodec(max_frame_length=500).decoder()
    assert decoder.feed(b"50") == []
    with pytest.raises(FrameTooLong) as caught:
        decoder.feed(b"1")
    assert (caught.value.length, caught.value.limit) == (501, 500)


def test_endless_digits_are_never_collected() -> None:
    assert decode(NetstringCodec(), [b"9" * 100_000]).error is FrameTooLong
    skipping = NetstringCodec(on_too_long="skip").decoder()
    assert skipping.feed(b"9" * 20) == []
    with pytest.raises(FrameCorrupt, match="more than 20 digits"):
        skipping.feed(b"9")


def test_exactly_the_frame_that_is_too_long_is_skipped() -> None:
    codec = NetstringCodec(max_frame_length=3, on_too_long="skip")
    assert decode(codec, [b"1:a,4:bc", b"de", b",12:fghijklmnopq,3:rst,"]) == ([b"a", b"rst"], None, 2)


def test_a_skipped_frame_must_end_with_its_comma_too() -> None:
    codec = NetstringCodec(max_frame_length=3, on_too_long="skip")
    assert decode(codec, [b"4:abcd;1:e,"]).error is FrameCorrupt
    assert decode(codec, [b"4:abcd", b";1:e,"]).error is FrameCorrupt


def test_in_a_run_of_equal_frames_every_comma_is_looked_at() -> None:
    frames = [b"3:abc,"] * 100
    for index in range(100):
        damaged = frames.copy()
        damaged[index] = b"3:abc;"
        outcome = decode(NetstringCodec(), [b"".join(damaged)])
        assert outcome.frames == [b"abc"] * index
        assert outcome.error is FrameCorrupt
