"""Attack servers in every way for a while, and look what it costs them and their honest clients.

    python tests/tools/soak/run.py                                      # all servers, 10,000 connections, 4 minutes
    python tests/tools/soak/run.py raw udp --seconds 10 --connections 500
    python tests/tools/soak/run.py length --seconds 600 --json soak.json

Each server is a process of its own with the command line's defaults: `raw` and `length` are `proactor-echo tcp` without
and with frames, `handler` is `serve_tcp` with a coroutine, `tls` has frames over TLS, `udp` is `proactor-echo udp`.
Honest clients measure at rest, for half of `--seconds`, and then, for `--seconds`, while attackers in other processes
hold connections open in all slow ways and come and go in all quick ones. After that everything must be as it was
before. On Linux the server has CPU 0, the load the others, if there are two or more.

Exit status 1 when something that must hold does not. `--connections` is how many are open at once, nine tenths of them
attackers' (the rest is for those that come and go); the limit on open files must be higher.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools.soak.hosted import FAULTY
from tools.soak.server import Server, final_counters, kinds, slope
from tools.soak.verdicts import Verdict, judge

from proactor_echo.testing.certificates import LOCALHOST

HERE = Path(__file__).parent

CERTIFICATE = ("--tls-cert", str(LOCALHOST.certfile), "--tls-key", str(LOCALHOST.keyfile))

SERVERS = {
    "raw": ("cli", "tcp", "-p", "0", "--stats"),
    "length": ("cli", "tcp", "-p", "0", "--stats", "--framing", "length"),
    "handler": ("handler",),
    "tls": (*("cli", "tcp", "-p", "0", "--stats", "--framing", "length"), *CERTIFICATE),
    "udp": ("cli", "udp", "-p", "0", "--stats"),
}

#: Seconds in which everything must have gone when the attackers have.
SETTLED = 20.0


def main(arguments: list[str] | None = None) -> int:
    """Soak the servers that were asked for; return the exit status."""
    options = parse(arguments)
    print(
        f"seed {options.seed}, Python {platform.python_version()} on {sys.platform}, {os.cpu_count()} CPUs", flush=True
    )
    reports, held = {}, True
    for name in options.servers or SERVERS:
        reports[name] = report = soak(name, options)
        held &= tell(name, report)
    if options.json:
        Path(options.json).write_text(
            json.dumps({"seed": options.seed, "servers": reports}, indent=1), encoding="utf-8"
        )
    return 0 if held else 1


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    known = (*SERVERS, *FAULTY)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "servers", nargs="*", metavar="server", help=f"of {', '.join(known)}; default {', '.join(SERVERS)}"
    )
    parser.add_argument("--seconds", type=float, default=20.0, help="how long to attack each server (20)")
    parser.add_argument("--connections", type=int, default=10_000, help="open at once (10000)")
    parser.add_argument("--rate", type=float, help="connections that come and go in a second (as many as can)")
    parser.add_argument("--flood", type=float, default=5000, help="more that are only to be reset, in a second (5000)")
    parser.add_argument("--udp-rate", type=float, default=5000, help="datagrams of the flood in a second (5000)")
    parser.add_argument("--no-forged", action="store_true", help="do not set two UDP echoes on each other")
    parser.add_argument("--clients", type=int, default=20, help="honest clients, each 20 messages a second (20)")
    parser.add_argument("--late", type=float, default=20.0, help="seconds after which an answer is lost (20)")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--option", action="append", default=[], help="give proactor-echo this option too")
    parser.add_argument("--json", metavar="FILE", help="write everything there")
    options = parser.parse_args(arguments)
    if unknown := set(options.servers) - set(known):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    allow_open_files(options.connections + 1000)
    return options


def allow_open_files(count: int) -> None:
    """Raise the limit on open files, for the processes that are started too. Exits if it cannot be so high."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise SystemExit(
            f"only {hard} files may be open (ulimit -Hn): use --connections {max(1, hard - 1000)} or fewer"
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


def soak(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one server at rest, attack it, and return everything that was seen."""
    arguments = SERVERS.get(name, (name,))
    if arguments[0] == "cli":
        arguments = (*arguments, *options.option)
    kind = "udp" if name == "udp" else "tcp"
    began = time.monotonic()
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(*arguments))
        pin(server.process, {0})
        other = [stack.enter_context(Server(*SERVERS["udp"])).port] if kind == "udp" and not options.no_forged else []
        asked = {"port": server.port, "seed": options.seed, "clients": options.clients, "rate": 20}
        asked |= {"framed": name != "raw", "through_faults": 3, "late": options.late, "tls": name == "tls"}
        honest(kind, {**asked, "seconds": 0.3}, server)  # what is made when it is first needed
        settle(server, server.look()["descriptors"])
        before = server.look()
        rest = honest(kind, {**asked, "seconds": options.seconds / 2}, server)
        server.samples.clear()
        hostile: dict[str, Any] = {"port": server.port, "seed": options.seed, "flood": 0}
        if kind == "udp":
            hostile |= {"rate": options.udp_rate, "loops": other}
        else:
            staying = options.connections * 9 // 10
            hostile |= {
                "staying": staying,
                "passing": min(64, options.connections // 10),
                "hog": options.connections // 50,
            }
            hostile |= {"rate": options.rate}
        floods = [{**hostile, "flood": options.flood}] if kind == "tcp" and options.flood else []
        with attackers(kind, [hostile, *floods]) as ended:
            held = server.look()
            start = server.sample()
            attacked = honest(kind, {**asked, "seconds": options.seconds}, server)
            end = server.sample()
            attacks = ended()
        took = settle(server, before["descriptors"])
        after = server.look()
        last, idle = server.sample(), None
        time.sleep(0.5)
        if last and (later := server.sample()):
            idle = (later.cpu - last.cpu) / (later.time - last.time)
        samples = [s for s in server.samples if start and end and start.time <= s.time <= end.time]
        status, seconds = server.stop()
        log = server.log()
    return {
        "kind": kind,
        "seconds": time.monotonic() - began,
        "attack seconds": options.seconds,
        "at rest": rest,
        "under attack": attacked,
        "attacks": attacks,
        "before": before,
        "held": held,
        "after": after,
        "settled in": took,
        "peak descriptors": max((s.descriptors for s in samples), default=None),
        "peak memory": max((s.memory for s in samples), default=None),
        "memory after": last.memory if last else None,
        "memory slope": slope(samples),
        "cpu": (end.cpu - start.cpu) / (end.time - start.time) if start and end else None,
        "idle cpu": idle,
        "log": kinds(log),
        "log bytes": len(log),
        "counters": final_counters(log),
        "exit status": status,
        "stop seconds": seconds,
    }


def pin(process: subprocess.Popen[Any], cpus: set[int]) -> None:
    """Keep a process on some CPUs, where that can be said and there are others."""
    if sys.platform == "linux" and len(os.sched_getaffinity(0)) > 1:
        with contextlib.suppress(OSError):
            os.sched_setaffinity(process.pid, cpus)


def others() -> set[int]:
    """Return the CPUs for the load."""
    return set(range(1, os.cpu_count() or 1)) or {0}


def honest(kind: str, asked: dict[str, Any], server: Server) -> dict[str, Any]:
    """Run the honest clients for as long as they are asked to, and look at the server meanwhile."""
    script = ["datagrams.py", "honest"] if kind == "udp" else ["honest.py"]
    command = [sys.executable, str(HERE / script[0]), *script[1:], json.dumps(asked)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        pin(process, others())
        if sys.platform == "linux":
            with contextlib.suppress(OSError):  # the attackers must not take its time: only the server may be late
                os.setpriority(os.PRIO_PROCESS, process.pid, -10)
        while process.poll() is None:
            server.sample()
            time.sleep(0.1)
        assert process.stdout is not None
        result: dict[str, Any] = json.loads(process.stdout.read())
    return result


@contextlib.contextmanager
def attackers(kind: str, several: list[dict[str, Any]]) -> Iterator[Callable[[], dict[str, Any]]]:
    """Attack while the block runs, with one process each; yield a function that ends it and returns what was done."""
    script = ["datagrams.py", "flood"] if kind == "udp" else ["attackers.py"]
    with contextlib.ExitStack() as stack:
        processes = []
        for asked in several:
            command = [sys.executable, str(HERE / script[0]), *script[1:], json.dumps(asked)]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            stack.enter_context(process)
            stack.callback(process.kill)
            processes.append(process)
            pin(process, others())
            assert process.stdout is not None
            if process.stdout.readline() != "ready\n":
                raise RuntimeError("the attackers did not start")

        def ended() -> dict[str, Any]:
            done: dict[str, int] = {}
            peak = 0
            for process in processes:
                result = json.loads(process.communicate(timeout=60)[0])
                done |= result["done"]
                peak = max(peak, result["peak"])
            return {"done": done, "peak": peak}

        yield ended


def settle(server: Server, descriptors: int) -> float:
    """Wait until the server has no more descriptors than this, for SETTLED seconds at most; return how long."""
    started = time.monotonic()
    while server.look().get("descriptors", 0) > descriptors and time.monotonic() - started < SETTLED:
        time.sleep(0.2)
    return time.monotonic() - started


def tell(name: str, report: dict[str, Any]) -> bool:
    """Print the report of one server; return whether everything held."""
    mib = 1 << 20
    print(f"\n{name}: {report['seconds']:.0f} s")
    for what in ("at rest", "under attack"):
        seen = report[what]
        visits = ""
        if report["kind"] == "tcp":
            visits = f"; {seen['visits']} visits, p99 {seen['visit_p99'] * 1e3:.1f} ms"
        print(
            f"  {what}: {seen['messages']} messages, p50 {seen['p50'] * 1e3:.2f} ms, p99 {seen['p99'] * 1e3:.2f} ms, "
            f"longest {seen['longest'] * 1e3:.1f} ms{visits}"
        )
    print(f"  attackers: {report['attacks']['peak']} open at most; {report['attacks']['done']}")
    print(f"  held: {report['held']}, settled in {report['settled in']:.1f} s")
    if report["peak memory"]:
        print(
            f"  peak: {report['peak descriptors']} descriptors, {report['peak memory'] / mib:.0f} MiB; "
            f"after all had gone {report['memory after'] / mib:.0f} MiB; CPU {report['cpu']:.0%}"
        )
    print(f"  counters: {report['counters']}")
    print(f"  log ({report['log bytes']:,} bytes): {report['log']}")
    verdicts: list[Verdict] = list(judge(report))
    for verdict in verdicts:
        print(f"  {'ok    ' if verdict.holds else 'BROKEN'} {verdict.name}: {verdict.figures}")
    sys.stdout.flush()
    return all(verdict.holds for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())
