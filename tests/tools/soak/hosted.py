"""A server in a process of its own that tells what it holds when it is asked on standard input.

    python tests/tools/soak/hosted.py cli tcp -p 0          # the command line, as it is
    python tests/tools/soak/hosted.py handler               # serve_tcp with a coroutine handler, frames with a length
    python tests/tools/soak/hosted.py loses-a-byte          # one of the wrong servers of FAULTY, to try the tool with

It reads lines: `look` is answered by a line `# {...}` on standard output, `stop` raises SIGTERM in the process, which
is the only way there is on Windows. The thread that reads is all that is added to the server.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

import proactor_echo as pe
from proactor_echo.cli.output import logging_to_stderr


class LosesAByte(pe.EchoProtocol):
    def frames_received(self, frames: list[bytes]) -> None:
        super().frames_received([frame[:-1] if tenth() else frame for frame in frames])


class LeaksADescriptor(pe.EchoProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if tenth():
            os.open(os.devnull, os.O_RDONLY)


class LeaksATask(pe.EchoProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if tenth():
            KEPT.append(asyncio.get_running_loop().create_task(asyncio.sleep(3600)))


class LeaksMemory(pe.EchoProtocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        KEPT.append([[] for _ in range(20)])


class HoldsTheLoop(pe.EchoProtocol):
    """Works for 20 ms at each end of a connection: whoever connects and leaves delays everybody."""

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        until = time.perf_counter() + 0.02
        while time.perf_counter() < until:
            pass


KEPT: list[object] = []

_numbers = itertools.count(1)


def tenth() -> bool:
    """Whether this call is a tenth one."""
    return next(_numbers) % 10 == 0


#: Wrong servers: the tool must find out.
FAULTY: dict[str, type[pe.EchoProtocol]] = {
    "loses-a-byte": LosesAByte,
    "leaks-a-descriptor": LeaksADescriptor,
    "leaks-a-task": LeaksATask,
    "leaks-memory": LeaksMemory,
    "holds-the-loop": HoldsTheLoop,
}


def main() -> None:
    """Start what the arguments say."""
    kind, *arguments = sys.argv[1:]
    threading.Thread(target=obey, args=(Loops(),), daemon=True).start()
    if kind == "cli":
        sys.argv = ["proactor-echo", *arguments]
        from proactor_echo.cli import main as command_line

        command_line()
    else:
        with logging_to_stderr(logging.INFO, summarize=True):
            pe.run(embedded(kind))


async def embedded(kind: str) -> None:
    """Serve frames with a length until SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    signal.signal(signal.SIGTERM, lambda *_: loop.call_soon_threadsafe(stopped.set))
    if kind == "handler":
        gc.set_threshold(20_000, 50, 100)  # as docs/performance.md says for many tasks
        server = await pe.serve_tcp(pe.echo, codec=pe.LengthCodec(), max_connections=10_000)
    else:
        server = await pe.serve_tcp(protocol_factory=FAULTY[kind], codec=pe.LengthCodec(), max_connections=10_000)
    print(f"listening tcp {pe.format_address(server.addresses[0])}", flush=True)
    while not stopped.is_set():
        with contextlib.suppress(TimeoutError):  # on Windows a signal is seen by the loop when it wakes
            async with asyncio.timeout(0.5):
                await stopped.wait()
    await server.close(5)
    print(json.dumps({"disconnects": {str(k): v for k, v in server.stats.disconnects.items()}}), file=sys.stderr)


class Loops:
    """Where the loop of the process is, looked for once it runs."""

    def __init__(self) -> None:
        self.found: asyncio.AbstractEventLoop | None = None

    def tasks(self) -> int:
        if self.found is None:
            loops = [o for o in gc.get_objects() if isinstance(o, asyncio.AbstractEventLoop) and o.is_running()]
            self.found = loops[0] if loops else None
        return len(asyncio.all_tasks(self.found)) if self.found else 0


def obey(loops: Loops) -> None:
    """Do what the lines on standard input say."""
    for line in iter(sys.stdin.readline, ""):
        if line == "look\n":
            print(f"# {json.dumps(look(loops))}", flush=True)
        elif line == "stop\n":
            signal.raise_signal(signal.SIGTERM)


def look(loops: Loops) -> dict[str, int]:
    """Count what the process has. Objects are counted without garbage, which takes a moment."""
    tasks = loops.tasks()
    gc.collect()
    return {"tasks": tasks, "objects": len(gc.get_objects()), "descriptors": descriptors()}


def descriptors() -> int:
    """Count this process's open descriptors, or handles on Windows."""
    if sys.platform == "win32":
        from helpers.windows_handles import handle_count

        return handle_count()
    return len(os.listdir("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")) - 1  # that of the folder itself


if __name__ == "__main__":
    main()
