"""What every codec must do, tried on all of them. A failing assertion shows the seed that repeats it."""

import random
from typing import Any

import pytest
from helpers.streams import CODECS, decode, every_split, garbage, payloads_for, random_split, with_own_length

from proactor_echo import wire
from proactor_echo.errors import FrameTooLong, FramingError
from proactor_echo.wire import BytesLike, Codec, DelimiterCodec, LengthCodec, LineCodec, NetstringCodec, VarintCodec

all_codecs = pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)


@all_codecs
def test_what_is_encoded_comes_out_as_it_went_in(codec: Codec) -> None:
    for seed in range(10):
        payloads = payloads_for(codec, random.Random(seed), 10)
        for payload in payloads:
            assert decode(codec, [codec.encode(payload)]) == ([payload], None, 0), f"{seed=}"
        stream = b"".join(map(codec.encode, payloads))
        assert decode(codec, [stream]) == (payloads, None, 0), f"{seed=}"


@all_codecs
def test_payloads_of_one_length_come_out_as_they_went_in(codec: Codec) -> None:
    for seed in range(6):
        payloads = payloads_for(codec, random.Random(seed), 1) * 700
        assert decode(codec, [codec.encode_many(payloads)]) == (payloads, None, 0), f"{seed=}"


@all_codecs
def test_encoding_many_is_encoding_one_after_the_other(codec: Codec) -> None:
    assert codec.encode_many([]) == b""
    for seed in range(10):
        source = random.Random(seed)
        payloads = payloads_for(codec, source, 12)
        for chosen in (payloads, payloads[:1], payloads[:1] * 5):
            disguised = [source.choice((bytes, bytearray, memoryview))(payload) for payload in chosen]
            assert codec.encode_many(disguised) == b"".join(map(codec.encode, chosen)), f"{seed=}"


@all_codecs
def test_encoding_many_refuses_what_encoding_one_refuses(codec: Codec) -> None:
    for seed in range(25):
        source = random.Random(seed)
        bad = garbage(source, source.randrange(1, 60))
        good = payloads_for(codec, source, 4)
        try:
            codec.encode(bad)
        except FramingError as refusal:
            with pytest.raises(type(refusal)):
                codec.encode_many([*good, bad])
            with pytest.raises(type(refusal)):
                codec.encode_many([bad] * 4)


@all_codecs
def test_every_split_of_a_short_stream_gives_the_same_frames(codec: Codec) -> None:
    for seed in range(6):
        source = random.Random(seed)
        stream = garbage(source, 9)
        if seed % 2:
            stream = (b"".join(map(codec.encode, payloads_for(codec, source, 3, longest=3))) + stream)[:9]
        expected = decode(codec, [stream])
        for pieces in every_split(stream):
            assert decode(codec, pieces) == expected, f"{seed=} {pieces=}"


@all_codecs
def test_random_splits_of_a_long_stream_give_the_same_frames(codec: Codec) -> None:
    for seed in range(4):
        source = random.Random(seed)
        payloads = payloads_for(codec, source, 200)
        stream = b"".join(map(codec.encode, payloads + payloads[:1] * 50)) + garbage(source, 30)
        expected = decode(codec, [stream])
        assert expected.frames[:250] == payloads + payloads[:1] * 50, f"{seed=}"
        assert decode(codec, [stream[i : i + 1] for i in range(len(stream))]) == expected, f"{seed=}"
        for cuts in (1, 2, 10, 100):
            assert decode(codec, random_split(stream, source, cuts)) == expected, f"{seed=} {cuts=}"


@all_codecs
def test_garbage_raises_framing_errors_alone_and_fills_no_memory(codec: Codec) -> None:
    for seed in range(60):
        source = random.Random(seed)
        decoder = codec.decoder()
        try:
            for _ in range(20):
                decoder.feed(garbage(source, source.randrange(40)))
                assert decoder.buffered <= most_buffered(codec), f"{seed=}"
            decoder.eof()
        except FramingError:
            assert decoder.buffered == 0, f"{seed=}"


@all_codecs
def test_a_damaged_stream_raises_framing_errors_alone(codec: Codec) -> None:
    for seed in range(30):
        source = random.Random(seed)
        stream = bytearray(b"".join(map(codec.encode, payloads_for(codec, source, 12))))
        for _ in range(3):
            stream[source.randrange(len(stream))] = source.randrange(256)
        expected = decode(codec, [bytes(stream)])
        assert decode(codec, random_split(bytes(stream), source, 9)) == expected, f"{seed=}"


@all_codecs
def test_frames_are_bytes_whatever_is_fed(codec: Codec) -> None:
    payloads = payloads_for(codec, random.Random(1), 9)
    stream = b"".join(map(codec.encode, payloads))
    with_gaps = memoryview(bytes(byte for pair in zip(stream, stream, strict=True) for byte in pair))[::2]
    kinds: list[BytesLike] = [stream, bytearray(stream), memoryview(stream), with_gaps]
    for data in kinds:
        frames = codec.decoder().feed(data)
        assert frames == payloads
        assert {type(frame) for frame in frames} == {bytes}


@all_codecs
def test_a_buffer_can_be_used_again_after_it_was_fed(codec: Codec) -> None:
    payloads = payloads_for(codec, random.Random(2), 9)
    stream = b"".join(map(codec.encode, payloads))
    buffer = bytearray(5)
    decoder = codec.decoder()
    frames: list[bytes] = []
    for start in range(0, len(stream), 5):
        piece = stream[start : start + 5]
        buffer[: len(piece)] = piece
        frames += decoder.feed(memoryview(buffer)[: len(piece)])
        buffer[:] = b"?????"
    assert frames == payloads


@all_codecs
def test_a_payload_at_the_limit_is_carried_and_a_longer_one_refused(codec: Codec) -> None:
    limit = codec.max_frame_length
    assert limit is not None
    payload = b"x" * limit
    if isinstance(codec, LengthCodec):
        payload = with_own_length(codec, payload)
    elif isinstance(codec, DelimiterCodec) and not codec.strip_delimiter:
        payload = payload[: -len(codec.delimiters[0])] + codec.delimiters[0]
    assert decode(codec, [codec.encode(payload)]) == ([payload], None, 0)
    with pytest.raises(FrameTooLong) as caught:
        codec.encode(b"x" * (limit + 1))
    assert (caught.value.length, caught.value.limit) == (limit + 1, limit)


@all_codecs
def test_decoders_of_one_codec_know_nothing_of_each_other(codec: Codec) -> None:
    payloads = payloads_for(codec, random.Random(4), 6)
    stream = b"".join(map(codec.encode, payloads))
    decoders = [codec.decoder() for _ in range(3)]
    collected: list[list[bytes]] = [[], [], []]
    for byte in stream:
        for decoder, frames in zip(decoders, collected, strict=True):
            frames.extend(decoder.feed(bytes((byte,))))
    assert collected == [payloads] * 3


@all_codecs
def test_its_repr_makes_it_again(codec: Codec) -> None:
    again = eval(repr(codec), vars(wire).copy())
    assert type(again) is type(codec)
    assert repr(again) == repr(codec)


@all_codecs
def test_what_is_not_bytes_is_refused(codec: Codec) -> None:
    wrong: Any
    for wrong in (5, "text", None, [1, 2]):
        with pytest.raises(TypeError):
            codec.encode(wrong)
        with pytest.raises(TypeError):
            codec.encode_many([wrong])
        with pytest.raises(TypeError):
            codec.decoder().feed(wrong)


SKIPPING: dict[str, tuple[Codec, Codec]] = {
    "length": (LengthCodec(max_frame_length=5, on_too_long="skip"), LengthCodec()),
    "length-24": (
        LengthCodec(3, length_field_offset=2, length_adjustment=-5, max_frame_length=5, on_too_long="skip"),
        LengthCodec(3, length_field_offset=2, length_adjustment=-5),
    ),
    "varint": (VarintCodec(max_frame_length=5, on_too_long="skip"), VarintCodec()),
    "netstring": (NetstringCodec(max_frame_length=5, on_too_long="skip"), NetstringCodec()),
    "line": (LineCodec(max_frame_length=5, on_too_long="skip"), LineCodec()),
    "line-crlf": (LineCodec(max_frame_length=5, on_too_long="skip"), LineCodec(newline=b"\r\n")),
    "delimiter": (DelimiterCodec(b"abba", max_frame_length=5, on_too_long="skip"), DelimiterCodec(b"abba")),
}
"""A codec that skips what is over its limit, and its twin that can encode that."""


@pytest.mark.parametrize(("codec", "twin"), SKIPPING.values(), ids=SKIPPING)
def test_exactly_the_frames_over_the_limit_are_skipped_wherever_the_stream_is_cut(codec: Codec, twin: Codec) -> None:
    limit = codec.max_frame_length
    assert limit is not None
    for seed in range(10):
        source = random.Random(seed)
        payloads = payloads_for(twin, source, 30, longest=source.choice((10, 300)))
        stream = twin.encode_many(payloads)
        good = [payload for payload in payloads if len(payload) <= limit]
        expected = (good, None, len(payloads) - len(good))
        assert decode(codec, [stream]) == expected, f"{seed=}"
        assert decode(codec, [stream[i : i + 1] for i in range(len(stream))]) == expected, f"{seed=}"
        for cuts in (3, 40):
            assert decode(codec, random_split(stream, source, cuts)) == expected, f"{seed=}"


def most_buffered(codec: Codec) -> int:
    """One unfinished frame with all that goes around it."""
    assert codec.max_frame_length is not None
    around = {"LengthCodec": 8, "VarintCodec": 5, "NetstringCodec": 22}.get(type(codec).__name__, 4)
    return codec.max_frame_length + around
