"""Run the tests on Pythons that most machines have not: 3.14, 3.15 and PyPy.

    python tests/tools/pythons/run.py                             the whole test suite on each
    python tests/tools/pythons/run.py --python pypy               on one
    python tests/tools/pythons/run.py --python 3.15 tests/net -k reset    any pytest selection

README's test command runs, in a virtual environment made for it: what is tested
is the checkout that holds this file. What this does not know goes to pytest.
Where the machine has the Python, that one is used. Else root gets it from a
small Debian of the development release, made in ~/.cache/proactor-echo (a
minute, 700 MB); nothing is installed. Where neither is to be had, it is skipped
with its reason.

The whole suite is dealt out to processes side by side, one more than there are
processors but at most 4; a selection runs in one. --jobs N says otherwise.

The exit status is pytest's, and 77 when nothing could be run.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there

from tools.windows import debian, host, session, side_by_side

CHECKOUT = Path(__file__).resolve().parents[3]

PYTHONS = {"3.14": "python3.14", "3.15": "python3.15", "pypy": "pypy3"}
"""The names of the Pythons, and their commands."""

SKIPPED = 77
"""The exit status when nothing could be run, as automake has it."""

MOST_JOBS = 4


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    options, arguments = _parse(argv)
    statuses = []
    with session.terminate_as_exit():
        for name in PYTHONS if options.python == "all" else [options.python]:
            try:
                python = find(name)
            except host.MissingToolError as missing:
                print(f"skipped: {missing}", flush=True)
                continue
            statuses.append(_run(python, options.jobs, options.rerun, arguments))
    return next((status for status in statuses if status), 0) if statuses else SKIPPED


def find(name: str) -> tuple[str, ...]:
    """Return the beginning of command lines that run a Python; raises :class:`host.MissingToolError`."""
    command = PYTHONS[name]
    if name == "pypy":
        found = shutil.which(command)
        if found is not None and _says(found, "import sys; print(sys.version_info >= (3, 11))") == "True":
            return (found,)
    else:
        try:
            return (host.host_python(name, lent=False).executable,)
        except host.MissingToolError:
            pass
    packages = [f"{each}-venv" for each in PYTHONS.values()]
    return (*debian.enter("sid", "Debian sid", "PyPy" if name == "pypy" else f"Python {name}", packages), command)


def _says(python: str, code: str) -> str:
    return subprocess.run([python, "-c", code], capture_output=True, text=True, check=False).stdout.strip()


def _run(python: tuple[str, ...], jobs: int | None, rerun: bool, arguments: list[str]) -> int:
    jobs = jobs or (1 if arguments else min(MOST_JOBS, (os.cpu_count() or 1) + 1))
    started = time.monotonic()
    os.environ["PYTHONDONTWRITEBYTECODE"] = "1"  # nothing is written into the checkout
    with tempfile.TemporaryDirectory(prefix="proactor-echo-python-") as folder:
        subprocess.run([*python, "-m", "venv", folder], check=True)
        there = [*python[:-1], f"{folder}/bin/python"]
        install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-e", f"{CHECKOUT}[test]"]
        subprocess.run([*there, *install], cwd=CHECKOUT, check=True)
        version = "import platform as p; print(p.python_implementation(), p.python_version())"
        title = subprocess.run([*there, "-c", version], capture_output=True, text=True, check=True).stdout.strip()
        print(f"=== {title}: {jobs} at once", flush=True)
        # A test that hangs shows where.
        pytest = [*there, "-m", "pytest", "-p", "no:cacheprovider", "-o", "faulthandler_timeout=120", *arguments]
        os.chdir(CHECKOUT)
        total = side_by_side.run([[*pytest, f"--shard={job}/{jobs}"] for job in range(1, jobs + 1)])
        if rerun and total.worth_another_run:
            total = total.run_again(
                lambda tests: subprocess.run([*pytest, *tests], stdin=subprocess.DEVNULL, check=False).returncode
            )
    print(f"=== {title}: {total.counts}, exit status {total.status} after {time.monotonic() - started:.0f} s")
    return total.status


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(
        prog="tests/tools/pythons/run.py",
        usage="%(prog)s [options] [pytest arguments]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--python", choices=[*PYTHONS, "all"], default="all", help="default all")
    parser.add_argument("--jobs", type=int, metavar="N", help="of pytest, side by side")
    parser.add_argument("--rerun", action="store_true", help="run the few that failed side by side once more, alone")
    return parser.parse_known_args(argv)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
