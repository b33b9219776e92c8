"""CPython's own asyncio tests on our loop, compared with the same tests on the stock loop.

    python tests/tools/cpython/run.py                         # this Python, every module
    python tests/tools/cpython/run.py --python python3.12     # that one (may be given several times)
    python tests/tools/cpython/run.py --wine 3.12             # Windows Python under Wine, built by tests/tools/windows
    python tests/tools/cpython/run.py test_streams test_ssl   # some modules only

The ``test`` package of each Python is used as it is; where there is none, that is said and nothing fails.

A test that passes on the stock loop and not on ours must stand in :data:`EXPECTED` with its reason. If it does not, it
is run alone, twice more on each loop. If it then passes at all on ours, or fails at all on the stock loop, it is
*flaky*, and how often it failed on each is told. If not, it fails on ours alone, and the exit status is 1.

A test that takes longer than ``--limit`` ends its process; the module goes on behind it. If that was on the stock loop,
the test is not tried on ours.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RUNNER = HERE.parent / "windows" / "run.py"

# Part of a test's id -> why it may fail on our loop while it passes on the stock one.
EXPECTED: dict[str, str] = {
    "test_create_server_soreuseport_only_defined": "serves a mock for a socket, and asks for the stock loop's error",
    "test_connection_lost_when_busy": "gives a mock for a socket, which no completion port takes",
    "test_datagram_write_error_close_from_callback": "sends after close(), which ours drops",
    "BaseEventLoopTests.test_create_connection_happy_eyeballs": "gives a mock for a socket, which epoll does not take",
    "test_remote_shutdown_receives_trailing_data": "looks at private attributes of asyncio's TLS transport",
    "test_shutdown_timeout_handler_not_set": "reads our close_notify as data; asyncio sends none after the peer's end",
    "test_flush_before_shutdown": "looks at private attributes of asyncio's TLS transport",
}

AGAIN = 2
"""How often a test that fails on ours alone is run again, on each loop."""

MANY = 20
"""With more failures on ours alone than this in one module, nothing is run again: that is no flakiness."""

ASK = (
    "import json, os, platform, test.test_asyncio as t; names = sorted(os.listdir(os.path.dirname(t.__file__))); "
    "print(json.dumps([platform.python_version(), [n[:-3] for n in names if n[:5] == 'test_' and n[-3:] == '.py']]))"
)


@dataclass
class Outcome:
    """What became of one test on one loop."""

    said: str
    on_ours: bool = False

    @property
    def ok(self) -> bool:
        return self.said == "ok"

    @property
    def skipped(self) -> bool:
        return self.said.startswith("skipped: ")


@dataclass
class Comparison:
    """What is told of one Python at the end."""

    python: str
    stock: int = 0
    ours: int = 0
    on_ours: int = 0  # of those, with a loop of ours made during the test
    worse: list[str] = field(default_factory=list)
    expected: list[str] = field(default_factory=list)
    flaky: list[str] = field(default_factory=list)
    better: list[str] = field(default_factory=list)
    neither: list[str] = field(default_factory=list)
    seconds: float = 0.0


def main() -> int:
    """Run both loops for each Python; print what differs, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", help="of test.test_asyncio; default all")
    parser.add_argument("--python", action="append", default=[], help="its command; default the running one")
    parser.add_argument("--wine", action="append", default=[], metavar="3.x", help="a Windows Python under Wine")
    parser.add_argument("--limit", type=float, default=90.0, help="seconds for one test, default 90")
    parser.add_argument("--json", type=Path, help="write the results there instead of a table")
    args = parser.parse_args()
    compared: list[Comparison] = []
    for version in args.wine:
        compared += under_wine(version, args.modules, args.limit)
    for python in args.python or ([] if args.wine else [sys.executable]):
        compared += here(python, args.modules, args.limit)
    if args.json:
        args.json.write_text(json.dumps([asdict(one) for one in compared]), encoding="utf-8")
    else:
        table(compared)
    return int(any(one.worse for one in compared))


def under_wine(version: str, modules: list[str], limit: float) -> list[Comparison]:
    """Run this file on a Windows Python under Wine."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.json"
        command = [sys.executable, str(RUNNER), "--python", version, "--timeout", "10000", "--exec", "--"]
        command += ["-u", str(Path(__file__).resolve()), "--limit", str(limit), "--json", str(results), *modules]
        status = subprocess.run(command, check=False).returncode
        if not results.exists():
            sys.exit(f"Windows Python {version}: ended with {status}")
        compared = [Comparison(**one) for one in json.loads(results.read_text(encoding="utf-8"))]
    for one in compared:
        one.python += " under Wine"
    return compared


def here(python: str, modules: list[str], limit: float) -> list[Comparison]:
    """Run both loops of `python`, a module at a time."""
    asked = subprocess.run([python, "-c", ASK], capture_output=True, text=True, check=False)
    if asked.returncode:
        print(f"{python}: has no test package, skipped")
        return []
    version, every = json.loads(asked.stdout)
    done = Comparison(f"{'Windows' if os.name == 'nt' else sys.platform.capitalize()} {version}")
    started = time.monotonic()
    print(f"== {done.python}", flush=True)
    for module in modules or every:
        compare(Module(python, module, limit), done)
    done.seconds = time.monotonic() - started
    return [done]


def compare(module: Module, done: Comparison) -> None:
    """Run one module on both loops and add what came out to `done`."""
    began = time.monotonic()
    stock = module.run(ours=False)
    ours = module.run(ours=True, leave_out=[name for name, one in stock.items() if one.said.startswith(STALLED)])
    passed = [sum(one.ok for one in results.values()) for results in (stock, ours)]
    took = time.monotonic() - began
    print(f"{module.name}: {passed[0]} pass on the stock loop, {passed[1]} on ours, {took:.0f} s", flush=True)
    done.stock += passed[0]
    done.ours += passed[1]
    done.on_ours += sum(one.ok and one.on_ours for one in ours.values())
    missing = Outcome("was not run on our loop")
    worse = {name: ours.get(name, missing) for name, one in stock.items() if one.ok and not ours.get(name, missing).ok}
    for name, one in stock.items():
        if not one.ok and not one.skipped:
            (done.better if name in ours and ours[name].ok else done.neither).append(name)
    for name, one in ours.items():
        if name not in stock and not one.ok and not one.skipped:
            worse[name] = one  # a class or a module that cannot be set up on ours
    for name, one in worse.items():
        judge(module, name, one, done, again=len(worse) <= MANY)


def judge(module: Module, name: str, outcome: Outcome, done: Comparison, *, again: bool) -> None:
    """Say whether a test that passed on the stock loop and not on ours is expected to, flaky, or worse."""
    reason = next((why for part, why in EXPECTED.items() if part in name), None)
    if reason:
        done.expected.append(name)
        print(f"  expected: {name}\n    {reason}", flush=True)
        return
    failed = {True: 1, False: 0}  # by whether on ours
    if again:
        for ours in (True, False) * AGAIN:
            failed[ours] += not module.run(ours=ours, only=[name]).get(name, Outcome("not found")).ok
    runs = 1 + AGAIN * again
    if failed[True] < runs or failed[False]:
        done.flaky.append(f"{name} ({failed[True]} of {runs}, stock {failed[False]} of {runs})")
        print(f"  flaky: {name} failed {failed[True]} of {runs} on ours, {failed[False]} of {runs} on the stock loop")
    else:
        done.worse.append(name)
        print(f"  FAILS ON OURS ALONE, {runs} of {runs}: {name}")
    print("    " + outcome.said.strip().replace("\n", "\n    "), flush=True)


STALLED = "took longer than"


class Module:
    """A module of ``test.test_asyncio`` on a Python."""

    def __init__(self, python: str, name: str, limit: float) -> None:
        self.name = name
        self._python = python
        self._limit = limit

    def run(self, *, ours: bool, leave_out: Iterable[str] = (), only: Iterable[str] = ()) -> dict[str, Outcome]:
        """Run its tests, in as many processes as it takes: one more behind each test that ends a process."""
        results: dict[str, Outcome] = {}
        while True:
            request = {"ours": ours, "leave_out": [*leave_out, *results], "only": list(only)}
            told, ended = self._process(request)
            finished = told.pop("*", None) is not None
            results |= told
            running = [name for name, one in told.items() if one.said == "running"]
            for name in running:
                results[name] = Outcome(ended)
            if finished:
                return results
            if not running:  # it died between tests, or could not be imported
                results[f"{self.name} as a whole"] = Outcome(ended)
                return results

    def _process(self, request: dict[str, Any]) -> tuple[dict[str, Outcome], str]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            out, stalled, asked = (Path(folder) / name for name in ("out", "stalled", "request"))
            request |= {"module": self.name, "limit": self._limit, "out": str(out), "stalled": str(stalled)}
            asked.write_text(json.dumps(request), encoding="utf-8")
            command = [self._python, "-X", "faulthandler", str(HERE / "one_module.py"), str(asked)]
            ended = self._wait(command, folder, out)
            where = stalled.read_text(errors="replace") if stalled.exists() else ""
            if where:
                ended = f"{STALLED} {self._limit:g} s\n{where[-3000:]}"
            lines = out.read_text(encoding="utf-8").splitlines() if out.exists() else []
        told = [json.loads(line) for line in lines]
        return {name: Outcome(said, on_ours) for name, said, on_ours in told}, ended

    def _wait(self, command: list[str], folder: str, out: Path) -> str:
        """Wait for the process to end, or for nothing to come from it for longer than it may take for one test."""
        posix = os.name == "posix"
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,  # never files: Windows Python cannot start on them under Wine
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=posix,
        )
        printed = b""
        try:
            while True:
                written = out.stat().st_size if out.exists() else 0
                try:
                    printed, _ = process.communicate(timeout=self._limit + 30)
                    break
                except subprocess.TimeoutExpired:
                    if out.exists() and out.stat().st_size > written:
                        continue
                    return f"{STALLED} {self._limit:g} s, and could not be ended from within"
        finally:
            with contextlib.suppress(OSError):
                if sys.platform != "win32":
                    os.killpg(process.pid, signal.SIGKILL)  # with what its tests started
                process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=10)
        return f"ended with {process.returncode}: {printed[-2000:].decode(errors='replace')}"


def table(compared: list[Comparison]) -> None:
    """Print one line for each Python, as Markdown, and below it every test that is not the same on both loops."""
    kinds = {
        "fails on ours alone": [one.worse for one in compared],
        "expected to": [one.expected for one in compared],
        "flaky": [one.flaky for one in compared],
        "passes on ours alone": [one.better for one in compared],
        "passes on neither": [one.neither for one in compared],
    }
    heads = ["", "stock passes", "ours passes", "of them made a loop of ours", *kinds, "minutes"]
    print(f"\n| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for at, one in enumerate(compared):
        numbers = [one.stock, one.ours, one.on_ours, *(len(names[at]) for names in kinds.values())]
        print(f"| {one.python} | {' | '.join(map(str, numbers))} | {one.seconds / 60:.0f} |")
    for kind, names in kinds.items():
        for at, one in enumerate(compared):
            for name in names[at]:
                print(f"{one.python}, {kind}: {name}")


if __name__ == "__main__":
    sys.exit(main())
