"""An error is an error and the end is the end: what a decoder says, and what it keeps, when a stream goes wrong."""

import copy
import pickle
from collections.abc import Callable

import pytest

from proactor_echo.errors import FrameCorrupt, FrameTooLong, FrameTruncated, FramingError, ProtocolStateError
from proactor_echo.wire import (
    Codec,
    DelimiterCodec,
    FixedCodec,
    LengthCodec,
    LineCodec,
    NetstringCodec,
    RawCodec,
    VarintCodec,
)

BROKEN = {
    "length": (LengthCodec(max_frame_length=9), b"\0\0\0\2ab\0\0\0\1c", b"\0\0\0\x0a", FrameTooLong),
    "length-corrupt": (LengthCodec(1, length_adjustment=-1), b"\3ab\2c", b"\0", FrameCorrupt),
    "varint": (VarintCodec(max_frame_length=9), b"\2ab\1c", b"\x0a", FrameTooLong),
    "varint-corrupt": (VarintCodec(), b"\2ab\1c", b"\xff\xff\xff\xff\x10", FrameCorrupt),
    "netstring": (NetstringCodec(max_frame_length=9), b"2:ab,1:c,", b"10", FrameTooLong),
    "netstring-corrupt": (NetstringCodec(), b"2:ab,1:c,", b"1x", FrameCorrupt),
    "line": (LineCodec(max_frame_length=9), b"ab\nc\r\n", b"0123456789\n", FrameTooLong),
    "delimiter": (DelimiterCodec(b"--", max_frame_length=9), b"ab--c--", b"0123456789--", FrameTooLong),
}

every_broken = pytest.mark.parametrize(("codec", "good", "bad", "error"), BROKEN.values(), ids=BROKEN)


@every_broken
def test_frames_before_the_error_come_with_it(codec: Codec, good: bytes, bad: bytes, error: type[FramingError]) -> None:
    with pytest.raises(error) as caught:
        codec.decoder().feed(good + bad)
    assert caught.value.frames == [b"ab", b"c"]


@every_broken
def test_frames_that_were_handed_out_do_not_come_again_with_the_error(
    codec: Codec, good: bytes, bad: bytes, error: type[FramingError]
) -> None:
    decoder = codec.decoder()
    assert decoder.feed(good) == [b"ab", b"c"]
    with pytest.raises(error) as caught:
        decoder.feed(bad)
    assert caught.value.frames == []


@every_broken
def test_after_an_error_every_call_raises_it_again_without_the_frames(
    codec: Codec, good: bytes, bad: bytes, error: type[FramingError]
) -> None:
    decoder = codec.decoder()
    with pytest.raises(error) as first:
        decoder.feed(good + bad)
    calls: list[Callable[[], object]] = [
        lambda: decoder.feed(good),
        lambda: decoder.feed(b""),
        decoder.eof,
        decoder.eof,
    ]
    for call in calls:
        with pytest.raises(error, match=str(first.value)) as again:
            call()
        assert again.value.frames == []
        assert again.value is not first.value
    assert first.value.frames == [b"ab", b"c"]


@every_broken
def test_nothing_is_held_after_an_error(codec: Codec, good: bytes, bad: bytes, error: type[FramingError]) -> None:
    decoder = codec.decoder()
    with pytest.raises(error):
        decoder.feed(good + bad + b"more")
    assert decoder.buffered == 0


TRUNCATED = {
    "length-header": (LengthCodec(), b"\0\0\0\1a", b"\0\0"),
    "length-payload": (LengthCodec(), b"\0\0\0\1a", b"\0\0\0\5abc"),
    "varint-header": (VarintCodec(), b"\1a", b"\x85"),
    "varint-payload": (VarintCodec(), b"\1a", b"\x05abc"),
    "netstring-header": (NetstringCodec(), b"1:a,", b"12"),
    "netstring-payload": (NetstringCodec(), b"1:a,", b"3:ab"),
    "netstring-comma": (NetstringCodec(), b"1:a,", b"3:abc"),
    "line": (LineCodec(), b"a\n", b"abc\r"),
    "delimiter": (DelimiterCodec(b"--"), b"a--", b"abc-"),
    "fixed": (FixedCodec(2), b"-a", b"-"),
}

every_truncated = pytest.mark.parametrize(("codec", "whole", "partial"), TRUNCATED.values(), ids=TRUNCATED)


@every_truncated
def test_an_end_inside_a_frame_is_truncated_and_hands_over_the_bytes(
    codec: Codec, whole: bytes, partial: bytes
) -> None:
    decoder = codec.decoder()
    assert len(decoder.feed(whole + partial)) == 1
    assert decoder.buffered == len(partial)
    with pytest.raises(FrameTruncated) as caught:
        decoder.eof()
    assert caught.value.partial == partial
    assert decoder.buffered == 0


@every_truncated
def test_an_end_between_frames_is_an_end(codec: Codec, whole: bytes, partial: bytes) -> None:
    decoder = codec.decoder()
    decoder.feed(whole)
    assert decoder.eof() == []
    assert decoder.eof() == []


@every_truncated
def test_an_end_before_the_first_byte_is_an_end(codec: Codec, whole: bytes, partial: bytes) -> None:
    assert codec.decoder().eof() == []


def test_after_truncation_every_call_says_truncated_again() -> None:
    decoder = LengthCodec().decoder()
    decoder.feed(b"\0\0\0\5abc")
    for call in (decoder.eof, decoder.eof, lambda: decoder.feed(b"de")):
        with pytest.raises(FrameTruncated) as caught:
            call()
        assert caught.value.partial == b"\0\0\0\5abc"


@pytest.mark.parametrize("codec", [RawCodec(), LineCodec(), LengthCodec(), FixedCodec(1)])
def test_feeding_after_the_end_is_a_mistake_in_the_program(codec: Codec) -> None:
    decoder = codec.decoder()
    decoder.eof()
    with pytest.raises(ProtocolStateError, match="ended"):
        decoder.feed(b"a")


@pytest.mark.parametrize(
    ("codec", "stream"),
    [
        (LengthCodec(max_frame_length=4, on_too_long="skip"), b"\0\0\0\7abc"),
        (VarintCodec(max_frame_length=4, on_too_long="skip"), b"\7abc"),
        (NetstringCodec(max_frame_length=4, on_too_long="skip"), b"7:abcdefg"),
        (LineCodec(max_frame_length=4, on_too_long="skip"), b"abcdefg"),
    ],
)
def test_an_end_inside_a_skipped_frame_is_truncated_with_nothing_to_hand_over(codec: Codec, stream: bytes) -> None:
    decoder = codec.decoder()
    assert decoder.feed(stream) == []
    assert decoder.skipped == 1
    with pytest.raises(FrameTruncated) as caught:
        decoder.eof()
    assert caught.value.partial == b""


def test_an_error_can_be_copied_and_pickled_with_its_frames() -> None:
    with pytest.raises(FrameTooLong) as caught:
        LengthCodec(max_frame_length=4).decoder().feed(b"\0\0\0\1a\0\0\0\7")
    for twin in (copy.copy(caught.value), pickle.loads(pickle.dumps(caught.value))):
        assert (twin.frames, twin.length, twin.limit) == ([b"a"], 7, 4)
        assert str(twin) == "a frame of 7 bytes is over the limit of 4"
