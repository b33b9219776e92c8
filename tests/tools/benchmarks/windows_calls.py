"""Count the Windows calls an echoed message costs, on our loop and on the stock one.

    python tests/tools/benchmarks/windows_calls.py [--messages 500] [--connections 50] [--python 3.12]

Wine writes down every call of one library into another (``WINEDEBUG=+relay``); counted are those that enter the system
for the sake of a message: Winsock's, and those on the completion port. Tracing makes the server slow, so the next
message is always there when it is asked for, as under full load.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import multiprocessing
import os
import re
import select
import socket
import sys
import tempfile
from pathlib import Path

if sys.platform == "win32":
    raise SystemExit("run this on Linux: it starts Windows Python itself")

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parents[2]
SIZE = 1024
COUNTED = re.compile(
    rb"Call ((?:ws2_32\.\w+|KERNEL32\.(?:GetQueuedCompletionStatus(?:Ex)?|PostQueuedCompletionStatus"
    rb"|GetOverlappedResult|CancelIoEx|CreateEventW?|CloseHandle|WaitForSingleObject)))\("
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--python", default="3.11")
    options = parser.parse_args()
    for name in ("ours", "stock"):
        counts = count(name, options)
        print(f"{name}: {sum(counts.values()) / options.messages:.2f} calls a message")
        for call, number in counts.most_common(8):
            print(f"    {number / options.messages:6.2f}  {call}")
    return 0


def count(name: str, options: argparse.Namespace) -> collections.Counter[str]:
    """Echo the messages, one at a time on each connection; the calls between the first and the last of them."""
    with tempfile.TemporaryDirectory() as folder:
        trace, lines = Path(folder) / "trace", Path(folder) / "lines"
        server = multiprocessing.Process(target=serve_traced, args=(name, options.python, trace, lines))
        server.start()
        try:
            port = wait_for_port(lines, server)
            socks = [socket.create_connection(("127.0.0.1", port)) for _ in range(options.connections)]
            for sock in socks:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            exchange(socks, options.connections)  # every connection is accepted and receives
            begin = trace.stat().st_size
            exchange(socks, options.messages)
            end = trace.stat().st_size
            for sock in socks:
                sock.close()
        finally:
            server.terminate()
            server.join()
        with trace.open("rb") as file:
            file.seek(begin)
            return collections.Counter(call.decode() for call in COUNTED.findall(file.read(end - begin)))


def exchange(socks: list[socket.socket], messages: int) -> None:
    """Have this many messages echoed, at most one at a time on each connection."""
    poller = select.poll()
    by_number = {sock.fileno(): sock for sock in socks}
    waiting = dict.fromkeys(by_number, 0)
    for number in by_number:
        poller.register(number, select.POLLIN)
    sent = done = 0
    for sock in socks:
        if sent < messages:
            sock.sendall(bytes(SIZE))
            sent += 1
    while done < messages:
        for number, _ in poller.poll(10_000):
            waiting[number] += len(by_number[number].recv(65536))
            if waiting[number] == SIZE:
                waiting[number] = 0
                done += 1
                if sent < messages:
                    by_number[number].sendall(bytes(SIZE))
                    sent += 1


def serve_traced(name: str, version: str, trace: Path, lines: Path) -> None:
    """Run the server with its calls written to `trace` and its output to `lines`; in a process of its own."""
    sys.path.insert(0, str(HERE.parents[1]))
    from tools.windows import build, session, wines

    python = build.windows_python(version, CHECKOUT)
    wine = wines.find(None)
    wine.prefix()  # made without its calls being traced
    for path, descriptor in ((lines, 1), (trace, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND), descriptor)
    script = str(HERE / "windows_server.py")
    tracing = dataclasses.replace(wine, debug="+relay")
    session.run(tracing, python, [script, name], checkout=CHECKOUT, directory=CHECKOUT, timeout=600, merge_output=False)


def wait_for_port(lines: Path, server: multiprocessing.Process) -> int:
    while server.is_alive():
        if lines.exists() and (found := re.search(r"listening (\d+)\s", lines.read_text())):
            return int(found[1])
        server.join(0.1)
    raise RuntimeError("the server did not start")


if __name__ == "__main__":
    sys.exit(main())
