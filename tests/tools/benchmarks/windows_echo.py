"""Measure TCP echo on Windows Python under Wine: our loop, the stock ProactorEventLoop and others, in one run.

    python tests/tools/benchmarks/windows_echo.py                      ours against stock: 50 connections, 1 KiB
    python tests/tools/benchmarks/windows_echo.py --size 65536 --rounds 7
    python tests/tools/benchmarks/windows_echo.py --winloop FOLDER     FOLDER holds the unpacked wheel of winloop
    python tests/tools/benchmarks/windows_echo.py --exe 'name=C:/x.exe 0.0.0.0 {port}'  any other Windows program

All servers are up the whole time, each with its Wine server, pinned to one CPU; this script is the load, on another
CPU, and loads one server at a time, in short turns, so that a busy machine is as busy for all of them. Wine makes every
overlapped operation a round trip to its server: only the ratios within a run mean anything.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

if sys.platform != "linux":
    raise SystemExit("run this on Linux: it starts Windows Python itself")

HERE = Path(__file__).resolve().parent
RUN = HERE.parent / "windows" / "run.py"
WARM_UP = 0.2  # seconds


def main() -> int:
    options = parse()
    os.sched_setaffinity(0, {1})
    servers = {"ours": ["ours"], "stock": ["stock"]}
    if options.winloop:
        servers["winloop"] = ["winloop"]
    names = [*servers, *(name for name, _, _ in options.exe), *options.script]
    rates: dict[str, list[float]] = {name: [] for name in names}
    costs: dict[str, list[float]] = {name: [] for name in names}
    with contextlib.ExitStack() as stack:
        running = {name: stack.enter_context(serve(name, options)) for name in names}
        for _ in range(options.rounds):
            for name, (port, prefix) in running.items():
                rate, cost = load(port, options.connections, options.size, options.seconds, prefix)
                rates[name].append(rate)
                costs[name].append(cost)
    print(f"{'':10} {'messages/s':>12} {'us CPU each':>12} {'ours: rate':>11} {'CPU':>6}   rate of each round")
    for name in names:
        faster = statistics.median(a / b for a, b in zip(rates["ours"], rates[name], strict=True))
        cheaper = statistics.median(a / b for a, b in zip(costs["ours"], costs[name], strict=True))
        print(
            f"{name:10} {statistics.median(rates[name]):12.0f} {statistics.median(costs[name]):12.1f}"
            f" {faster:10.2f}x {cheaper:5.2f}x   {' '.join(f'{rate:.0f}' for rate in rates[name])}"
        )
    if options.json:
        print(json.dumps({"rates": rates, "costs": costs}))
    return 0


def load(port: int, connections: int, size: int, seconds: float, prefix: str) -> tuple[float, float]:
    """Each connection sends one message of `size` bytes when the last is back, and compares.

    Returns the echoed messages a second, and the microseconds of CPU time each cost the server and its Wine server.
    """
    message = bytes((i * 31) % 251 for i in range(size))
    poller = select.epoll()
    socks: dict[int, socket.socket] = {}
    got: dict[int, bytearray] = {}
    for _ in range(connections):
        sock = socket.create_connection(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        socks[sock.fileno()] = sock
        got[sock.fileno()] = bytearray()
        poller.register(sock.fileno(), select.EPOLLIN)
    begin = time.monotonic()
    for sock in socks.values():
        sock.sendall(message)
    counting, counted, cpu = 0.0, 0, 0.0
    while (now := time.monotonic()) < begin + WARM_UP + seconds:
        if not counting and now >= begin + WARM_UP:
            counting, counted, cpu = now, 0, cpu_seconds(prefix)
        for fd, _ in poller.poll(0.1):
            data = socks[fd].recv(1 << 20)
            if not data:
                raise ConnectionError("the server closed a connection")
            buffer = got[fd]
            if buffer or len(data) != size:
                buffer += data
                if len(buffer) < size:
                    continue
                data, got[fd] = bytes(buffer), bytearray()
            if data != message:
                raise ValueError("the echo differs")
            counted += 1
            socks[fd].sendall(message)
    rate = counted / (time.monotonic() - counting)
    cost = (cpu_seconds(prefix) - cpu) / counted * 1e6
    for sock in socks.values():
        sock.close()
    return rate, cost


def cpu_seconds(prefix: str) -> float:
    """CPU time so far of every process of one Wine session: a busy machine delays it, and does not hide it."""
    wanted = f"WINEPREFIX={prefix}".encode()
    ticks = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if wanted in (process / "environ").read_bytes().split(b"\0"):
                fields = (process / "stat").read_text().rpartition(")")[2].split()
                ticks += int(fields[11]) + int(fields[12])
    return float(ticks / os.sysconf("SC_CLK_TCK"))


def _prefix_of(pid: int) -> str:
    """Where the Wine session below the runner `pid` has its prefix."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        for entry in Path(f"/proc/{child}/environ").read_bytes().split(b"\0"):
            if entry.startswith(b"WINEPREFIX="):
                return entry.partition(b"=")[2].decode()
    raise RuntimeError("the runner has no Wine session")


@contextlib.contextmanager
def serve(name: str, options: argparse.Namespace) -> Iterator[tuple[int, str]]:
    """Start a server under Wine, pinned to one CPU; its port, and the prefix of its Wine session."""
    port = 0
    for exe, command, free in options.exe:
        if exe == name:
            port = free
            starter = f"import subprocess; subprocess.call({shlex.split(command)!r})"
            arguments = ["-u", "-c", starter]
            break
    else:
        arguments = [str(HERE / "windows_server.py"), name]
        if name in options.script:
            arguments = [options.script[name]]
        elif name == "winloop":
            paths = f"import sys; sys.path[:0] = [{options.winloop!r}, {str(HERE)!r}]"
            arguments = ["-u", "-c", f"{paths}; import windows_server; windows_server.main('winloop')"]
    command_line = [sys.executable, str(RUN), "--python", options.python, "--exec", "--", *arguments]
    process = subprocess.Popen(command_line, stdout=subprocess.PIPE, text=True)
    try:
        os.sched_setaffinity(process.pid, {0})
        assert process.stdout is not None
        while port == 0:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{name} did not start")
            if line.startswith("listening"):
                port = int(line.split()[1])
        _wait_for(port)
        yield port, _prefix_of(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            select.select([], [], [], 0.05)
        else:
            return


def _exe(text: str) -> tuple[str, str, int]:
    name, _, command = text.partition("=")
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return name, command.format(port=port), port


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--size", type=int, default=1024, help="bytes of a message")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, after the warm-up")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--python", default="3.11")
    parser.add_argument("--winloop", default="", help="folder with winloop for Windows")
    parser.add_argument("--exe", type=_exe, action="append", default=[], metavar="NAME=COMMAND")
    parser.add_argument(
        "--script",
        type=lambda text: tuple(text.split("=", 1)),
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="another Python server, which prints `listening PORT`",
    )
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    options.script = dict(options.script)
    return options


if __name__ == "__main__":
    sys.exit(main())
