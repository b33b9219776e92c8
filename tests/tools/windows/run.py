"""Run the tests, or any program, on Windows Python under Wine, from Linux.

    python tests/tools/windows/run.py                           the whole test suite
    python tests/tools/windows/run.py --jobs 1                  the same in one session, not in some side by side
    python tests/tools/windows/run.py tests/net -k reset -x     any pytest selection
    python tests/tools/windows/run.py --python 3.12 tests/wire  another version, or `all`
    python tests/tools/windows/run.py --wine 10 tests/net       as Windows 11, or on each with `all`
    python tests/tools/windows/run.py --exec -- -c "print(1)"   any arguments of python

What is tested is the checkout that holds this file. The runner's own options
come before `--`; what it does not know goes to pytest. PYTHONPATH may name
more folders. The first run needs the mingw compiler, pip and the network, and
keeps what it builds in ~/.cache/proactor-echo (delete it to start afresh).

Each Windows Python borrows the standard library of an installed one, and `all`
are those; for 3.14 Debian's is used where there is none.

Wine 8 answers as Windows 7 does, Wine 10 is set to Windows 11. Debian 12 has
the one and Debian 13 the other; the machine's own is the default. One that the
machine has not, root can have all the same: a small Debian with it is made in
the cache (a minute, 1.2 GB), and nothing is installed.

The whole suite is dealt out to Wine sessions side by side, one more than there
are processors but at most 4: each waits about half of its time. Their outputs
come one after the other, and the last line has the sums. --shard 2/3 runs the
second of three parts alone. A selection runs in one session; --jobs N says
otherwise for either.

The exit status is pytest's; 124 when the time limit ended the run, 1 when
something it needs is missing.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there

from tools.windows import build, host, session, side_by_side, wines

CHECKOUT = Path(__file__).resolve().parents[3]

MOST_JOBS = 4
"""Sessions side by side, unless more are asked for."""


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    options, arguments = _parse(argv)
    try:
        if options.list:
            pairs = [f"{version} {wine}" for version in host.available_versions() for wine in wines.available()]
            print("\n".join(pairs))
            return 0
        # All must be there before the first starts, so that a missing one is told at once.
        with session.terminate_as_exit():
            lanes = _lanes(options)
        if options.build:
            return 0
        statuses = [_run(lane, options, arguments) for lane in lanes]
    except host.MissingToolError as missing:
        print(f"tests/tools/windows/run.py: {missing}", file=sys.stderr)
        return 1
    return next((status for status in statuses if status), 0)


@dataclass(frozen=True, slots=True)
class Lane:
    """One Windows Python on one Wine."""

    minor: str
    python: Path
    wine: wines.Wine

    def __str__(self) -> str:
        return f"Windows Python {self.minor} under Wine {self.wine.name}"


def _lanes(options: argparse.Namespace) -> list[Lane]:
    names = wines.available() if options.wine == "all" else [options.wine]
    found = [wines.find(name) for name in names]
    versions = host.available_versions() if options.python == "all" else [options.python]
    pythons = [(version, build.windows_python(version, CHECKOUT)) for version in versions]
    for wine in found:
        wine.prefix()
    return [Lane(version, python, wine) for version, python in pythons for wine in found]


def _run(lane: Lane, options: argparse.Namespace, arguments: list[str]) -> int:
    if options.exec:
        return session.run(
            lane.wine,
            lane.python,
            arguments,
            checkout=CHECKOUT,
            directory=Path.cwd(),
            timeout=options.timeout,
            merge_output=False,
        )
    jobs = options.jobs or (1 if arguments else min(MOST_JOBS, (os.cpu_count() or 1) + 1))
    started = time.monotonic()
    if jobs == 1:
        status, told = _pytest(lane, options.timeout, arguments), ""
    else:
        print(f"=== {lane}: {jobs} sessions side by side", flush=True)
        this = [sys.executable, __file__, "--python", lane.minor, "--wine", lane.wine.name]
        this += ["--timeout", f"{options.timeout:g}", "--jobs", "1", "--"]
        with session.terminate_as_exit():
            total = side_by_side.run([[*this, f"--shard={job}/{jobs}", *arguments] for job in range(1, jobs + 1)])
        if options.rerun and total.worth_another_run:
            total = total.run_again(lambda tests: _pytest(lane, options.timeout, tests))
        status, told = total.status, f"{total.counts} in {jobs} sessions, "
    took = f"after {time.monotonic() - started:.0f} s"
    print(f"=== {lane}: {told}exit status {status} {took}", flush=True)
    return status


def _pytest(lane: Lane, timeout: float, arguments: list[str]) -> int:
    print(f"=== pytest on {lane}, {lane.wine.version}", flush=True)
    # A test that hangs shows where, before the time limit ends the run; nothing is written into the checkout.
    dump = f"faulthandler_timeout={min(120.0, timeout / 2):g}"
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-o", dump, *arguments]
    return session.run(
        lane.wine, lane.python, pytest, checkout=CHECKOUT, directory=CHECKOUT, timeout=timeout, merge_output=True
    )


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own = list(argv)
    rest: list[str] = []
    if "--" in own:
        split = own.index("--")
        own, rest = own[:split], own[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="tests/tools/windows/run.py",
        usage="%(prog)s [options] [pytest arguments]\n       %(prog)s [options] --exec -- python arguments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--python", choices=[*host.SUPPORTED, "all"], default="3.11", help="default 3.11; all: those installed"
    )
    parser.add_argument("--wine", choices=[*wines.DEBIANS, "all"], help="default: what the machine has, else 10")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="of each run, default 600")
    parser.add_argument("--jobs", type=_jobs, metavar="N", help="of pytest, side by side")
    parser.add_argument("--rerun", action="store_true", help="run the few that failed side by side once more, alone")
    parser.add_argument("--exec", action="store_true", help="run python with the arguments, not pytest, right here")
    parser.add_argument("--build", action="store_true", help="build what is not built yet, and run nothing")
    parser.add_argument("--list", action="store_true", help="print the pairs of version and Wine this machine can run")
    options, unknown = parser.parse_known_args(own)
    return options, unknown + rest


def _jobs(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of sessions")
    return int(text)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
