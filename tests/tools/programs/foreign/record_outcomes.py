"""A pytest plugin for others' test suites: puts the loop in place, and writes down how each test went.

``PROACTOR_ECHO_SUITE`` is what :mod:`loops.foreign.suites` asks for, as JSON: whether on our loop, the tests to leave
out, the file to write to, the seconds a test may take. A line of that file is ``[test, outcome]``. There is one when a
test starts, so that whoever reads it knows which one hung, and one when it has ended; the last line is that of ``*``.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ASKED = json.loads(os.environ["PROACTOR_ECHO_SUITE"])


class Outcomes:
    """Writes the outcome of each test when it has ended, with its set-up and tear-down."""

    def __init__(self) -> None:
        self.out = Path(ASKED["out"]).open("a", encoding="utf-8")  # noqa: SIM115
        self.stalled = Path(ASKED["stalled"]).open("w", encoding="utf-8")  # noqa: SIM115
        self.said: dict[str, str] = {}

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        """Note that it runs, and have the process ended with a traceback of every thread when it takes too long."""
        self.note(nodeid, "running")
        faulthandler.dump_traceback_later(ASKED["limit"], exit=True, file=self.stalled)

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Keep what says most: a failure of set-up, call or tear-down, else whether it was skipped."""
        if report.failed:
            self.said[report.nodeid] = f"{report.when}: {str(report.longrepr)[-3000:]}"
        elif report.skipped:
            self.said.setdefault(report.nodeid, "skipped")

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        """Note how it went."""
        faulthandler.cancel_dump_traceback_later()
        self.note(nodeid, self.said.pop(nodeid, "passed"))

    def pytest_collectreport(self, report: Any) -> None:
        """Take a file that cannot be imported for a test that fails."""
        if report.failed:
            self.note(report.nodeid, f"collect: {str(report.longrepr)[-3000:]}")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Leave out what has been run before."""
        done = frozenset(ASKED["leave_out"])
        items[:] = [item for item in items if item.nodeid not in done]

    def pytest_sessionfinish(self) -> None:
        """Note that nothing is missing."""
        self.note("*", "done")

    def note(self, name: str, outcome: str) -> None:
        """Write one line, for good."""
        print(json.dumps([name, outcome]), file=self.out, flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Put our loop in place before the first conftest may name a loop's class."""
    if ASKED["ours"]:
        here = str(Path(__file__).resolve().parents[2] / "cpython")
        sys.path.append(here)
        install: Any = importlib.import_module("one_module").install
        install()
        sys.path.remove(here)
        sys.path.append(sys.path.pop(0))  # what `install` put in front goes behind what the suite has
    return (yield)


def pytest_configure(config: pytest.Config) -> None:
    """Start to write."""
    config.pluginmanager.register(Outcomes())
