r"""Lines end with ``\n`` or ``\r\n``, are bounded, and a last one without an end is marked as such."""

import pytest
from helpers.streams import decode

from proactor_echo.errors import FrameTooLong
from proactor_echo.wire import LineCodec, PartialFrame


def test_both_newlines_end_a_line_and_are_stripped() -> None:
    assert LineCodec().decoder().feed(b"one\ntwo\r\n\n\r\n") == [b"one", b"two", b"", b""]


def test_a_carriage_return_by_itself_is_a_byte_like_any_other() -> None:
    assert LineCodec().decoder().feed(b"a\rb\n\r\r\n") == [b"a\rb", b"\r"]


def test_a_newline_cut_in_two_is_one_newline() -> None:
    assert decode(LineCodec(), [b"one\r", b"\ntwo", b"\r", b"\n"]).frames == [b"one", b"two"]


def test_newlines_can_be_left_on() -> None:
    assert decode(LineCodec(strip_newline=False), [b"one\ntwo\r", b"\n"]).frames == [b"one\n", b"two\r\n"]


def test_the_newline_that_is_written_can_be_chosen() -> None:
    assert LineCodec().encode(b"one") == b"one\n"
    assert LineCodec(newline=b"\r\n").encode_many([b"one", b"two\r"]) == b"one\r\ntwo\r\r\n"


def test_a_line_that_would_lose_its_last_byte_is_written_with_the_longer_newline() -> None:
    assert LineCodec().encode(b"two\r") == b"two\r\r\n"
    assert LineCodec().encode_many([b"one", b"two\r"]) == b"one\ntwo\r\r\n"
    assert decode(LineCodec(), [b"one\ntwo\r\r\n"]).frames == [b"one", b"two\r"]


@pytest.mark.parametrize("newline", [b"\r", b"", b"\n\n"])
def test_no_other_newline_can_be_chosen(newline: bytes) -> None:
    with pytest.raises(ValueError, match=r"newline must be b'\\n' or b'\\r\\n', not "):
        LineCodec(newline=newline)


def test_lines_are_bounded_by_default() -> None:
    decoder = LineCodec().decoder()
    decoder.feed(b"x" * 65536)
    assert decoder.feed(b"\r\n") == [b"x" * 65536]
    with pytest.raises(FrameTooLong):
        decoder.feed(b"x" * 65538)


def test_a_newline_does_not_count_towards_the_limit() -> None:
    codec = LineCodec(max_frame_length=3)
    assert decode(codec, [b"abc\r", b"\nabc\n"]).frames == [b"abc", b"abc"]
    assert decode(codec, [b"abcd\n"]).error is FrameTooLong


def test_a_last_line_without_newline_can_be_delivered_and_told_apart() -> None:
    decoder = LineCodec(partial="deliver").decoder()
    assert decoder.feed(b"one\ntw") == [b"one"]
    (last,) = decoder.eof()
    assert last == b"tw"
    assert isinstance(last, PartialFrame)
    assert decoder.eof() == []


def test_a_last_line_that_is_too_long_is_skipped_and_not_delivered() -> None:
    decoder = LineCodec(max_frame_length=3, partial="deliver", on_too_long="skip").decoder()
    assert decoder.feed(b"one\nmuch too long") == [b"one"]
    assert decoder.eof() == []
    assert decoder.skipped == 1
