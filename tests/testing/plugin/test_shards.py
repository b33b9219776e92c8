"""The parts of a suite that is dealt out to several processes are disjoint and together the whole."""

import re
from collections.abc import Callable

import pytest
from helpers.suites import Run

SUITE = """
import pytest

@pytest.mark.parametrize("case", range(4))
def test_a(case): pass

def test_b(): pass

@pytest.mark.parametrize("case", ["x[1]", "y"])
def test_c(case): pass

class TestD:
    def test_b(self): pass

def test_e(): pass
"""

WHOLE = [*(f"test_a[{case}]" for case in range(4)), "test_b", "test_c[x[1]]", "test_c[y]", "TestD::test_b", "test_e"]

Ran = Callable[..., list[str]]


@pytest.fixture
def ran(run: Run) -> Ran:
    """Run the suite with these options; return the tests that ran, in their order."""

    def ran(*options: str) -> list[str]:
        told = run(SUITE, "-p", "helpers.shards", *options).outlines
        return [found[1] for line in told if (found := re.match(r"test_suite\.py::(\S+) PASSED", line))]

    return ran


def test_two_parts_take_turns_and_are_the_whole(ran: Ran) -> None:
    first, second = ran("--shard", "1/2"), ran("--shard", "2/2")
    assert first == [*WHOLE[:4], *WHOLE[5:7], "test_e"]
    assert second == ["test_b", "TestD::test_b"]


@pytest.mark.parametrize("of", [1, 3, 4, 7])
def test_any_number_of_parts_is_the_whole_and_nothing_twice(ran: Ran, of: int) -> None:
    parts = [ran("--shard", f"{number}/{of}") for number in range(1, of + 1)]
    assert sorted(test for part in parts for test in part) == sorted(WHOLE)


def test_what_is_dealt_out_is_what_was_selected(ran: Ran) -> None:
    assert ran("--shard", "2/2", "-k", "test_b or test_e") == ["TestD::test_b"]


@pytest.mark.parametrize("wrong", ["0/2", "3/2", "1", "a/b", "1/2/3", "-1/2"])
def test_what_is_no_part_is_a_usage_error(run: Run, wrong: str) -> None:
    ended = run(SUITE, "-p", "helpers.shards", f"--shard={wrong}")
    assert ended.ret == pytest.ExitCode.USAGE_ERROR
    ended.stderr.fnmatch_lines([f"*'{wrong}' is not like 1/2, the first of two parts"])
