"""What each fault makes of datagrams, without a network and without waiting."""

import random

import pytest

from proactor_echo.testing import faults
from proactor_echo.testing.faults.base import Datagram, DatagramFault
from proactor_echo.testing.faults.schedule import ActiveFaults, DatagramSampler

SEED = 1862


def sampler_of(fault: DatagramFault, *, client: int = 1, seed: int = SEED) -> DatagramSampler:
    every: ActiveFaults[DatagramFault] = ActiveFaults(seed)
    return DatagramSampler(every.add(fault, lambda active: None), client, "client")


def through(sampler: DatagramSampler, payloads: list[bytes]) -> list[tuple[float, bytes]]:
    """Send datagrams through a fault, one each second; return what leaves, in the order in which it does."""
    out: dict[Datagram, int] = {}
    for number, payload in enumerate(payloads):
        datagram = Datagram(float(number), payload)
        chance = sampler.draw()
        for rank, left in enumerate(
            sampler.effect.apply(datagram, chance) if chance else sampler.effect.skip(datagram)
        ):
            out[left] = 100 * number + rank
    return [(datagram.due, datagram.data) for datagram in sorted(out, key=lambda one: (one.due, out[one]))]


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


def test_loss_loses_the_share_it_says() -> None:
    left = through(sampler_of(faults.Loss(probability=0.3)), numbered(2000))
    assert 1340 < len(left) < 1460


def test_whether_a_datagram_is_hit_depends_on_seed_client_and_number_alone() -> None:
    fault = faults.Loss(probability=0.5)
    first = through(sampler_of(fault), numbered(100))
    assert through(sampler_of(fault), numbered(100)) == first
    assert through(sampler_of(fault, client=2), numbered(100)) != first
    assert through(sampler_of(fault, seed=1), numbered(100)) != first
    assert [data for _, data in through(sampler_of(fault), [bytes(1000)] * 100)] == [bytes(1000)] * len(first)


def test_a_seed_of_its_own_goes_before_the_servers() -> None:
    fault = faults.Loss(probability=0.5, seed=7)
    assert through(sampler_of(fault, seed=1), numbered(100)) == through(sampler_of(fault, seed=2), numbered(100))


def test_duplicates_come_as_often_as_said_and_apart() -> None:
    left = through(sampler_of(faults.Duplicate(copies=2, gap=0.25)), [b"a", b"b"])
    assert left == [(0.0, b"a"), (0.25, b"a"), (0.5, b"a"), (1.0, b"b"), (1.25, b"b"), (1.5, b"b")]


def test_a_datagram_is_overtaken_by_as_many_as_said() -> None:
    sampler = sampler_of(faults.Reorder(depth=2, timeout=50, probability=0.2))
    left = [int(data) for _, data in through(sampler, numbered(100))]
    assert sorted(left) == list(range(100))
    late = [number for place, number in enumerate(left) if any(after < number for after in left[place:])]
    assert late != []
    overtakers = [sum(other > number for other in left[: left.index(number)]) for number in range(98)]
    assert set(overtakers) <= {0, 1, 2}
    assert 2 in overtakers


def test_a_datagram_that_nobody_overtakes_comes_at_the_timeout() -> None:
    assert through(sampler_of(faults.Reorder(timeout=0.5)), [b"a"]) == [(0.5, b"a")]


def test_datagrams_with_jitter_overtake_each_other() -> None:
    left = through(sampler_of(faults.Latency(5.0, jitter=4.0)), numbered(50))
    assert left != sorted(left, key=lambda one: int(one[1]))
    assert sorted(int(data) for _, data in left) == list(range(50))


def test_corruption_changes_one_byte_at_least_and_no_length() -> None:
    left = through(sampler_of(faults.Corrupt(0.001)), [bytes(20)] * 100)
    assert all(len(data) == 20 and 1 <= 20 - data.count(0) <= 3 for _, data in left)
    assert through(sampler_of(faults.Corrupt()), [b""]) == [(0.0, b"")]


def test_truncation_cuts_what_is_longer() -> None:
    assert through(sampler_of(faults.Truncate(3)), [b"abcdef", b"ab", b""]) == [(0.0, b"abc"), (1.0, b"ab"), (2.0, b"")]


def test_what_a_removed_fault_holds_back_is_given_back() -> None:
    effect = faults.Reorder(depth=3).datagram_effect()
    held = Datagram(0.0, b"a")
    effect.apply(held, random.Random(SEED))
    assert effect.release() == [held]
    assert effect.release() == []


@pytest.mark.parametrize("fault", [faults.Loss(), faults.Duplicate(), faults.Reorder(), faults.Truncate(1)], ids=str)
def test_hits_are_counted(fault: DatagramFault) -> None:
    every: ActiveFaults[DatagramFault] = ActiveFaults(SEED)
    active = every.add(fault, lambda active: None)
    through(DatagramSampler(active, 1, "client"), numbered(10))
    assert active.hits == 10
