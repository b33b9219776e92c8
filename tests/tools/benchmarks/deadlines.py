"""What deadlines cost while nothing happens: the CPU of a server with many idle connections.

    python tests/tools/benchmarks/deadlines.py                         10,000 connections, 10 seconds
    python tests/tools/benchmarks/deadlines.py --connections 1000 --seconds 5

A server in a process of its own has every deadline of pe.Deadlines set, long enough that none passes, and then none;
half of the connections have begun a frame. The share of one CPU that the server takes is printed for both.
"""

import argparse
import asyncio
import contextlib
import logging
import socket
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))  # the checkout, where the package is not installed

import proactor_echo as pe

ALL = pe.Deadlines(first_byte=600, frame=600, idle=600, write=600, lifetime=3600, min_rate=(0.001, 600))


async def serve(deadlines: pe.Deadlines | None) -> None:
    """Print the port; then, for each line on standard input, the CPU time of this process so far."""
    loop = asyncio.get_running_loop()
    async with await pe.serve_tcp(
        protocol_factory=pe.EchoProtocol, codec=pe.LengthCodec(), backlog=4096, deadlines=deadlines
    ) as server:
        print(server.port, flush=True)
        while await loop.run_in_executor(None, sys.stdin.readline):
            print(time.process_time(), flush=True)


def measure(kind: str, connections: int, seconds: float) -> float:
    """Return the share of a CPU that a server takes while nothing happens."""
    command = [sys.executable, __file__, "--serve", kind]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        port = int(server.stdout.readline())

        def cpu() -> float:
            print("cpu", file=server.stdin, flush=True)
            return float(server.stdout.readline())  # type: ignore[union-attr]

        with contextlib.ExitStack() as stack:
            for number in range(connections):
                sock = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
                sock.sendall(b"\0\0" if number % 2 else b"\0\0\0\1x")
            time.sleep(3)  # so that all have been accepted and looked at once
            before = cpu()
            time.sleep(seconds)
            spent = cpu() - before
        server.stdin.close()
    return spent / seconds


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--serve", choices=["all", "none"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if sys.platform != "win32":
        import resource

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    if options.serve:
        logging.disable(logging.WARNING)  # the end of every connection that had begun a frame
        pe.run(serve(ALL if options.serve == "all" else None))
        return
    for kind in ("none", "all"):
        share = measure(kind, options.connections, options.seconds)
        print(f"deadlines {kind:>4}: {options.connections} idle connections take {share:.2%} of a CPU", flush=True)


if __name__ == "__main__":
    main()
