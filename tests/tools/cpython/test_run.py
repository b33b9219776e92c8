"""The comparison with CPython's tests tells apart what fails on ours alone, what is flaky, hangs and dies."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the script is the same there, and starts 20 processes")

SCRIPT = Path(__file__).with_name("run.py")

# Stands in for CPython's test.test_asyncio. Its tests are run in the order of their names.
MODULE = """
import asyncio, os, signal, time, unittest

def on_ours():
    loop = asyncio.new_event_loop()
    loop.close()
    return type(loop).__module__ != "asyncio.unix_events"

class Tests(unittest.TestCase):
    def test_a_passes(self):
        asyncio.run(asyncio.sleep(0))

    def test_b_hangs_on_both(self):
        time.sleep(100)

    def test_c_is_killed_on_ours(self):
        if on_ours():
            os.kill(os.getpid(), signal.SIGKILL)

    def test_d_fails_on_ours(self):
        self.assertFalse(on_ours())

    def test_e_fails_once_on_ours(self):
        if on_ours() and not os.path.exists(FLAG):
            open(FLAG, "x").close()
            self.fail("once")

    def test_f_fails_on_both(self):
        self.fail("on both")

    def test_g_passes_on_ours(self):
        self.assertTrue(on_ours())

    def test_h_hears_the_signal_that_a_background_job_ignores(self):
        with self.assertRaises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(100)
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("conformance")
    package = folder / "test" / "test_asyncio"
    package.mkdir(parents=True)
    for where in (package.parent, package):
        (where / "__init__.py").touch()
    flag = folder / "flag"
    (package / "test_it.py").write_text(f"FLAG = {str(flag)!r}\n{MODULE}")
    results = folder / "results"
    command = [sys.executable, str(SCRIPT), "--limit", "2", "--json", str(results)]
    ignoring = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *command]
    done = subprocess.run(
        ignoring, capture_output=True, text=True, check=False, env=os.environ | {"PYTHONPATH": str(folder)}
    )
    assert done.returncode == 1, done.stdout + done.stderr
    [one] = json.loads(results.read_text())
    assert isinstance(one, dict)
    return one


def names(told: list[str]) -> list[str]:
    return [name.removeprefix("test.test_asyncio.test_it.Tests.test_") for name in told]


def test_what_fails_or_dies_on_ours_every_time_is_reported(compared: dict[str, Any]) -> None:
    assert names(compared["worse"]) == ["c_is_killed_on_ours", "d_fails_on_ours"]


def test_what_failed_once_is_called_flaky_with_how_often(compared: dict[str, Any]) -> None:
    assert names(compared["flaky"]) == ["e_fails_once_on_ours (1 of 3, stock 0 of 3)"]


def test_what_fails_or_hangs_on_both_is_no_fault_of_ours(compared: dict[str, Any]) -> None:
    assert names(compared["neither"]) == ["b_hangs_on_both", "f_fails_on_both"]


def test_what_passes_on_ours_alone_is_reported(compared: dict[str, Any]) -> None:
    assert names(compared["better"]) == ["g_passes_on_ours"]


def test_the_rest_of_a_module_is_run_behind_a_test_that_ended_its_process(compared: dict[str, Any]) -> None:
    assert compared["stock"] == len(["a", "c", "d", "e", "h"])
    assert compared["ours"] == len(["a", "g", "h"])


def test_a_test_on_ours_is_known_to_have_made_a_loop_of_ours(compared: dict[str, Any]) -> None:
    assert compared["on_ours"] == len(["a", "g"])
