"""A codec that calls itself canonical gives back the very bytes; see Codec.canonical."""

import random

import pytest
from helpers.streams import CODECS, decode, payloads_for

from proactor_echo.wire import Codec, LengthCodec, LineCodec, NetstringCodec, RawCodec, VarintCodec


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
def test_whole_frames_encoded_again_are_the_same_bytes(codec: Codec) -> None:
    if not codec.canonical:
        pytest.skip("this codec does not say so")
    for seed in range(20):
        stream = b"".join(map(codec.encode, payloads_for(codec, random.Random(seed), 10)))
        frames, error, _ = decode(codec, [stream])
        assert error is None, f"{seed=}"
        assert codec.encode_many(frames) == stream, f"{seed=}"


@pytest.mark.parametrize(
    ("codec", "canonical"),
    [
        (RawCodec(), True),
        (LengthCodec(), True),
        (LengthCodec(on_too_long="skip"), False),  # the bytes of a skipped frame are not to be passed on
        (LengthCodec(fail_fast=False), False),  # nor those of one that will be refused
        (LengthCodec(header_bytes=b"v", length_field_offset=1), False),  # what stands there is not compared
        (NetstringCodec(), True),
        (LineCodec(), False),  # \r\n and \n are one
        (LineCodec(strip_newline=False), True),
        (VarintCodec(), False),  # a length may be written longer than it need be
    ],
    ids=repr,
)
def test_only_codecs_with_one_encoding_are_canonical(codec: Codec, canonical: bool) -> None:
    assert codec.canonical is canonical
