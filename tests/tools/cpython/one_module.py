"""One module of CPython's own asyncio tests, in a process of its own; started by ``conformance.py``.

    python conformance_run.py REQUEST

`REQUEST` is a JSON file: the module, whether on our loop, the tests to leave out or the only ones to run, the seconds
one test may take, and where to write. For each test it writes a line when it starts and a line when it has ended, so
that whoever waits knows what was running when this process hung or died.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import importlib
import importlib.util
import json
import signal
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]

POLICIES = (
    "_UnixDefaultEventLoopPolicy",
    "DefaultEventLoopPolicy",
    "WindowsProactorEventLoopPolicy",
    "_DefaultEventLoopPolicy",  # from here on: Python 3.14
    "_WindowsProactorEventLoopPolicy",
)


class Count:
    """How many loops of ours were made."""

    made = 0


def main() -> None:
    """Do what the request says."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    # Started in the background by a shell, a program has SIGINT ignored; tests that send it would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if request["ours"]:
        install()
    name = f"test.test_asyncio.{request['module']}"
    with Path(request["out"]).open("w", encoding="utf-8") as out, Path(request["stalled"]).open("w") as stalled:
        result = Result(out, stalled, request["limit"])
        with contextlib.suppress(unittest.SkipTest):
            found = unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name))
            wanted = (test for test in flat(found) if chosen(test.id(), request["only"], request["leave_out"]))
            unittest.TestSuite(wanted).run(result)
        result.note("*", "done")


def flat(tests: Any) -> Iterator[Any]:
    """Yield the tests of a suite one by one, in their order."""
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from flat(test)
        else:
            yield test


def chosen(name: str, only: list[str], leave_out: list[str]) -> bool:
    """Whether to run the test of this name."""
    return name not in leave_out and (not only or name in only)


class Result(unittest.TestResult):
    """Writes ``[test, outcome, whether it made a loop of ours]``; ends the process when a test takes too long."""

    def __init__(self, out: Any, stalled: Any, limit: float) -> None:
        super().__init__()
        self._out = out
        self._stalled = stalled
        self._limit = limit
        self._made = 0

    def note(self, name: str, outcome: str) -> None:
        """Write one line, for good."""
        print(json.dumps([name, outcome, Count.made > self._made]), file=self._out, flush=True)

    def startTest(self, test: Any) -> None:  # noqa: N802
        """Note that it runs, and have it ended with a traceback of every thread when it takes too long."""
        super().startTest(test)
        self._made = Count.made
        self.note(test.id(), "running")
        faulthandler.dump_traceback_later(self._limit, exit=True, file=self._stalled)

    def stopTest(self, test: Any) -> None:  # noqa: N802
        """Stop the watch."""
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        """Note that it passed."""
        super().addSuccess(test)
        self.note(test.id(), "ok")

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        """Note the traceback; `test` may also be a class or module that could not be set up."""
        super().addError(test, err)
        self.note(test.id(), self.errors[-1][1])

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        """Note the traceback."""
        super().addFailure(test, err)
        self.note(test.id(), self.failures[-1][1])

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        """Note a part that failed; the test as a whole is not reported then."""
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.note(test.id(), f"{subtest}: {err[1]!r}")

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        """Note why it was skipped."""
        super().addSkip(test, reason)
        self.note(test.id(), f"skipped: {reason}")

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        """Note that it did what CPython expects of it."""
        super().addExpectedFailure(test, err)
        self.note(test.id(), "ok")


def install() -> None:
    """Put our loop wherever asyncio and its tests make one, also on a selector that a test hands in."""
    sys.path.insert(0, str(ROOT))
    from proactor_echo import loops
    from proactor_echo.loops import private

    if private.missing():
        raise SystemExit(f"this Python gets the stock loop, it lacks {private.missing()}")
    windows = sys.platform == "win32"
    ours: Any = _counted(loops.EventLoop if windows else _on_any_selector(loops.EventLoop))
    platform_events: Any = importlib.import_module(f"asyncio.{'windows' if windows else 'unix'}_events")
    ours.allow_tls_truncation = True  # peers in the tests of TLS end TCP alone, and are to be taken for complete
    modules: tuple[Any, ...] = (asyncio, platform_events)
    for module in modules:
        setattr(module, "ProactorEventLoop" if windows else "SelectorEventLoop", ours)
        if hasattr(module, "EventLoop"):
            module.EventLoop = ours
    for name in POLICIES:
        policy = getattr(platform_events, name, None)
        if policy is not None:
            policy._loop_factory = ours
    loop = asyncio.new_event_loop()
    loop.close()
    if not isinstance(loop, ours):
        raise SystemExit(f"asyncio.new_event_loop() still makes a {type(loop)}")


def _counted(base: Any) -> Any:
    def init(self: Any, *args: Any) -> None:
        Count.made += 1
        base.__init__(self, *args)

    return type("EventLoop", (base,), {"__init__": init})


def _on_any_selector(base: Any) -> Any:
    from proactor_echo.loops.readiness.poller import SelectorHandlers

    def init(self: Any, selector: Any = None) -> None:
        if selector is not None and not hasattr(selector, "watch"):
            selector.close()
            selector = type("Channels", (SelectorHandlers, type(selector)), {})()
        base.__init__(self, selector)

    return type("EventLoop", (base,), {"__init__": init})


if __name__ == "__main__":
    main()
