"""How much work a decoder does: counted, not timed, so that the answer is the same on every machine."""

import random
from collections.abc import Callable
from typing import Any

import pytest

from proactor_echo.wire import Codec, Decoder, DelimiterCodec, LengthCodec, LineCodec, NetstringCodec, VarintCodec
from proactor_echo.wire.equal_frames import CACHE_SIZE, MAX_EQUAL_FRAMES

SIZE = 10_000


@pytest.fixture
def tracemalloc() -> Any:
    return pytest.importorskip("tracemalloc", reason="this Python does not trace memory")


@pytest.mark.parametrize("codec", [LengthCodec(), LengthCodec(3), VarintCodec(), NetstringCodec()], ids=repr)
def test_the_header_of_a_frame_that_comes_byte_by_byte_is_read_a_few_times_only(codec: Codec) -> None:
    decoder = codec.decoder()
    calls = count_calls(decoder, "parse_header", lambda data, position: 1)
    feed_bytes(decoder, codec.encode(bytes(SIZE)))
    assert calls.total <= 10


@pytest.mark.parametrize(
    "codec", [LineCodec(), DelimiterCodec(b"\r\n\r\n"), DelimiterCodec(b"a", b"--end--")], ids=repr
)
def test_bytes_of_a_frame_that_comes_byte_by_byte_are_searched_a_few_times_each(codec: DelimiterCodec) -> None:
    decoder = codec.decoder()
    calls = count_calls(decoder, "_find", len)
    stream = codec.encode(b"x" * SIZE)
    feed_bytes(decoder, stream)
    assert calls.total <= len(stream) * max(map(len, codec.delimiters))


@pytest.mark.parametrize("delimiters", [[b"a" * 127 + b"b"], [b"a" * 63 + b"b", b"a" * 63 + b"c"]])
def test_each_byte_is_compared_with_the_delimiters_of_a_codec_which_are_bounded(delimiters: list[bytes]) -> None:
    decoder = DelimiterCodec(*delimiters).decoder()
    assert decoder.feed(b"a" * SIZE + delimiters[-1]) == [b"a" * SIZE]
    with pytest.raises(ValueError, match="the delimiters must have 128 bytes together or fewer, not 129"):
        DelimiterCodec(*delimiters[:-1], b"a" + delimiters[-1])


@pytest.mark.parametrize("codec", [LengthCodec(), VarintCodec(), NetstringCodec(), LineCodec()], ids=repr)
def test_a_frame_in_pieces_takes_little_more_memory_than_itself(tracemalloc: Any, codec: Codec) -> None:
    pieces = [b"x" * 1000] * 60
    stream = codec.encode(b"".join(pieces))
    decoder = codec.decoder()
    tracemalloc.start()
    try:
        for start in range(0, len(stream), 1000):
            decoder.feed(stream[start : start + 1000])
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 3 * len(stream)


def test_a_header_alone_reserves_no_memory_for_its_frame(tracemalloc: Any) -> None:
    decoder = LengthCodec(max_frame_length=1 << 30).decoder()
    tracemalloc.start()
    try:
        decoder.feed((1 << 30).to_bytes(4, "big") + b"x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10_000


@pytest.mark.parametrize("codec", [LengthCodec(), VarintCodec(), NetstringCodec()], ids=repr)
def test_lengths_from_the_peer_do_not_fill_the_cache_of_compiled_runs(codec: Any) -> None:
    source = random.Random(11)
    decoder = codec.decoder()
    for _ in range(300):
        payloads = [bytes(source.randrange(400))] * source.randrange(4, 30)
        assert decoder.feed(codec.encode_many(payloads)) == payloads
        assert len(codec._equal_frames) <= CACHE_SIZE


@pytest.mark.parametrize("codec", [LengthCodec(), VarintCodec(), NetstringCodec()], ids=repr)
def test_runs_that_break_off_cost_no_more_than_a_few_headers_a_frame(codec: Codec) -> None:
    for equal in (2, 3, 4, 5, 6, 9, 17):
        decoder = codec.decoder()
        attempts = count_attempts(decoder)
        payloads = [bytes(10 + index // equal % 7) for index in range(4000)]
        assert decoder.feed(codec.encode_many(payloads)) == payloads
        # An attempt is at most four times as long as the one that succeeded before it.
        assert sum(attempts) <= 4 * len(payloads)


@pytest.mark.parametrize("codec", [LengthCodec(), VarintCodec(), NetstringCodec()], ids=repr)
def test_after_runs_that_broke_off_a_long_run_is_soon_taken_for_one(codec: Codec) -> None:
    decoder = codec.decoder()
    decoder.feed(codec.encode_many([bytes(10 + index // 5 % 7) for index in range(4000)]))
    attempts = count_attempts(decoder)
    decoder.feed(codec.encode_many([b"same"] * 4000))
    assert max(attempts) == MAX_EQUAL_FRAMES
    assert len(attempts) <= 4000 // MAX_EQUAL_FRAMES + 6


@pytest.mark.parametrize("codec", [LengthCodec(), VarintCodec(), NetstringCodec()], ids=repr)
def test_a_run_that_breaks_off_anywhere_is_cut_right(codec: Codec) -> None:
    for place in [*range(20), MAX_EQUAL_FRAMES - 1, MAX_EQUAL_FRAMES, MAX_EQUAL_FRAMES + 1, 2 * MAX_EQUAL_FRAMES]:
        payloads = [b"same"] * place + [b"other"] + [b"same"] * 40
        stream = codec.encode_many(payloads)
        decoder = codec.decoder()
        assert decoder.feed(stream) == payloads
        assert decoder.feed(stream + stream) == payloads * 2


class Counter:
    total = 0


def count_calls(decoder: Decoder, name: str, weight: Callable[..., int]) -> Counter:
    """Sum up ``weight(*arguments)`` over all calls of one of the decoder's functions."""
    counter = Counter()
    real = getattr(decoder, name)

    def counting(*arguments: Any) -> Any:
        counter.total += weight(*arguments)
        return real(*arguments)

    setattr(decoder, name, counting)
    return counter


def count_attempts(decoder: Any) -> list[int]:
    """Return a list to which every attempt to cut a run adds its number of frames."""
    equal_frames, attempts = decoder._equal_frames, []

    class Counting(dict[Any, Any]):
        def __missing__(self, key: tuple[object, int]) -> object:
            attempts.append(key[1])
            return equal_frames[key]

    decoder._equal_frames = Counting()
    return attempts


def feed_bytes(decoder: Decoder, stream: bytes) -> None:
    frames = []
    for index in range(len(stream)):
        frames += decoder.feed(stream[index : index + 1])
    assert list(map(len, frames)) == [SIZE]
