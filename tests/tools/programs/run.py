"""Drive real programs on our event loop: one line for each with what was checked and how it went.

    python tests/tools/programs/run.py                          # whatever is installed
    python tests/tools/programs/run.py aiohttp asyncpg          # these
    python tests/tools/programs/run.py --loop stock             # asyncio's own loop, to compare
    python tests/tools/programs/run.py --suites                 # the test suites of some projects, on both loops
    python tests/tools/programs/run.py --suites anyio uvicorn   # these

What is not installed is said and skipped; `pip install --group programs` brings the packages. PostgreSQL and Redis
are started for the run where their programs are found, and stopped; or give the address of a running one, which is how
a Windows Python under Wine uses the host's. Each program checks from inside, in its handlers, that it runs on the loop
that was asked for, and nothing may reach the loop's exception handler. Exit status 1 when something failed.

The suites of the second mode, and what they need, are brought by pip (and Git) into ~/.cache/proactor-echo; nothing has
to be installed. Exit status 1 when a test fails on our loop alone.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import importlib.metadata
import logging
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools.programs.foreign import suites
from tools.programs.foreign.suites import SUITES
from tools.programs.third_party.setting import Setting, UnavailableError

from proactor_echo import loops
from proactor_echo.loops import private

PROGRAMS = (
    *("aiohttp", "websockets", "asyncpg", "redis", "uvicorn", "hypercorn"),
    *("tornado", "pyzmq", "asyncssh", "aiosmtpd"),
)

LOOPS = {
    "ours": Setting(loops.EventLoop, "proactor_echo:new_event_loop"),
    "stock": Setting(private.StockLoop, f"asyncio:{'Proactor' if private.WINDOWS else 'Selector'}EventLoop"),
}

TIMEOUT = 120.0  # seconds for one part


def main() -> int:
    """Run the programs that were asked for; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(PROGRAMS)}; default all")
    parser.add_argument("--loop", choices=LOOPS, default="ours")
    parser.add_argument("--debug", action="store_true", help="asyncio's debug mode")
    parser.add_argument("--postgres", metavar="URL", help="a running server for asyncpg, its database may be filled")
    parser.add_argument("--redis", metavar="URL", help="a running server for redis, which may be flushed")
    parser.add_argument("--suites", action="store_true", help=f"run test suites: {', '.join(SUITES)}; default all")
    parser.add_argument(
        "--source",
        metavar="NAME=PATH",
        action="append",
        default=[],
        help="where a suite is: a folder that holds its tests, or a Git repository with its tags",
    )
    args = parser.parse_args()
    known = SUITES if args.suites else PROGRAMS
    if unknown := set(args.names) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    if args.suites:
        given = dict(source.partition("=")[::2] for source in args.source)
        return suites.run(args.names or SUITES, {name: Path(path) for name, path in given.items()})
    setting = LOOPS[args.loop]
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # writes to a connection that was lost are warnings
    version = sys.version.split()[0]
    print(f"Python {version} on {sys.platform}, {setting.loop.__module__}.{setting.loop.__qualname__}", flush=True)
    services = {"asyncpg": args.postgres, "redis": args.redis}
    fine = [drive(name, setting, services.get(name), args.debug) for name in args.names or PROGRAMS]
    return 0 if all(fine) else 1


def module_of(name: str) -> str:
    """Return the module that drives a program."""
    return f"tools.programs.third_party.with_{name}"


def drive(name: str, setting: Setting, service: str | None, debug: bool) -> bool:
    """Run one program's parts, print its line; False when one failed."""
    print(f"{name:12}", end=" ", flush=True)
    try:
        program: Any = importlib.import_module(module_of(name))
    except ModuleNotFoundError as missing:
        print(f"not installed ({missing.name})", flush=True)
        return True
    except ImportError as why:
        print(f"not run: {why}", flush=True)
        return True
    print(f"{importlib.metadata.version(name):9}", end=" ", flush=True)
    started = time.monotonic()
    serve: Callable[[str | None], AbstractContextManager[Any]] = getattr(program, "SERVICE", contextlib.nullcontext)
    try:
        with serve(service) as address:
            here = replace(setting, service=address)
            failed = [name for name, part in program.PARTS.items() if not succeeds(name, part, here, debug)]
    except UnavailableError as why:
        print(f"not run: {why}", flush=True)
        return True
    what = f"FAILED   {'; '.join(failed)}" if failed else f"ok       {'; '.join(program.PARTS)}"
    print(f"{what}  ({time.monotonic() - started:.1f} s)", flush=True)
    return not failed


def succeeds(name: str, part: Any, setting: Setting, debug: bool) -> bool:
    """Run one part on a loop of its own."""
    told: list[dict[str, Any]] = []

    async def watched() -> None:
        setting.check_loop()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(context))
        async with asyncio.timeout(TIMEOUT):
            await part(setting)

    try:
        with asyncio.Runner(loop_factory=setting.loop, debug=debug or None) as runner:
            runner.run(watched())
    except Exception:
        print(f"\n--- {name}", file=sys.stderr)
        traceback.print_exc()
        return False
    for context in told:
        print(f"\n--- {name}: reached the loop's exception handler: {context}", file=sys.stderr)
        if error := context.get("exception"):
            traceback.print_exception(error)
    return not told


if __name__ == "__main__":
    sys.exit(main())
