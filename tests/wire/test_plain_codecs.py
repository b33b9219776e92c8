"""The raw codec, the fixed one, and one that a user writes."""

import random

import pytest
from helpers.streams import decode, every_split, random_split

from proactor_echo.errors import FrameCorrupt, FrameTooLong, FramingError
from proactor_echo.wire import BytesLike, Codec, Decoder, FixedCodec, RawCodec


def test_raw_bytes_go_through_in_the_pieces_they_come_in() -> None:
    decoder = RawCodec().decoder()
    assert decoder.feed(b"one") == [b"one"]
    assert decoder.feed(b"") == []
    assert decoder.feed(memoryview(b"two")) == [b"two"]
    assert decoder.buffered == 0
    assert decoder.eof() == []


def test_raw_pieces_joined_are_what_was_sent() -> None:
    codec = RawCodec()
    source = random.Random(7)
    payloads: list[BytesLike] = [source.randbytes(50), bytearray(b"abc"), memoryview(b"a.b.c.")[::2], b""]
    sent = codec.encode_many(payloads)
    assert sent == b"".join(map(codec.encode, payloads))
    assert b"".join(decode(codec, random_split(sent, source, 9)).frames) == sent
    assert codec.max_frame_length is None
    assert repr(codec) == "RawCodec()"


def test_fixed_frames_are_cut_at_their_length() -> None:
    assert decode(FixedCodec(3), [b"abcde", b"f", b"ghi"]).frames == [b"abc", b"def", b"ghi"]
    assert len(decode(FixedCodec(1), [bytes(100_000)]).frames) == 100_000


def test_a_payload_of_another_length_than_the_fixed_one_is_refused() -> None:
    codec = FixedCodec(3)
    assert codec.encode(b"abc") == b"abc"
    with pytest.raises(FramingError, match="must have exactly 3 bytes, not 2"):
        codec.encode(b"ab")
    with pytest.raises(FrameTooLong):
        codec.encode(b"abcd")
    with pytest.raises(ValueError, match="length must be at least 1 byte, not 0"):
        FixedCodec(0)


class PairCodec(Codec):
    """Pairs of equal bytes: ``aabb`` is the frames ``a`` and ``b``. The least that a codec of one's own needs."""

    max_frame_length = 1

    def encode(self, payload: BytesLike) -> bytes:
        return bytes(payload) * 2

    def decoder(self) -> Decoder:
        return PairDecoder()


class PairDecoder(Decoder):
    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        self.pending += data
        while len(self.pending) >= 2:
            if self.pending[0] != self.pending[1]:
                raise FrameCorrupt("not a pair")
            frames.append(bytes(self.pending[:1]))
            del self.pending[:2]


def test_a_codec_of_ones_own_needs_an_encoder_and_one_method_for_the_decoder() -> None:
    codec = PairCodec()
    stream = codec.encode_many([b"a", b"b", b"c"])
    for pieces in every_split(stream):
        assert decode(codec, pieces) == ([b"a", b"b", b"c"], None, 0)


def test_a_codec_of_ones_own_keeps_its_frames_and_its_error_as_any_other() -> None:
    decoder = PairCodec().decoder()
    for expected in ([b"a"], []):
        with pytest.raises(FrameCorrupt, match="not a pair") as caught:
            decoder.feed(b"aabc")
        assert caught.value.frames == expected
