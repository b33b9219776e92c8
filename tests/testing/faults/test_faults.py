"""Descriptions of faults: what they accept, how they are shown, how they get seeds."""

import subprocess
import sys
from collections.abc import Callable

import pytest

from proactor_echo.testing import faults
from proactor_echo.testing.faults import Fault
from proactor_echo.testing.faults.schedule import ActiveFaults


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.Latency(-1),
        lambda: faults.Latency(float("nan")),
        lambda: faults.Latency(1, jitter=float("inf")),
        lambda: faults.Latency(1, probability=1.5),
        lambda: faults.Latency(1, towards="moon"),  # type: ignore[arg-type]
        lambda: faults.Bandwidth(0),
        lambda: faults.Slice(0),
        lambda: faults.Slice((5, 2)),
        lambda: faults.Limit(-1),
        lambda: faults.Limit((2, 1)),
        lambda: faults.Reset(after=-1),
        lambda: faults.Stall(-1),
        lambda: faults.StallHandshake(-1),
        lambda: faults.StallHandshake(after_bytes=-1),
        lambda: faults.CutHandshake(after_records=-1),
        lambda: faults.CorruptRecord(-1),
        lambda: faults.CorruptRecord((2, 1)),
        lambda: faults.Corrupt(0),
        lambda: faults.Corrupt(1.1),
        lambda: faults.Refuse(probability=0.5),
        lambda: faults.Refuse(towards="server"),
        lambda: faults.Duplicate(copies=0),
        lambda: faults.Reorder(depth=0),
        lambda: faults.Truncate(-1),
    ],
)
def test_what_makes_no_sense_is_refused(make: Callable[[], Fault]) -> None:
    with pytest.raises(ValueError):
        make()


def test_a_fault_is_shown_as_it_would_be_written() -> None:
    assert str(faults.Latency(0.1, jitter=0.02)) == "Latency(delay=0.1, jitter=0.02)"
    assert str(faults.Reset(10, towards="both", probability=0.5)) == (
        "Reset(after_bytes=10, towards='both', probability=0.5)"
    )
    assert str(faults.Loss()) == "Loss()"
    shown = str(faults.Slice((1, 4), seed=3))
    assert eval(shown, vars(faults)) == faults.Slice((1, 4), seed=3)


def test_faults_of_one_server_get_different_seeds_and_the_same_in_each_run() -> None:
    def seeds(seed: int) -> list[int]:
        every: ActiveFaults[Fault] = ActiveFaults(seed)
        return [every.add(faults.Slice(), lambda active: None).seed for _ in range(3)]

    assert seeds(1) == seeds(1)
    assert len({*seeds(1), *seeds(2)}) == 6


def test_the_share_of_connections_that_are_hit_is_the_probability() -> None:
    every: ActiveFaults[Fault] = ActiveFaults(1)
    active = every.add(faults.Reset(probability=0.25), lambda active: None)
    hit = [active.hits_connection(number) for number in range(1, 2001)]
    assert hit == [active.hits_connection(number) for number in range(1, 2001)]
    assert 430 < sum(hit) < 570


def test_a_fault_that_is_removed_is_not_among_the_active_ones() -> None:
    removed: list[object] = []
    every: ActiveFaults[Fault] = ActiveFaults(1)
    with every.add(faults.Silent(), removed.append) as active:
        assert list(every) == [active]
    assert list(every) == []
    assert every.history == [active]
    active.remove()
    assert removed == [active]


def test_describing_faults_needs_no_event_loop() -> None:
    code = "import sys, proactor_echo.testing.faults; print('asyncio' in sys.modules, 'socket' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False False"
