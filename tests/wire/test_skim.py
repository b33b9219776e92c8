"""Frames that are passed over uncut are the frames that decoding finds; see Decoder.skim."""

import random
import struct

import pytest
from helpers.streams import CODECS, payloads_for, random_split

from proactor_echo.errors import FrameTooLong, FramingError
from proactor_echo.wire import Codec, LengthCodec

SEEDS = range(30)


def frames_of(codec: Codec, chunks: list[bytes], *, skimming: bool) -> tuple[int, bytes, FramingError | None]:
    """Return how many frames there are, the bytes that are left over, and the error that ended it."""
    decoder, count = codec.decoder(), 0
    try:
        for chunk in chunks:
            rest = chunk
            if skimming:
                skimmed, end = decoder.skim(chunk)
                count += skimmed
                rest = chunk[end:]
            count += len(decoder.feed(rest))
    except FramingError as error:
        return count + len(error.frames), b"", error
    return count, bytes(decoder.pending), None


@pytest.mark.parametrize("codec", [c for c in CODECS.values() if c.canonical], ids=repr)
def test_skimming_and_feeding_the_rest_finds_what_feeding_finds(codec: Codec) -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        frames = [codec.encode(p) * rng.choice([1, 1, 4, 20]) for p in payloads_for(codec, rng, 12)]
        chunks = random_split(b"".join(frames) + rng.randbytes(rng.choice([0, 0, 3, 40])), rng, 6)
        fed, skimmed = (frames_of(codec, chunks, skimming=skimming) for skimming in (False, True))
        assert skimmed[:2] == fed[:2], f"{seed=}"
        assert repr(skimmed[2]) == repr(fed[2]), f"{seed=}"


def test_equal_frames_are_counted_in_one_go_again_and_again() -> None:
    decoder = LengthCodec().decoder()
    chunk = b"\0\0\0\x05hello" * 16
    assert [decoder.skim(chunk) for _ in range(3)] == [(16, len(chunk))] * 3


def test_a_chunk_of_the_same_size_with_one_other_header_is_not_taken_for_the_same() -> None:
    decoder = LengthCodec().decoder()
    chunk = b"\0\0\0\x05hello" * 16
    other = chunk[:9] + b"\0\0\0\x0e" + chunk[13:]
    assert decoder.skim(chunk) == (16, len(chunk))
    assert decoder.skim(other) == (15, len(chunk))


def test_skimming_stops_before_a_frame_that_is_too_long_and_feeding_refuses_it() -> None:
    decoder = LengthCodec(max_frame_length=8).decoder()
    good = b"\0\0\0\x02hi" * 5
    bad = struct.pack(">I", 9) + bytes(9)
    count, end = decoder.skim(good + bad + good)
    assert (count, end) == (5, len(good))
    with pytest.raises(FrameTooLong):
        decoder.feed((good + bad + good)[end:])


def test_nothing_is_skimmed_in_the_middle_of_a_frame() -> None:
    decoder = LengthCodec().decoder()
    decoder.feed(b"\0\0\0\x05he")
    assert decoder.skim(b"llo" + b"\0\0\0\x02hi") == (0, 0)


def test_nothing_is_skimmed_after_an_error() -> None:
    decoder = LengthCodec(max_frame_length=8).decoder()
    with pytest.raises(FrameTooLong):
        decoder.feed(struct.pack(">I", 9))
    assert decoder.skim(b"\0\0\0\x02hi") == (0, 0)
