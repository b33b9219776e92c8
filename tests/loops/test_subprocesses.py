"""Child processes on our loop: their pipes, beside sockets or not, how they end and how they are ended."""

from __future__ import annotations

import asyncio
import sys
import threading
from asyncio.subprocess import PIPE, Process
from typing import Any

from helpers.peers import Pattern
from helpers.recording import Bench

from proactor_echo import loops

COPY = "import sys, shutil; sys.stderr.write('e' * 200_000); shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"
REVERSE = "import sys\nfor line in sys.stdin: print(line.strip()[::-1], flush=True)"
ASLEEP = "import time; print('up', flush=True); time.sleep(600)"
TALK = "import sys\nfor n in range(100): sys.stdout.buffer.write(bytes([n]) * 10_000)"


async def child(code: str, **pipes: Any) -> Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, **pipes)


def test_megabytes_go_through_a_child(ours: Bench) -> None:
    """Out and back, with another pipe that must be read meanwhile."""
    data = Pattern().take(1 << 20) * 5

    async def main() -> None:
        process = await child(COPY, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        out, err = await process.communicate(data)
        assert out == data
        assert err == b"e" * 200_000
        assert process.returncode == 0

    ours.run(main())
    assert not ours.errors


def test_children_are_talked_to_line_by_line_at_once(ours: Bench) -> None:
    async def talk(name: int) -> int | None:
        process = await child(REVERSE, stdin=PIPE, stdout=PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        for number in range(50):
            line = f"{name} says {number}"
            process.stdin.write(line.encode() + b"\n")
            await process.stdin.drain()
            assert (await process.stdout.readline()).strip() == line[::-1].encode()
        process.stdin.close()
        assert await process.stdout.read() == b""
        return await process.wait()

    async def main() -> None:
        assert await asyncio.gather(*map(talk, range(3))) == [0, 0, 0]

    ours.run(main())
    assert not ours.errors


def test_a_child_that_is_killed_ends_its_pipes_and_tells_how_it_ended(ours: Bench) -> None:
    async def main() -> None:
        process = await child(ASLEEP, stdin=PIPE, stdout=PIPE)
        assert process.stdout is not None
        assert (await process.stdout.readline()).strip() == b"up"
        process.kill()
        assert await process.stdout.read() == b""
        assert await process.wait() == (1 if sys.platform == "win32" else -9)

    ours.run(main())
    assert not ours.errors


def test_a_child_may_end_without_reading_what_it_is_sent(ours: Bench) -> None:
    async def main() -> None:
        process = await child("import sys; sys.exit(3)", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(bytes(5 << 20))
        assert out == b""
        assert process.returncode == 3

    ours.run(main())
    assert not ours.errors


def test_what_children_write_is_streamed_to_clients(ours: Bench) -> None:
    """Pipes and sockets in one loop: each client of a server gets what a child of its own writes, as it is written."""

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        process = await child(TALK, stdout=PIPE)
        assert process.stdout is not None
        while data := await process.stdout.read(8192):
            writer.write(data)
            await writer.drain()
        await process.wait()
        writer.close()

    async def client(address: Any) -> bytes:
        reader, writer = await asyncio.open_connection(*address)
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    async def main() -> None:
        async with await asyncio.start_server(handler, "127.0.0.1", 0) as server:
            results = await asyncio.gather(*(client(server.sockets[0].getsockname()) for _ in range(2)))
        assert results == [b"".join(bytes([n]) * 10_000 for n in range(100))] * 2

    ours.run(main())
    assert not ours.errors


def test_a_loop_in_a_thread_can_have_children() -> None:
    results: list[tuple[int | None, bytes]] = []

    async def main() -> None:
        process = await child("print('from a child')", stdout=PIPE)
        out, _ = await process.communicate()
        results.append((process.returncode, out.strip()))

    thread = threading.Thread(target=lambda: loops.run(asyncio.wait_for(main(), 30)))
    thread.start()
    thread.join(60)
    assert results == [(0, b"from a child")]
