"""The codec assertions pass what is right, and show a mistake with the smallest cut and the seed that repeat it."""

import re
from collections.abc import Callable

import pytest
from helpers.streams import CODECS

import proactor_echo as pe
from proactor_echo.testing.conformance.codecs import assert_round_trip, assert_split_invariant


class Words:
    """A codec of somebody's own, related to nothing: words with a space after each. Mistakes are switched on."""

    def __init__(self, decoder: "Callable[[], WordsDecoder] | None" = None, *, careless: bool = False) -> None:
        self._decoder = decoder or WordsDecoder
        self._careless = careless

    def __repr__(self) -> str:
        return "Words()"

    def encode(self, payload: bytes) -> bytes:
        if b" " in payload and not self._careless:
            raise ValueError("a word has no space in it")
        return payload + b" "

    def decoder(self) -> "WordsDecoder":
        return self._decoder()


class WordsDecoder:
    def __init__(self) -> None:
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        *words, self.rest = (self.rest + data).split(b" ")
        return words

    def eof(self) -> list[bytes]:
        if self.rest:
            raise pe.FrameTruncated("half a word", partial=self.rest)
        return []


class Forgetful(WordsDecoder):
    """Forgets what it holds when a piece brings no space."""

    def feed(self, data: bytes) -> list[bytes]:
        words = super().feed(data)
        if not words:
            self.rest = b""
        return words


class AfraidOfNothing(WordsDecoder):
    """Cannot bear an empty piece."""

    def feed(self, data: bytes) -> list[bytes]:
        data[0]
        return super().feed(data)


class Hasty(WordsDecoder):
    """Takes four pieces without a space for a word."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces = 0

    def feed(self, data: bytes) -> list[bytes]:
        words = super().feed(data)
        self.pieces = 0 if words else self.pieces + 1
        if self.pieces == 4:
            words, self.rest = [self.rest], b""
        return words


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_every_codec_of_the_package_round_trips(codec: pe.Codec) -> None:
    assert_round_trip(codec, count=50)


def test_a_stream_without_frames_round_trips_as_a_whole() -> None:
    assert_round_trip(pe.RawCodec())


def test_a_codec_of_ones_own_needs_nothing_but_encode_and_decoder() -> None:
    assert_round_trip(Words())
    assert_split_invariant(Words(), b"one two three ", [b"one", b"two", b"three"])


def test_the_frames_before_an_error_and_the_error_are_the_same_for_every_split() -> None:
    assert_split_invariant(Words(), b"one two thr", [b"one", b"two"], error=pe.FrameTruncated)
    codec = pe.NetstringCodec(max_frame_length=9)
    assert_split_invariant(codec, b"1:a,3:abc,10:", [b"a", b"abc"], error=pe.FrameTooLong)


def test_a_decoder_that_depends_on_the_split_is_shown_with_the_smallest_cut() -> None:
    with pytest.raises(AssertionError) as caught:
        assert_split_invariant(Words(Forgetful), b"one two ", [b"one", b"two"])
    assert str(caught.value) == (
        "Words(): 8 bytes cut at 1 decode differently (seed 0)\n"
        "  pieces    [b'o', b'ne two ']\n"
        "  expected  2 frames [b'one', b'two']\n"
        "  came      2 frames [b'ne', b'two']"
    )


def test_a_long_stream_is_cut_at_random_and_the_cut_is_made_as_small_as_it_gets() -> None:
    wire = b"".join(b"%dabcdefgh " % number for number in range(10_000))
    with pytest.raises(AssertionError) as caught:
        assert_split_invariant(Words(Hasty), wire, wire.split(b" ")[:-1], seed=4)
    found = re.search(r"cut at ([\d, ]+) decode differently \(seed 4\)", str(caught.value))
    assert found is not None, caught.value
    assert len(found[1].split(",")) == 5  # one where the word begins, one after each of its four pieces
    assert re.search(r"the first \d+ frames are right; from there on:\n  expected  \d+ frames", str(caught.value))


def test_the_same_seed_finds_the_same_cut() -> None:
    wire = b"".join(b"%dabcdefgh " % number for number in range(10_000))
    said = []
    for seed in (4, 4, 5):
        with pytest.raises(AssertionError) as caught:
            assert_split_invariant(Words(Hasty), wire, wire.split(b" ")[:-1], seed=seed)
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert said[0] != said[2]


def test_empty_pieces_are_among_the_splits() -> None:
    with pytest.raises(AssertionError, match="then IndexError"):
        assert_split_invariant(Words(AfraidOfNothing), b"a b ", [b"a", b"b"])


def test_every_split_of_a_short_stream_is_tried() -> None:
    seen: set[tuple[bytes, ...]] = set()

    class Watching(WordsDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.pieces: tuple[bytes, ...] = ()

        def feed(self, data: bytes) -> list[bytes]:
            self.pieces += (data,)
            return super().feed(data)

        def eof(self) -> list[bytes]:
            if b"" not in self.pieces:
                seen.add(self.pieces)
            return super().eof()

    assert_split_invariant(Words(Watching), b"one two ", [b"one", b"two"])
    assert len(seen) == 2**7


def test_wrong_frames_fail_in_one_piece() -> None:
    with pytest.raises(AssertionError, match="in one piece decode differently"):
        assert_split_invariant(Words(), b"one two ", [b"one", b"zwei"])


def test_an_end_inside_a_frame_is_not_overlooked() -> None:
    with pytest.raises(AssertionError, match=r"came      0 frames \[\], then FrameTruncated"):
        assert_split_invariant(Words(), b"one tw", [b"one", b"tw"])


def test_a_payload_that_comes_out_changed_is_shown_as_it_went_in_and_came_out() -> None:
    with pytest.raises(AssertionError, match=r"Words\(\) encodes .* as .*, which decodes to .* \(seed 3\)"):
        assert_round_trip(Words(careless=True), seed=3)


def test_a_decoder_that_depends_on_the_split_does_not_round_trip() -> None:
    with pytest.raises(AssertionError, match="decode differently"):
        assert_round_trip(Words(Forgetful))


def test_payloads_that_are_given_must_be_accepted() -> None:
    with pytest.raises(ValueError, match="no space"):
        assert_round_trip(Words(), [b"two words"])


def test_a_codec_that_refuses_everything_has_not_passed() -> None:
    class Closed(Words):
        def encode(self, payload: bytes) -> bytes:
            raise ValueError("closed")

    with pytest.raises(AssertionError, match=r"refuses every payload .* pass payloads="):
        assert_round_trip(Closed())


def test_encoding_many_must_be_encoding_one_after_the_other() -> None:
    class Shuffling(pe.NetstringCodec):
        def encode_many(self, payloads: object) -> bytes:
            return b""

    with pytest.raises(AssertionError, match="encode_many"):
        assert_round_trip(Shuffling())
