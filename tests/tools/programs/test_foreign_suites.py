"""The comparison with others' test suites tells apart what fails on ours alone, what is expected to, and flaky."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tools.programs.foreign import suites
from tools.programs.foreign.suites import Outcomes, Prepared, Suite, read, worse

TESTS = """
import asyncio, os, time, unittest, warnings
import pytest

def on_ours():
    loop = asyncio.new_event_loop()
    loop.close()
    return not type(loop).__mro__[1].__module__.startswith("asyncio")

def test_passes():
    asyncio.run(asyncio.sleep(0))

def test_hangs_on_ours():
    if on_ours():
        time.sleep(100)

def test_dies_on_ours():
    if on_ours():
        os._exit(3)

def test_fails_on_ours():
    assert not on_ours()

def test_may_fail_on_ours():
    assert not on_ours()

@pytest.fixture
def broken():
    yield
    assert not on_ours()

def test_cannot_be_torn_down_on_ours(broken):
    pass

def test_fails_once_on_ours():
    if on_ours() and not os.path.exists("flag"):
        open("flag", "x").close()
        assert False

def test_fails_on_both():
    assert False

def test_is_skipped_on_ours():
    if on_ours():
        pytest.skip("not here")

class Cases(unittest.IsolatedAsyncioTestCase):
    async def test_a_case_fails_on_ours(self):
        self.assertTrue(type(asyncio.get_running_loop()).__mro__[1].__module__.startswith("asyncio"))
"""

posix = pytest.mark.skipif(sys.platform == "win32", reason="the same there, and starts 30 processes")


class Here(Prepared):
    """A suite in a folder, run by this Python."""

    def __init__(self, suite: Suite, source: Path) -> None:
        self.suite = suite
        self.source = source
        self.python = Path(sys.executable)


@pytest.fixture
def suite() -> Suite:
    options = ("-p", "no:asyncio", "-p", "no:proactor_echo")
    return Suite("one", "1", (), ("tests",), options, expected={"test_may_fail": "it may"})


@pytest.fixture
def here(tmp_path: Path, suite: Suite, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setattr(suites, "LIMIT", 1.0)
    monkeypatch.setattr(suites, "AGAIN", 1)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "test_it.py").write_text(TESTS, encoding="utf-8")
    (tmp_path / "tests" / "test_no_import.py").write_text("import no_such_module", encoding="utf-8")
    return Here(suite, tmp_path)


@posix
def test_what_fails_on_ours_alone_is_told_from_what_does_not(suite: Suite, here: Here) -> None:
    verdict = suites.compared(suite, here)
    assert {
        name.rpartition("::")[2]: said.splitlines()[0].partition(":")[0] for name, said in verdict.worse.items()
    } == {
        "test_hangs_on_ours": "took longer than 1 s",
        "test_dies_on_ours": "ended with 3",
        "test_fails_on_ours": "call",
        "test_cannot_be_torn_down_on_ours": "teardown",
        "test_is_skipped_on_ours": "was skipped on our loop alone",
        "test_a_case_fails_on_ours": "call",
    }
    assert verdict.expected == {"tests/test_it.py::test_may_fail_on_ours": "it may"}
    assert verdict.flaky == ["tests/test_it.py::test_fails_once_on_ours (again: 0 of 1 on ours, 0 on the stock one)"]
    assert verdict.passed == (1, 9)


def test_the_last_word_about_a_test_counts_and_a_failure_is_kept(tmp_path: Path) -> None:
    lines: list[tuple[str, str]] = [
        ("a", "running"),
        ("a", "passed"),
        ("b", "running"),
        ("b", "call: it failed"),
        ("b", "running"),
        ("b", "passed"),
        ("c", "running"),
    ]
    (tmp_path / "out").write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    assert read(tmp_path / "out") == {"a": "passed", "b": "call: it failed", "c": "running"}
    assert read(tmp_path / "none") == {}


@pytest.mark.parametrize(
    ("ours", "stock", "is_worse"),
    [
        ("passed", "call: no", False),
        ("call: no", "call: no", False),
        ("call: no", "passed", True),
        ("call: no", "skipped", False),
        ("skipped", "skipped", False),
        ("skipped", "passed", True),
        (None, "passed", True),
        (None, "skipped", False),
        ("collect: no", None, True),
        ("passed", None, False),
    ],
)
def test_worse_is_what_the_stock_loop_passes_and_ours_does_not(
    ours: str | None, stock: str | None, is_worse: bool
) -> None:
    def outcomes(said: str | None) -> Outcomes:
        return {} if said is None else {"test": said}

    assert bool(worse(outcomes(ours), outcomes(stock))) == is_worse


def test_an_unknown_suite_is_refused() -> None:
    script = Path(__file__).with_name("run.py")
    command = [sys.executable, str(script), "--suites", "no-such-suite"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == 2
    assert "unknown: no-such-suite" in ended.stderr
