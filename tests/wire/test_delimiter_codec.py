"""Delimiters: which one ends a frame, and which sets and payloads are refused."""

import random
from collections.abc import Sequence

import pytest
from helpers.streams import decode

from proactor_echo.errors import FrameTooLong, FramingError
from proactor_echo.wire import DelimiterCodec, LineCodec, PartialFrame


def test_the_first_delimiter_to_be_complete_ends_the_frame() -> None:
    codec = DelimiterCodec(b"; ", b"END", b"\n")
    assert codec.decoder().feed(b"oneENDtwo; three\nfour; ") == [b"one", b"two", b"three", b"four"]


@pytest.mark.parametrize("delimiters", [(b"\n", b"\r\n"), (b"\r\n", b"\n")])
def test_of_two_that_are_complete_together_the_longer_ends_the_frame(delimiters: Sequence[bytes]) -> None:
    codec = DelimiterCodec(*delimiters)
    assert decode(codec, [b"one\r\ntwo\n\r\n"]).frames == [b"one", b"two", b""]
    assert decode(codec, [b"one\r", b"\ntwo\n\r", b"\n"]).frames == [b"one", b"two", b""]


def test_a_frame_never_waits_for_bytes_after_its_delimiter() -> None:
    decoder = DelimiterCodec(b"ab", b"bc").decoder()
    assert decoder.feed(b"1a") == []
    assert decoder.feed(b"b") == [b"1"]
    assert decoder.feed(b"c2bc") == [b"c2"]


def test_a_delimiter_begins_after_the_one_before_it() -> None:
    assert decode(DelimiterCodec(b"aa"), [b"aaaaaa"]).frames == [b"", b"", b""]
    assert DelimiterCodec(b"aa").decoder().feed(b"aaa") == [b""]


@pytest.mark.parametrize(
    ("delimiters", "sentence"),
    [
        ((), "at least one delimiter is needed"),
        ((b"a", b""), "a delimiter must not be empty"),
        ((b"\r\n", b"\r"), r"the delimiter b'\r\n' would never be found, because b'\r' is complete before it"),
        ((b"abcd", b"bc"), "the delimiter b'abcd' would never be found, because b'bc' is complete before it"),
    ],
)
def test_a_set_in_which_a_delimiter_could_never_be_found_is_refused(delimiters: Sequence[bytes], sentence: str) -> None:
    with pytest.raises(ValueError) as caught:
        DelimiterCodec(*delimiters)
    assert str(caught.value) == sentence


def test_a_payload_that_would_run_into_the_first_delimiter_is_written_with_another() -> None:
    codec = DelimiterCodec(b"--", b"\n")
    assert codec.encode_many([b"a-", b"b"]) == b"a-\nb--"
    codec = DelimiterCodec(b"x", b"-x")
    assert codec.encode_many([b"a-", b"b"]) == b"a--xbx"


@pytest.mark.parametrize("first", [b"\n", b"\r\n", b"--", b"-x", b"x"])
def test_what_was_decoded_can_be_encoded(first: bytes) -> None:
    codec = DelimiterCodec(first, *{b"\n", b"\r\n", b"--", b"-x", b"x"} - {first})
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    noise = bytes(random.Random(seed).choices(b"\r\n-xa", k=2000)) + b"\n"
    frames = codec.decoder().feed(noise)
    assert codec.decoder().feed(codec.encode_many(frames)) == frames


@pytest.mark.parametrize(
    ("codec", "payload", "sentence"),
    [
        (DelimiterCodec(b"--", b"\n"), b"a\nb", r"the payload holds a delimiter, b'\n' at byte 1"),
        (DelimiterCodec(b"--", b"\n"), b"a--", "the payload holds a delimiter, b'--' at byte 1"),
        (DelimiterCodec(b"--"), b"a-", "the payload holds a delimiter, b'--' at byte 1"),
        (LineCodec(), b"a\nb", r"the payload holds a delimiter, b'\n' at byte 1"),
        (LineCodec(newline=b"\r\n"), b"a\nb", r"the payload holds a delimiter, b'\n' at byte 1"),
        (
            DelimiterCodec(b";", strip_delimiter=False),
            b"a",
            "the payload must end with its delimiter, because strip_delimiter is False",
        ),
        (
            DelimiterCodec(b";", strip_delimiter=False),
            b"a;b;",
            "the payload holds a delimiter, b';' at byte 1",
        ),
    ],
)
def test_a_payload_that_would_not_arrive_as_it_is_is_refused(
    codec: DelimiterCodec, payload: bytes, sentence: str
) -> None:
    with pytest.raises(FramingError) as caught:
        codec.encode(payload)
    assert str(caught.value) == sentence


def test_payloads_that_would_be_taken_apart_otherwise_are_refused_together_too() -> None:
    with pytest.raises(FramingError, match="the payload holds a delimiter"):
        DelimiterCodec(b"--").encode_many([b"a-", b"b"])
    with pytest.raises(FramingError, match="must end with its delimiter"):
        DelimiterCodec(b";", strip_delimiter=False).encode_many([b"a;", b"b"])


def test_delimiters_that_are_not_stripped_are_part_of_the_frame_and_of_its_length() -> None:
    codec = DelimiterCodec(b";", b"--", strip_delimiter=False, max_frame_length=3)
    assert codec.decoder().feed(b"ab;c--") == [b"ab;", b"c--"]
    assert codec.encode(b"c--") == b"c--"
    with pytest.raises(FrameTooLong):
        codec.decoder().feed(b"abc")
    with pytest.raises(ValueError, match="a frame can have 2 bytes and no payload"):
        DelimiterCodec(b"--", strip_delimiter=False, max_frame_length=1)


def test_too_long_is_said_before_the_delimiter_comes() -> None:
    decoder = DelimiterCodec(b"--", max_frame_length=3).decoder()
    assert decoder.feed(b"abc-") == []
    with pytest.raises(FrameTooLong) as caught:
        decoder.feed(b"d")
    assert caught.value.limit == 3


def test_exactly_the_frame_that_is_too_long_is_skipped() -> None:
    codec = DelimiterCodec(b"--", max_frame_length=3, on_too_long="skip")
    pieces = [b"a--bcde--", b"f--ghijklm-", b"nopq-", b"-r--"]
    assert decode(codec, pieces) == ([b"a", b"f", b"r"], None, 2)


def test_a_skipped_frame_is_never_stored() -> None:
    decoder = DelimiterCodec(b"12345", max_frame_length=3, on_too_long="skip").decoder()
    for _ in range(100):
        assert decoder.feed(b"1234" * 500) == []
        assert decoder.buffered <= 4
    assert decoder.feed(b"5ab12345") == [b"ab"]
    assert decoder.skipped == 1


def test_a_last_frame_without_delimiter_can_be_delivered_and_told_apart() -> None:
    decoder = DelimiterCodec(b"--", partial="deliver").decoder()
    decoder.feed(b"a--bc-")
    (last,) = decoder.eof()
    assert last == b"bc-"
    assert isinstance(last, PartialFrame)


@pytest.mark.parametrize("name", ["on_too_long", "partial"])
def test_an_unknown_choice_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be '.*' or '.*', not 'guess'"):
        DelimiterCodec(b";", **{name: "guess"})  # type: ignore[arg-type]


def test_a_partial_frame_is_too_long_by_what_began_as_a_delimiter() -> None:
    """Before the end of file that byte may belong to the delimiter, and is not counted."""
    decoder = LineCodec(max_frame_length=3, partial="deliver").decoder()
    assert decoder.feed(b"abc\r") == []
    with pytest.raises(FrameTooLong, match="a frame of 4 bytes is over the limit of 3"):
        decoder.eof()


def test_a_partial_frame_that_is_too_long_is_skipped_if_that_is_wanted() -> None:
    decoder = LineCodec(max_frame_length=3, partial="deliver", on_too_long="skip").decoder()
    decoder.feed(b"abc\r")
    assert decoder.eof() == []
    assert decoder.skipped == 1
