"""Measure the memory of an idle TCP connection on Linux: 5,000 of them to a server that echoes, on each event loop.

    python tests/tools/benchmarks/memory.py [--connections 5000] [--rounds 3]

Each server is a process of its own with the shortest protocol. Every connection has echoed one message when it is
measured. Counted is the growth of the process's resident memory; what the kernel keeps for a socket is not in it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import socket
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

if sys.platform != "linux":
    raise SystemExit("run this on Linux: it reads /proc")

SERVER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])

class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(data)

async def main():
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0, backlog=10_000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.sleep(3600)

factory = __import__({"ours": "proactor_echo", "asyncio": "asyncio", "uvloop": "uvloop"}[sys.argv[1]]).new_event_loop
with asyncio.Runner(loop_factory=factory) as runner:
    runner.run(main())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    names = ["ours", "asyncio", "uvloop"]
    if subprocess.run([sys.executable, "-c", "import uvloop"], capture_output=True, check=False).returncode:
        names.remove("uvloop")
    for name in names:
        taken = [measure(name, options.connections) for _ in range(options.rounds)]
        print(f"{name:<8} {statistics.median(taken):7.0f} bytes for a connection")


def measure(name: str, count: int) -> float:
    """Return the bytes by which the server grew for each of `count` connections."""
    command = [sys.executable, "-c", SERVER, name, str(ROOT)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server, contextlib.ExitStack() as stack:
        stack.callback(server.kill)
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.readline()))
        for _ in range(100):  # what the first connections bring with them is not counted
            exchange(stack.enter_context(socket.create_connection(address)))
        before = resident(server.pid)
        for _ in range(count):
            exchange(stack.enter_context(socket.create_connection(address)))
        return (resident(server.pid) - before) / count


def exchange(sock: socket.socket) -> None:
    sock.sendall(b"x" * 64)
    if sock.recv(64) != b"x" * 64:
        raise SystemExit("what came back is not what was sent")


def resident(pid: int) -> int:
    """Return the resident memory of a process in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main()
