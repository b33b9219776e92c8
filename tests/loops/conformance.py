"""CPython's own asyncio tests on our loop, compared with the same tests on the stock loop.

    python tests/loops/conformance.py                         # this Python
    python tests/loops/conformance.py --python python3.12     # that one (may be given several times)
    python tests/loops/conformance.py test_streams test_ssl   # some modules only

The ``test`` package of each Python is used as it is; where there is none, that is said and nothing fails. A test that
passes on the stock loop must pass on ours or stand in :data:`EXPECTED` with its reason. Exit status 1 if one does not.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MODULES = [
    "test_base_events",
    "test_buffered_proto",
    "test_context",
    "test_eager_task_factory",
    "test_events",
    "test_futures",
    "test_proactor_events",
    "test_queues",
    "test_runners",
    "test_sendfile",
    "test_server",
    "test_sock_lowlevel",
    "test_ssl",
    "test_sslproto",
    "test_streams",
    "test_subprocess",
    "test_taskgroups",
    "test_tasks",
    "test_timeouts",
    "test_waitfor",
    "test_windows_events",
]

ROOT = Path(__file__).resolve().parents[2]

# Part of a test's id -> why it may fail on our loop while it passes on the stock one.
EXPECTED: dict[str, str] = {
    "test_create_server_soreuseport_only_defined": "serves a mock for a socket, and asks for the stock loop's error",
}


def main() -> int:
    """Run both loops for each Python and print what differs."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("modules", nargs="*", default=MODULES)
    parser.add_argument("--python", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=300.0, help="seconds for one module on one loop")
    parser.add_argument("--run", metavar="stock|ours", help=argparse.SUPPRESS)
    parser.add_argument("--out", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.run:
        run_here(args.modules[0], Path(args.out), ours=args.run == "ours")
        return 0
    failed = False
    for python in args.python or [sys.executable]:
        failed |= compare(python, args.modules, args.timeout)
    return int(failed)


def compare(python: str, modules: list[str], timeout: float) -> bool:
    """Run `modules` on both loops of `python`; whether a test fails on ours alone."""
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if subprocess.run([python, "-c", "import test.test_asyncio"], capture_output=True, check=False).returncode:
        print(f"{version}: has no test package, skipped")
        return False
    worse: dict[str, str] = {}
    counts = {"stock": 0, "ours": 0}
    for module in modules:
        stock, ours = (run_there(python, module, which, timeout) for which in ("stock", "ours"))
        counts["stock"] += sum(v == "ok" for v in stock.values())
        counts["ours"] += sum(v == "ok" for v in ours.values())
        for name, result in stock.items():
            if result == "ok" and name in ours and ours[name] != "ok":
                worse[name] = ours[name]
        if "*" in ours and "*" not in stock:
            worse[module] = ours["*"]
    print(f"{version}: {counts['stock']} tests pass on the stock loop, {counts['ours']} on ours")
    unexplained = False
    for name, result in worse.items():
        reason = next((why for part, why in EXPECTED.items() if part in name), None)
        unexplained |= reason is None
        print(f"  {'expected' if reason else 'FAILS ON OURS ALONE'}: {name}\n    {reason or result}")
    return unexplained


def run_there(python: str, module: str, which: str, timeout: float) -> dict[str, str]:
    """Run one module in a process of its own: test id -> "ok", or what happened; "*" for the module as a whole."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        command = [python, "-X", "faulthandler", str(Path(__file__).resolve())]
        command += ["--run", which, "--out", str(out), module]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, cwd=folder, check=False, env=os.environ
            )
            ended = f"ended with {done.returncode}: {done.stderr[-2000:]}"
        except subprocess.TimeoutExpired as exc:
            ended = f"still running after {timeout:g} s: {str(exc.stderr or '')[-500:]}"
        lines = out.read_text().splitlines() if out.exists() else []
        results: dict[str, str] = dict(json.loads(line) for line in lines)
        if not results.pop("*", None):
            results["*"] = ended
            results |= {name: ended for name, result in results.items() if result == "running"}
        return results


def run_here(module: str, out: Path, *, ours: bool) -> None:
    """Run one module of test.test_asyncio in this process; write a line for each test, and one for the end."""
    import importlib
    import importlib.util
    import unittest

    if ours:
        _install()

    def note(name: str, result: str) -> None:
        with out.open("a") as file:
            print(json.dumps([name, result]), file=file)

    class Result(unittest.TestResult):
        def startTest(self, test: Any) -> None:  # noqa: N802
            super().startTest(test)
            note(test.id(), "running")

        def addSuccess(self, test: Any) -> None:  # noqa: N802
            super().addSuccess(test)
            note(test.id(), "ok")

        def addError(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addError(test, err)
            note(test.id(), self.errors[-1][1])

        def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addFailure(test, err)
            note(test.id(), self.failures[-1][1])

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
            super().addSubTest(test, subtest, err)
            if err is not None:
                note(test.id(), str(err[1]))

        def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
            super().addSkip(test, reason)
            note(test.id(), f"skipped: {reason}")

        def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
            super().addExpectedFailure(test, err)
            note(test.id(), "ok")

    name = f"test.test_asyncio.{module}"
    if importlib.util.find_spec(name) is not None:
        with contextlib.suppress(unittest.SkipTest):
            unittest.defaultTestLoader.loadTestsFromModule(importlib.import_module(name)).run(Result())
    note("*", "done")


def _install() -> None:
    """Put our loop wherever asyncio and its tests make one, also on a selector that a test hands in."""
    import asyncio
    import importlib

    sys.path.insert(0, str(ROOT))
    from proactor_echo import loops

    windows = sys.platform == "win32"
    ours: Any = loops.EventLoop if windows else _on_any_selector(loops.EventLoop)
    platform_events: Any = importlib.import_module(f"asyncio.{'windows' if windows else 'unix'}_events")
    modules: tuple[Any, ...] = (asyncio, platform_events)
    for module in modules:
        setattr(module, "ProactorEventLoop" if windows else "SelectorEventLoop", ours)
        if hasattr(module, "EventLoop"):
            module.EventLoop = ours
    for name in ("_UnixDefaultEventLoopPolicy", "DefaultEventLoopPolicy", "WindowsProactorEventLoopPolicy"):
        policy = getattr(platform_events, name, None)
        if policy is not None:
            policy._loop_factory = ours


def _on_any_selector(base: Any) -> Any:
    from proactor_echo.loops.poller import SelectorChannels

    def init(self: Any, selector: Any = None) -> None:
        if selector is not None and not hasattr(selector, "watch"):
            selector.close()
            selector = type("Channels", (SelectorChannels, type(selector)), {})()
        base.__init__(self, selector)

    return type("EventLoop", (base,), {"__init__": init})


if __name__ == "__main__":
    sys.exit(main())
