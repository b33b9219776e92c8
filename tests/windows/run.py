"""Run the tests, or any program, on Windows Python under Wine, from Linux.

    python tests/windows/run.py                           the whole test suite
    python tests/windows/run.py tests/net -k reset -x     any pytest selection
    python tests/windows/run.py --python 3.12 tests/wire  another version, or `all`
    python tests/windows/run.py --exec -- -c "print(1)"   any arguments of python

What is tested is the checkout that holds this file. The runner's own options
come before `--`; what it does not know goes to pytest. PYTHONPATH may name
more folders. The first run needs Wine, the mingw compiler, pip and the network,
and keeps what it builds in ~/.cache/proactor-echo (delete it to start afresh).
The exit status is pytest's; 124 when the time limit ended the run, 1 when
something it needs is missing.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' folder, as pytest puts it there

from windows import build, host, session

CHECKOUT = Path(__file__).resolve().parents[2]


def main(argv: Sequence[str]) -> int:
    """Do what the command line says; return the exit status."""
    options, arguments = _parse(argv)
    try:
        if options.list:
            print("\n".join(host.available_versions()))
            return 0
        host.wine()
        versions = host.available_versions() if options.python == "all" else [options.python]
        # All must be there before the first starts, so that a missing one is told at once.
        pythons = {version: build.windows_python(version, CHECKOUT) for version in versions}
        build.wine_prefix()
        if options.build:
            return 0
        statuses = [_run(version, python, options, arguments) for version, python in pythons.items()]
    except host.MissingToolError as missing:
        print(f"tests/windows/run.py: {missing}", file=sys.stderr)
        return 1
    return next((status for status in statuses if status), 0)


def _run(version: str, python: Path, options: argparse.Namespace, arguments: list[str]) -> int:
    if options.exec:
        return session.run(
            python, arguments, checkout=CHECKOUT, directory=Path.cwd(), timeout=options.timeout, merge_output=False
        )
    print(f"=== pytest on Windows Python {version} under Wine", flush=True)
    started = time.monotonic()
    # A test that hangs shows where, before the time limit ends the run; nothing is written into the checkout.
    dump = f"faulthandler_timeout={min(120.0, options.timeout / 2):g}"
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", "-o", dump, *arguments]
    status = session.run(
        python, pytest, checkout=CHECKOUT, directory=CHECKOUT, timeout=options.timeout, merge_output=True
    )
    print(f"=== Windows Python {version}: exit status {status} after {time.monotonic() - started:.0f} s", flush=True)
    return status


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    own = list(argv)
    rest: list[str] = []
    if "--" in own:
        split = own.index("--")
        own, rest = own[:split], own[split + 1 :]
    parser = argparse.ArgumentParser(
        prog="tests/windows/run.py",
        usage="%(prog)s [options] [pytest arguments]\n       %(prog)s [options] --exec -- python arguments",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--python", choices=[*host.SUPPORTED, "all"], default="3.11", help="default 3.11")
    parser.add_argument("--timeout", type=float, default=600.0, metavar="SECONDS", help="of each run, default 600")
    parser.add_argument("--exec", action="store_true", help="run python with the arguments, not pytest, right here")
    parser.add_argument("--build", action="store_true", help="build what is not built yet, and run nothing")
    parser.add_argument("--list", action="store_true", help="print the versions this machine can run")
    options, unknown = parser.parse_known_args(own)
    return options, unknown + rest


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
