"""Measure echo servers side by side on Linux: ours, asyncio's protocols and streams, other event loops if installed.

    python tests/tools/benchmarks/echo.py tcp                          50 connections, 1 KiB, one message in flight
    python tests/tools/benchmarks/echo.py tcp --size 65536 --rounds 7
    python tests/tools/benchmarks/echo.py frames --depth 16 --size 128  frames with a 4-byte length
    python tests/tools/benchmarks/echo.py udp --connections 20 --depth 8
    python tests/tools/benchmarks/echo.py connect                       connect, one message, close

`ours` is the command line, `loop` our event loop under the very protocol that asyncio and others run, `coroutine` a
handler (`async for frame in conn: await conn.send(frame)`). `bare` is the least that echoes in Python: `epoll`, `recv`
and `send` in a loop, without a protocol and without buffers; no event loop in Python can cost less.

Every server runs on CPU 0, one at a time within a round, this script's load on CPU 1. Ratios are medians of the ratios
within each round. `cpu` is the server's own CPU time for a message; it is worth more than the rate, which the load,
being Python too, bounds. Peers are what a careful user would write (see SERVER below).
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import select
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

if sys.platform != "linux":
    raise SystemExit("run this on Linux: it reads /proc and uses epoll")

SERVER = """
import asyncio, struct, sys
kind, engine, port = sys.argv[1], sys.argv[2], int(sys.argv[3])

class Echo(asyncio.Protocol):
    def connection_made(self, transport): self.transport = transport
    def data_received(self, data): self.transport.write(data)

class Frames(asyncio.Protocol):
    def connection_made(self, transport): self.transport, self.buffer = transport, bytearray()
    def data_received(self, data):
        buffer, position, out = self.buffer, 0, []
        buffer += data
        while len(buffer) - position >= 4:
            (length,) = struct.unpack_from(">I", buffer, position)
            if len(buffer) - position - 4 < length: break
            frame = bytes(buffer[position + 4 : position + 4 + length])
            out.append(struct.pack(">I", len(frame)) + frame)
            position += 4 + length
        del buffer[:position]
        if out: self.transport.write(b"".join(out))

class Datagrams(asyncio.DatagramProtocol):
    def connection_made(self, transport): self.transport = transport
    def datagram_received(self, data, addr): self.transport.sendto(data, addr)

async def streams(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()

async def framed(reader, writer):
    try:
        while True:
            header = await reader.readexactly(4)
            writer.write(header + await reader.readexactly(struct.unpack(">I", header)[0]))
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()

async def main():
    loop = asyncio.get_running_loop()
    if engine == "coroutine":
        import proactor_echo as pe
        await pe.serve_tcp(pe.echo, port=port, codec=pe.LengthCodec() if kind == "frames" else None)
    elif kind == "udp":
        await loop.create_datagram_endpoint(Datagrams, ("127.0.0.1", port))
    elif engine == "streams":
        await asyncio.start_server(framed if kind == "frames" else streams, "127.0.0.1", port)
    else:
        await loop.create_server(Frames if kind == "frames" else Echo, "127.0.0.1", port)
    await asyncio.sleep(3600)

if engine in sys.argv[4:]:
    factory = __import__(engine)
elif engine in ("loop", "coroutine"):
    import proactor_echo as factory
else:
    factory = asyncio
with asyncio.Runner(loop_factory=factory.new_event_loop) as runner:
    runner.run(main())
"""


BARE = """
import select, socket, sys
listener = socket.create_server(("127.0.0.1", int(sys.argv[3])), backlog=1024)
poll = select.epoll()
poll.register(listener, select.EPOLLIN)
sockets = {}
while True:
    for fd, _ in poll.poll():
        sock = sockets.get(fd)
        if sock is None:
            sock, _ = listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sockets[sock.fileno()] = sock
            poll.register(sock, select.EPOLLIN)
            continue
        try:
            if data := sock.recv(8192):
                sock.send(data)
                continue
        except OSError:
            pass
        sockets.pop(fd).close()
"""

OTHERS = ("uvloop", "rloop", "rsloop", "blazio")
"""Modules with an event loop of their own, measured if they are installed."""

QUIET: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}  # streams complain of resets


def main() -> None:
    options = parse()
    os.sched_setaffinity(0, {1})
    names = ["ours", "loop", "coroutine", "asyncio", "streams"]
    if options.kind == "udp":
        names = ["ours", "loop", "asyncio"]
    if options.kind in ("tcp", "connect"):
        names.insert(2, "bare")
    names += [name for name in OTHERS if importlib.util.find_spec(name)]
    runs: dict[str, list[tuple[float, float]]] = {name: [] for name in names}
    for _ in range(options.rounds):
        for name in names:
            runs[name].append(one_run(name, options))
    print(f"{options.kind}: {options.connections} connections, depth {options.depth}, {options.size} bytes,", end=" ")
    print(f"{options.rounds} rounds of {options.seconds:g} s")
    print(f"{'':<10} {'per s':>9} {'cpu us':>8}   ours against it: rate, cpu")
    for name in names:
        rate, cpu = (statistics.median(column) for column in zip(*runs[name], strict=True))
        ratios = [
            (ours[0] / other[0], ours[1] / other[1]) for ours, other in zip(runs["ours"], runs[name], strict=True)
        ]
        faster, cheaper = (statistics.median(column) for column in zip(*ratios, strict=True))
        print(f"{name:<10} {rate:>9.0f} {cpu:>8.2f}   {faster:.2f} {cheaper:.2f}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["tcp", "frames", "udp", "connect"])
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--depth", type=int, default=1)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("--rounds", type=int, default=5)
    return parser.parse_args()


def one_run(name: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return messages a second, and microseconds of the server's CPU for each."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM if options.kind == "udp" else socket.SOCK_STREAM) as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    if name == "ours":
        command = [sys.executable, "-m", "proactor_echo", "udp" if options.kind == "udp" else "tcp", "-q"]
        command += ["--port", str(port), *(["--framing", "length"] if options.kind == "frames" else [])]
    else:
        command = [sys.executable, "-c", BARE if name == "bare" else SERVER, options.kind, name, str(port), *OTHERS]
    with subprocess.Popen(["taskset", "-c", "0", *command], **QUIET) as server:
        try:
            wait_for(port, options.kind == "udp")
            load = {"udp": datagrams, "connect": connections}.get(options.kind, streams)
            load(port, options, 0.3)  # warm up
            before = cpu_seconds(server.pid)
            started = time.perf_counter()
            count = load(port, options, options.seconds)
            took = time.perf_counter() - started
            return count / took, (cpu_seconds(server.pid) - before) / count * 1e6
        finally:
            server.kill()


def wait_for(port: int, udp: bool) -> None:
    """Return once the server answers."""
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError), socket.socket(type=socket.SOCK_DGRAM if udp else socket.SOCK_STREAM) as s:
            s.settimeout(0.2)
            s.connect(("127.0.0.1", port))
            if udp:
                s.send(b"?")
                s.recv(9)
            return
    raise SystemExit("the server does not answer")


def cpu_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stat:
        fields = stat.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def connected(port: int, kind: int, count: int) -> Iterator[dict[int, socket.socket]]:
    with contextlib.ExitStack() as stack:
        sockets = {}
        for _ in range(count):
            sock = stack.enter_context(socket.socket(type=kind))
            sock.connect(("127.0.0.1", port))
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setblocking(False)
            sockets[sock.fileno()] = sock
        yield sockets


def streams(port: int, options: argparse.Namespace, seconds: float) -> int:
    """Keep `depth` messages in flight on every connection; each byte that comes back is compared."""
    header = struct.pack(">I", options.size) if options.kind == "frames" else b""
    batch = (header + bytes(i * 31 % 251 for i in range(options.size))) * options.depth
    count = 0
    with connected(port, socket.SOCK_STREAM, options.connections) as sockets:
        poll = select.epoll()
        sent, got = dict.fromkeys(sockets, 0), dict.fromkeys(sockets, 0)
        for fd, sock in sockets.items():
            sent[fd] = sock.send(batch)
            poll.register(fd, select.EPOLLIN)
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for fd, _ in poll.poll(0.1):
                sock = sockets[fd]
                data = sock.recv(262144)
                start = got[fd]
                got[fd] = start + len(data)
                if not data or data != batch[start : got[fd]]:
                    raise SystemExit("what came back is not what was sent")
                if got[fd] == len(batch):
                    count += options.depth
                    got[fd] = sent[fd] = 0
                if sent[fd] < len(batch):
                    with contextlib.suppress(BlockingIOError):
                        sent[fd] += sock.send(memoryview(batch)[sent[fd] :])
        poll.close()
    return count


def datagrams(port: int, options: argparse.Namespace, seconds: float) -> int:
    """Keep `depth` datagrams in flight on every socket; one that hears nothing for 0.2 s starts again."""
    data = bytes(i * 31 % 251 for i in range(options.size))
    count = 0
    with connected(port, socket.SOCK_DGRAM, options.connections) as sockets:
        poll = select.epoll()
        heard = dict.fromkeys(sockets, 0.0)
        for fd in sockets:
            poll.register(fd, select.EPOLLIN)
        end = time.perf_counter() + seconds
        while (now := time.perf_counter()) < end:
            for fd, when in heard.items():
                if now - when > 0.2:
                    heard[fd] = now
                    with contextlib.suppress(OSError):
                        for _ in range(options.depth):
                            sockets[fd].send(data)
            for fd, _ in poll.poll(0.02):
                heard[fd] = now
                with contextlib.suppress(OSError):
                    while True:
                        if sockets[fd].recv(65536) != data:
                            raise SystemExit("what came back is not what was sent")
                        count += 1
                        sockets[fd].send(data)
        poll.close()
    return count


def connections(port: int, options: argparse.Namespace, seconds: float) -> int:
    """Open a connection, have one message echoed, close it; 16 at a time."""
    data = b"x" * min(options.size, 64)
    count = 0
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        opened = []
        for _ in range(16):
            sock = socket.create_connection(("127.0.0.1", port))
            sock.send(data)
            opened.append(sock)
        for sock in opened:
            if sock.recv(100) != data:
                raise SystemExit("what came back is not what was sent")
            sock.close()
        count += 16
    return count


if __name__ == "__main__":
    main()
