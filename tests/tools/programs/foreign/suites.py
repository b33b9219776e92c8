"""Run the test suites of other projects on our loop and on asyncio's; tell what fails on ours alone.

A suite is the ``tests`` folder of a source distribution, or of the tag in the project's repository where the source
distribution has none. Its project and what its tests need are installed in a virtual environment of its own. Sources
and environments stay in the cache. A plugin puts our loop wherever asyncio makes one
(:mod:`loops.foreign.record_outcomes`).

A test that fails on ours and passes on the stock loop is run again on both: what does not always fail on ours, or fails
on the stock loop too, is flaky.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tools.windows import cache

HERE = Path(__file__).resolve().parent

PYTHON = "environment/Scripts/python.exe" if os.name == "nt" else "environment/bin/python"

AGAIN = 2
"""More runs of a test that fails on ours alone, on each loop."""

LIMIT = 30.0
"""Seconds for one test."""

OPTIONS = (
    *("-q", "-p", "record_outcomes", "-p", "no:cacheprovider", "--continue-on-collection-errors"),
    *("-o", "addopts=", "-o", "faulthandler_timeout=0"),  # not the suite's own
)

Outcomes = dict[str, str]


@dataclass(frozen=True)
class Suite:
    """The tests of one project."""

    name: str
    version: str
    needs: tuple[str, ...]
    """What its tests are run with, as pip is told."""
    tests: tuple[str, ...]
    """Files and folders of tests, inside the source."""
    options: tuple[str, ...] = ()
    """More options of pytest."""
    repository: str = ""
    """Where the tests are when the source distribution has none."""
    expected: dict[str, str] = field(default_factory=dict)
    """Parts of the names of tests that fail on ours, and why that is right."""


SUITES = {
    suite.name: suite
    for suite in (
        Suite("asyncio-dgram", "3.0.0", ("pytest-asyncio",), ("test",)),
        Suite(
            "websockets",
            "17.0.1",
            ("werkzeug", "python-socks"),
            ("tests",),
            ("--ignore=tests/trio",),
            repository="https://github.com/python-websockets/websockets",
            expected=dict.fromkeys(
                ("ConnectionTests::test_local_address", "ConnectionTests::test_remote_address"),
                "patches asyncio.Transport.get_extra_info; our transports have a get_extra_info of their own",
            ),
        ),
        Suite(
            "uvicorn",
            "0.54.0",
            (
                *("httpx2", "pytest-mock", "trustme", "cryptography", "a2wsgi", "wsproto", "websockets>=17"),
                *("httptools", "python-dotenv", "PyYAML", "watchfiles"),
            ),
            ("tests",),
            ("--ignore=tests/benchmarks",),
            expected={
                "test_loop_auto": "asks whether the module of the loop's class is one of asyncio's",
                "test_get_loop_factory[asyncio-_UnixSelectorEventLoop]": "the loop's class is in the name of the test",
            },
        ),
        Suite(
            "anyio",
            "4.16.0",
            (
                *("blockbuster", "hypothesis", "psutil", "pytest-mock", "pytest-timeout", "trustme"),
                *("truststore", "cryptography"),
            ),
            ("tests",),
            ("-p", "anyio", "-p", "pytest_mock", "-p", "timeout", "-k", "not trio and not uvloop"),
        ),
    )
}


@dataclass
class Verdict:
    """What running a suite on both loops showed."""

    passed: tuple[int, int] = (0, 0)  # on ours, on the stock loop
    worse: Outcomes = field(default_factory=dict)
    expected: Outcomes = field(default_factory=dict)
    flaky: list[str] = field(default_factory=list)


def run(names: Iterable[str], sources: dict[str, Path]) -> int:
    """Run these suites, print what came out; 1 when something fails on ours alone."""
    print(f"Python {sys.version.split()[0]} on {sys.platform}", flush=True)
    bad = False
    for name in names:
        suite = SUITES[name]
        print(f"{suite.name} {suite.version}", end=": ", flush=True)
        began = time.monotonic()
        try:
            prepared = Prepared(suite, sources.get(name))
        except subprocess.CalledProcessError as failed:
            print(f"not run: {' '.join(map(str, failed.cmd[-3:]))} failed")
            continue
        verdict = compared(suite, prepared)
        bad = bad or bool(verdict.worse)
        print(told(verdict), f"({time.monotonic() - began:.0f} s)", flush=True)
        for kind, tests in (("FAILS ON OURS ALONE", verdict.worse), ("expected", verdict.expected)):
            for test, why in tests.items():
                print(f"  {kind}: {test}\n    " + why.strip().replace("\n", "\n    "), flush=True)
        for test in verdict.flaky:
            print(f"  flaky: {test}", flush=True)
    return int(bad)


def told(verdict: Verdict) -> str:
    """Say it in a line."""
    ours, stock = verdict.passed
    counts = f"{len(verdict.worse)} fail on ours alone, {len(verdict.expected)} as expected, {len(verdict.flaky)} flaky"
    return f"{ours} pass on our loop, {stock} on the stock one; {counts}"


class Prepared:
    """A suite's source, and a Python that can run it."""

    def __init__(self, suite: Suite, given: Path | None = None) -> None:
        self.suite = suite
        kept = cache.place(f"suite-{suite.name}", suite.version, suite.needs, sys.version_info[:2], str(given or ""))
        cache.build_once(kept, lambda scratch: prepare(suite, given, scratch))
        self.source = kept / "source"
        self.python = kept / PYTHON

    def outcomes(self, *, ours: bool, only: Iterable[str] = ()) -> Outcomes:
        """Run the suite, or some of its tests, on one of the loops; in one more process behind each test that hangs."""
        found: Outcomes = {}
        while True:
            told, ended = self._process(ours, list(found), only or self.suite.tests)
            finished = told.pop("*", None) is not None
            running = [name for name, said in told.items() if said == "running"]
            found |= told | dict.fromkeys(running, ended)
            if finished:
                return found
            if not running:  # it died between tests, or did not even start
                return found | {f"{self.suite.name} as a whole": ended}

    def _process(self, ours: bool, leave_out: list[str], tests: Iterable[str]) -> tuple[Outcomes, str]:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            out, stalled, printed = (Path(folder) / name for name in ("out", "stalled", "printed"))
            asked = {"ours": ours, "leave_out": leave_out, "out": str(out), "stalled": str(stalled), "limit": LIMIT}
            with printed.open("wb") as file:
                status = subprocess.run(
                    [self.python, "-m", "pytest", *OPTIONS, *self.suite.options, *tests],
                    cwd=self.source,
                    env=os.environ | {"PYTHONPATH": str(HERE), "PROACTOR_ECHO_SUITE": json.dumps(asked)},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=subprocess.STDOUT,
                    check=False,
                ).returncode
            where = stalled.read_text(errors="replace") if stalled.exists() else ""
            if where:
                return read(out), f"took longer than {LIMIT:g} s\n{where[-3000:]}"
            return read(out), f"ended with {status}: {printed.read_text(errors='replace')[-3000:]}"


def read(path: Path) -> Outcomes:
    """Read what the plugin wrote: the last word about each test, but of one with several, a failure if there is one."""
    outcomes: Outcomes = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        name, outcome = json.loads(line)
        if outcomes.get(name, "running") in ("running", "passed", "skipped") and outcome != "running":
            outcomes[name] = outcome
        else:
            outcomes.setdefault(name, outcome)
    return outcomes


def compared(suite: Suite, prepared: Prepared) -> Verdict:
    """Run a suite on both loops."""
    stock, ours = prepared.outcomes(ours=False), prepared.outcomes(ours=True)
    verdict = Verdict(tuple(sum(said == "passed" for said in one.values()) for one in (ours, stock)))  # type: ignore[arg-type]
    for name, said in worse(ours, stock).items():
        why = next((why for part, why in suite.expected.items() if part in name), "")
        if why:
            verdict.expected[name] = why
            continue
        failed = {on_ours: sum(failures(prepared, on_ours, name)) for on_ours in (True, False)}
        if failed[True] == AGAIN and not failed[False]:
            verdict.worse[name] = said
        else:
            verdict.flaky.append(f"{name} (again: {failed[True]} of {AGAIN} on ours, {failed[False]} on the stock one)")
    return verdict


def worse(ours: Outcomes, stock: Outcomes) -> Outcomes:
    """Return what passed on the stock loop and not on ours, and what could not even be collected on ours."""
    found = {}
    for name in stock | ours:
        said = ours.get(name, "was not run on our loop")
        if said not in ("passed", "skipped") and stock.get(name, "passed") == "passed":
            found[name] = said
        elif said == "skipped" and stock.get(name) == "passed":
            found[name] = "was skipped on our loop alone"
    return found


def failures(prepared: Prepared, ours: bool, name: str) -> Iterable[bool]:
    """Run one test again, some times; whether it failed each time."""
    for _ in range(AGAIN):
        yield prepared.outcomes(ours=ours, only=[name]).get(name) != "passed"


def prepare(suite: Suite, given: Path | None, kept: Path) -> None:
    """Bring the source, and make an environment with the project and what its tests need."""
    fetch(suite, given, kept)
    _call(sys.executable, "-m", "venv", kept / "environment")
    pip = (kept / PYTHON, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _call(*pip, "--upgrade", "pip")
    _call(*pip, f"{suite.name}=={suite.version}", "pytest", "click", *suite.needs)


def fetch(suite: Suite, given: Path | None, kept: Path) -> None:
    """Bring the source from a folder, a Git repository, or a source distribution."""
    source = kept / "source"
    if given is not None and (given / suite.tests[0]).exists():
        shutil.copytree(given, source)
    elif given is not None or suite.repository:
        origin = given or suite.repository
        git = ("git", "-c", "advice.detachedHead=false", "clone", "--quiet", "--depth", "1")
        _call(*git, "--branch", suite.version, origin, source)
    else:
        archives = kept / "archives"
        pip = (sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary", ":all:")
        _call(*pip, "--dest", archives, f"{suite.name}=={suite.version}")
        (archive,) = archives.glob("*.tar.gz")
        with tarfile.open(archive) as packed:
            packed.extractall(archives, filter="data")
        (unpacked,) = (path for path in archives.iterdir() if path.is_dir())
        unpacked.rename(source)


def _call(*command: object) -> None:
    subprocess.run([str(part) for part in command], check=True, stdin=subprocess.DEVNULL)
