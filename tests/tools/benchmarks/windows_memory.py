"""Measure what an idle TCP connection costs in memory on Windows Python under Wine: our loop and the stock one.

    python tests/tools/benchmarks/windows_memory.py [--connections 2000]

The figure is the growth of the server process's resident memory, divided by the connections that cause it; each of them
has echoed one small message first, so that what is made when it is first needed is made.
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import socket
import sys
from pathlib import Path

if sys.platform != "linux":
    raise SystemExit("run this on Linux: it starts Windows Python itself")

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there

from tools.benchmarks.windows_echo import parse, serve


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--connections", type=int, default=2000)
    parser.add_argument("--python", default="3.11")
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(options.connections + 200, hard), hard))
    for name in ("ours", "stock"):
        with serve(name, parse(["--python", options.python])) as (port, prefix):
            connect(port, 200)  # what the first ones cost once
            before = resident(prefix)
            with connect(port, options.connections):
                grown = resident(prefix) - before
            print(
                f"{name:6} {grown / options.connections / 1024:6.1f} KiB a connection ({options.connections} of them)"
            )
    return 0


def connect(port: int, count: int) -> contextlib.ExitStack:
    """Open connections that stay idle after one echo; closed with the stack that is returned."""
    stack = contextlib.ExitStack()
    socks = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(count)]
    for sock in socks:
        sock.sendall(b"hello")
    for sock in socks:
        assert sock.recv(100) == b"hello"
    return stack


def resident(prefix: str) -> int:
    """Bytes of resident memory of the Windows Python below a Wine prefix."""
    wanted = f"WINEPREFIX={prefix}".encode()
    pages = 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if (
                wanted in (process / "environ").read_bytes().split(b"\0")
                and b"python.exe" in (process / "cmdline").read_bytes()
            ):
                pages = max(pages, int((process / "statm").read_text().split()[1]))
    return pages * resource.getpagesize()


if __name__ == "__main__":
    sys.exit(main())
