"""What each fault makes of a stream, without a network and without waiting: time is a number."""

import itertools
import math
import random
from collections.abc import Iterable, Sequence

import pytest

from proactor_echo.testing import faults
from proactor_echo.testing.faults.base import End, Piece, StreamEffect, StreamFault

SEED = 1862


def effect_of(fault: StreamFault, seed: int = SEED) -> StreamEffect:
    return fault.stream_effect(random.Random(seed))


def through(effect: StreamEffect, pieces: Iterable[tuple[float, bytes]], end: float | None = None) -> list[Piece]:
    """Send pieces, each with its time, and an end of file through an effect."""
    out = list(effect.start(0.0))
    for time, data in pieces:
        out += effect.apply(Piece(time, data))
    if end is not None:
        out += effect.apply(Piece(end, end=End.EOF))
    return out


def data_of(pieces: Iterable[Piece]) -> bytes:
    return b"".join(piece.data for piece in pieces)


def cut_at_random(data: bytes, rng: random.Random) -> list[tuple[float, bytes]]:
    places = sorted({0, len(data), *(rng.randrange(len(data)) for _ in range(5))})
    return [(0.0, data[start:stop]) for start, stop in itertools.pairwise(places)]


DECIDED_BY_PLACE = [
    faults.Corrupt(0.05),
    faults.Slice((1, 9)),
    faults.Limit((10, 300)),
    faults.Reset((10, 300)),
    faults.HalfClose((10, 300)),
    faults.Stall(1.0, after_bytes=70),
]


@pytest.mark.parametrize("fault", DECIDED_BY_PLACE, ids=str)
def test_the_same_seed_gives_the_same_however_the_bytes_arrive(fault: StreamFault) -> None:
    data = random.Random(SEED).randbytes(400)
    whole = through(effect_of(fault), [(0.0, data)])
    for number in range(50):
        rng = random.Random(number)
        pieces = through(effect_of(fault), cut_at_random(data, rng))
        assert data_of(pieces) == data_of(whole), f"cuts of seed {number}"
        assert [piece.end for piece in pieces if piece.end] == [piece.end for piece in whole if piece.end]


@pytest.mark.parametrize(
    "fault",
    [faults.Corrupt(0.05), faults.Slice((1, 9)), faults.Limit((10, 300)), faults.Latency(1, jitter=0.5)],
    ids=str,
)
def test_another_seed_gives_something_else(fault: StreamFault) -> None:
    data = random.Random(SEED).randbytes(400)

    def schedule(seed: int) -> list[tuple[bytes, float]]:
        return [(piece.data, piece.due) for piece in through(effect_of(fault, seed), [(0.0, data)])]

    assert schedule(1) == schedule(1)
    assert schedule(1) != schedule(2)


def test_latency_holds_each_piece_by_its_delay() -> None:
    pieces = through(effect_of(faults.Latency(0.25)), [(1.0, b"a"), (1.5, b"b")], end=2.0)
    assert [(piece.due, piece.data, piece.end) for piece in pieces] == [
        (1.25, b"a", None),
        (1.75, b"b", None),
        (2.25, b"", End.EOF),
    ]


def test_jitter_spreads_evenly_around_the_delay() -> None:
    pieces = through(effect_of(faults.Latency(0.5, jitter=0.2)), [(0.0, b"x")] * 2000)
    delays = [piece.due for piece in pieces]
    assert 0.3 <= min(delays) < 0.31
    assert 0.69 < max(delays) <= 0.7
    assert 0.49 < sum(delays) / len(delays) < 0.51


def test_a_jitter_larger_than_the_delay_never_goes_back_in_time() -> None:
    pieces = through(effect_of(faults.Latency(0.1, jitter=5)), [(7.0, b"x")] * 100)
    assert min(piece.due for piece in pieces) == 7.0


def test_bandwidth_spreads_bytes_over_time() -> None:
    pieces = through(effect_of(faults.Bandwidth(1000)), [(2.0, bytes(500)), (2.1, bytes(500))])
    assert data_of(pieces) == bytes(1000)
    assert max(len(piece.data) for piece in pieces) == 10
    assert pieces[0].due == pytest.approx(2.01)
    assert pieces[-1].due == pytest.approx(3.0)


def test_an_idle_line_has_saved_nothing() -> None:
    effect = effect_of(faults.Bandwidth(1000))
    through(effect, [(0.0, bytes(10))])
    assert through(effect, [(50.0, bytes(10))])[0].due == pytest.approx(50.01)


def test_slices_have_their_size_and_gaps() -> None:
    pieces = through(effect_of(faults.Slice(3, gap=0.5)), [(1.0, b"abcdefgh"), (9.0, b"ij")])
    assert [(piece.data, piece.due) for piece in pieces] == [
        (b"abc", 1.0),
        (b"def", 1.5),
        (b"gh", 2.0),
        (b"i", 9.0),  # fills the slice that "gh" began
        (b"j", 9.5),
    ]


def test_random_slices_stay_within_their_bounds() -> None:
    pieces = through(effect_of(faults.Slice((2, 5))), [(0.0, bytes(1000))])
    assert {len(piece.data) for piece in pieces[:-1]} == {2, 3, 4, 5}


def test_coalesced_writes_leave_together() -> None:
    pieces = through(effect_of(faults.Coalesce(0.5)), [(1.0, b"a"), (1.2, b"b"), (1.4, b"c"), (1.6, b"d")])
    assert [(piece.data, piece.due, piece.joins) for piece in pieces] == [
        (b"a", 1.5, False),
        (b"b", 1.5, True),
        (b"c", 1.5, True),
        (b"d", 2.1, False),
    ]


def test_a_stall_holds_what_is_past_its_place_and_then_no_more() -> None:
    pieces = through(effect_of(faults.Stall(2.0, after_bytes=3)), [(1.0, b"abcde"), (1.5, b"f"), (8.0, b"g")], end=9.0)
    assert [(piece.data, piece.due) for piece in pieces] == [
        (b"abc", 1.0),
        (b"de", 3.0),
        (b"f", 3.0),
        (b"g", 8.0),
        (b"", 9.0),
    ]


def test_a_stall_without_a_duration_lasts() -> None:
    assert through(effect_of(faults.Stall()), [(1.0, b"a")])[0].due == math.inf


def test_silence_swallows_everything_and_the_end() -> None:
    assert through(effect_of(faults.Silent()), [(1.0, b"a")], end=2.0) == []


@pytest.mark.parametrize(
    ("fault", "end"),
    [(faults.Limit(3), End.CLOSE), (faults.Reset(3), End.RESET), (faults.HalfClose(3), End.EOF)],
    ids=str,
)
def test_an_end_after_so_many_bytes_comes_after_exactly_those(fault: StreamFault, end: End) -> None:
    for pieces in (["abcdef"], ["abc", "def"], ["a", "b", "cd", "e"]):
        out = through(effect_of(fault), [(1.0, piece.encode()) for piece in pieces], end=5.0)
        assert data_of(out) == b"abc"
        assert [piece.end for piece in out if piece.end] == [end]


@pytest.mark.parametrize("fault", [faults.Limit(0), faults.Reset(), faults.HalfClose()], ids=str)
def test_an_end_after_nothing_comes_at_once(fault: StreamFault) -> None:
    out = through(effect_of(fault), [(1.0, b"abc")], end=5.0)
    assert [bool(piece.end) for piece in out] == [True]


def test_an_end_after_seconds_lets_everything_through_before() -> None:
    effect = effect_of(faults.Reset(after=3.0))
    assert effect.timer == (3.0, End.RESET)
    assert data_of(through(effect, [(1.0, b"abc")], end=2.0)) == b"abc"


def test_a_slow_close_delays_the_end_alone() -> None:
    pieces = through(effect_of(faults.SlowClose(2.5)), [(1.0, b"a")], end=1.0)
    assert [piece.due for piece in pieces] == [1.0, 3.5]


def test_corruption_changes_the_share_it_says_and_every_changed_byte() -> None:
    data = bytes(100_000)
    out = data_of(through(effect_of(faults.Corrupt(0.02)), [(0.0, data)]))
    assert len(out) == len(data)
    assert 1800 < len(out) - out.count(0) < 2200
    assert data_of(through(effect_of(faults.Corrupt(1.0)), [(0.0, bytes(1000))])).count(0) == 0


def test_holds_of_several_effects_add_up_and_can_be_taken_back() -> None:
    late, stalled = effect_of(faults.Latency(1.0)), effect_of(faults.Stall(5.0))
    (piece,) = [out for first in late.apply(Piece(2.0, b"a")) for out in stalled.apply(first)]
    assert piece.due == 8.0
    del piece.holds[stalled]
    assert piece.due == 3.0


def test_the_holds_of_a_part_are_its_own() -> None:
    parts: Sequence[Piece] = through(effect_of(faults.Slice(1, gap=1.0)), [(0.0, b"abc")])
    assert len({id(part.holds) for part in parts}) == 3
