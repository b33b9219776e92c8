"""Programs as people write them, on our loop: streams, TLS, threads, and a server in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
import socket
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers.cli_process import CliProcess
from helpers.peers import Pattern
from helpers.recording import Bench
from helpers.tls import client_context, server_context

from proactor_echo.testing import certificates

HTTP_SERVER = str(Path(__file__).parents[1] / "helpers" / "http_server.py")


@contextlib.asynccontextmanager
async def serving(handler: Any, **options: Any) -> AsyncIterator[Any]:
    """A stream server; when it is closed, every handler has come to its end."""
    handlers: set[asyncio.Task[Any]] = set()

    async def kept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        handlers.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    server = await asyncio.start_server(kept, "127.0.0.1", 0, **options)
    async with server:
        yield server.sockets[0].getsockname()
        await asyncio.gather(*handlers)


@contextlib.asynccontextmanager
async def connected(address: Any, **options: Any) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(*address, **options)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(30_000):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_many_clients_stream_both_ways_at_once(ours: Bench, tls: bool) -> None:
    """40 of them, 600,000 bytes each way and each its own; with TLS, both ends show a certificate."""

    async def checked_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if tls:
            assert (("commonName", "proactor_echo TEST ONLY client"),) in writer.get_extra_info("peercert")["subject"]
        await echo(reader, writer)

    async def pour(writer: asyncio.StreamWriter, pattern: Pattern) -> None:
        for _ in range(12):
            writer.write(pattern.take(50_000))
            await writer.drain()

    async def client(address: Any, number: int, options: dict[str, Any]) -> None:
        async with connected(address, **options) as (reader, writer):
            pouring = asyncio.ensure_future(pour(writer, Pattern(number)))
            expected = Pattern(number)
            for _ in range(30):
                assert await reader.readexactly(20_000) == expected.take(20_000)
            await pouring

    async def main() -> None:
        served: dict[str, Any] = {}
        used: dict[str, Any] = {}
        if tls:
            served["ssl"] = certificates.server_context(verify="required")
            used["ssl"] = certificates.client_context(certificates.CLIENT)
            used["server_hostname"] = "localhost"
        async with serving(checked_echo, **served) as address:
            await asyncio.gather(*(client(address, number * 1000, used) for number in range(40)))

    ours.run(main())
    assert not ours.errors


def test_a_connection_turns_to_tls_with_megabytes_still_on_their_way(ours: Bench) -> None:
    """STARTTLS after a plain flood: the answer that starts TLS is behind 2 MB that the client has yet to read."""
    size = 2_000_000

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"flood\n"
        writer.write(Pattern().take(1_000_000) * 2)
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.start_tls(server_context())
        await echo(reader, writer)

    async def client(address: Any) -> None:
        async with connected(address) as (reader, writer):
            writer.write(b"flood\nSTARTTLS\n")
            assert await reader.readexactly(size) == Pattern().take(1_000_000) * 2
            assert await reader.readline() == b"go\n"
            await writer.start_tls(client_context(), server_hostname="localhost")
            assert writer.get_extra_info("cipher")
            data = Pattern(7).take(500_000)
            pouring = asyncio.ensure_future(_send(writer, data))
            assert await reader.readexactly(len(data)) == data
            await pouring

    async def main() -> None:
        async with serving(handler) as address:
            await asyncio.gather(*(client(address) for _ in range(5)))

    ours.run(main())
    assert not ours.errors


async def _send(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    await writer.drain()


def test_a_chat_server_disconnects_a_slow_reader(ours: Bench) -> None:
    """Everybody hears all that is said; a member that stops reading holds nobody up, costs little, and must leave."""
    said, members, most_queued = 200, 20, 200_000
    room: list[asyncio.StreamWriter] = []
    complete = asyncio.Event()
    largest = 0

    async def member(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal largest
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
        room.append(writer)
        if len(room) == members + 1:
            complete.set()
        with contextlib.suppress(ConnectionError):
            async for line in reader:
                for other in room[:]:
                    other.write(line)
                    waiting = other.transport.get_write_buffer_size()
                    largest = max(largest, waiting)
                    if waiting > most_queued:
                        room.remove(other)
                        other.transport.abort()

    async def main() -> None:
        async with serving(member) as address, contextlib.AsyncExitStack() as stack:
            deaf = stack.enter_context(socket.socket())
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
            deaf.connect(address)
            clients = [await stack.enter_async_context(connected(address)) for _ in range(members)]
            await complete.wait()
            for number in range(said):
                line = b"%d %s\n" % (number, b"x" * 8000)
                clients[number % members][1].write(line)
                assert await asyncio.gather(*(reader.readline() for reader, _ in clients)) == [line] * members
            assert len(room) == members, "the deaf one is still there"
            assert most_queued < largest < most_queued + 10_000

    ours.run(main())
    assert not ours.errors


def test_the_loop_serves_while_threads_work_and_threads_use_the_loop(ours: Bench) -> None:
    """Threads that wait for traffic, count, and talk over a connection of the loop; none stands in another's way."""
    enough = threading.Event()

    def work(loop: asyncio.AbstractEventLoop, ask: Any, number: int) -> str:
        assert enough.wait(20), "no traffic while threads run"
        answer = asyncio.run_coroutine_threadsafe(ask(b"from thread %d\n" % number), loop).result(20)
        assert answer == b"from thread %d\n" % number
        return hashlib.sha256(Pattern(number).take(1 << 20)).hexdigest()

    async def main() -> None:
        async with serving(echo) as address, connected(address) as (reader, writer):
            turn = asyncio.Lock()

            async def ask(data: bytes) -> bytes:
                async with turn:
                    writer.write(data)
                    return await reader.readline()

            loop = asyncio.get_running_loop()
            jobs = [asyncio.to_thread(work, loop, ask, number) for number in range(4)]
            jobs += [loop.run_in_executor(None, work, loop, ask, number) for number in range(4)]  # type: ignore[misc]
            waiting = asyncio.gather(*jobs)
            for _ in range(100):
                assert await ask(b"tick\n") == b"tick\n"
            enough.set()
            digests = await waiting
            assert digests == [hashlib.sha256(Pattern(n).take(1 << 20)).hexdigest() for n in (0, 1, 2, 3) * 2]

    ours.run(main())
    assert not ours.errors


def test_no_call_from_a_thread_waits_for_another_event(ours: Bench) -> None:
    """Four threads, 500 calls each, one after the other into a loop that sleeps: a wake-up that is lost would hang."""

    def call(loop: asyncio.AbstractEventLoop) -> int:
        called = threading.Event()
        for number in range(500):
            loop.call_soon_threadsafe(called.set)
            if not called.wait(5):
                return number
            called.clear()
        return 500

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        return await asyncio.gather(*(asyncio.to_thread(call, loop) for _ in range(4)))

    assert ours.run(main()) == [500] * 4


def request(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join((b"POST / HTTP/1.1", b"Content-Length: %d" % len(body), *fields, b"", body))


def answered(client: socket.socket, size: int) -> tuple[bytes, bytes]:
    """Read one answer: its head, and its body of `size` bytes."""
    data = bytearray()
    while (end := data.find(b"\r\n\r\n")) < 0 or len(data) < end + 4 + size:
        chunk = client.recv(65536)
        assert chunk, bytes(data)
        data += chunk
    return bytes(data[:end]), bytes(data[end + 4 :])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_finishes_what_it_has_begun_when_it_is_told_to_stop(number: signal.Signals) -> None:
    body = Pattern().take(300_000)
    with CliProcess(host=HTTP_SERVER) as program, contextlib.ExitStack() as stack:
        address = program.listening()
        busy, idle = (stack.enter_context(socket.create_connection(address, 60)) for _ in range(2))
        idle.sendall(request(b"one") * 3)
        assert answered(idle, 3)[1].endswith(b"one")
        busy.sendall(request(b"two"))
        assert answered(busy, 3)[1] == b"two"
        busy.sendall(request(body, b"Expect: 100-continue")[:200_000])
        assert answered(busy, 0)[0].endswith(b"100 Continue")
        program.signal(number)
        assert program.line() == "stopping"
        while idle.recv(65536):
            pass  # what was left of its answers, then the end of file
        busy.sendall(request(body, b"Expect: 100-continue")[200_000:])
        head, answer = answered(busy, len(body))
        assert b"Connection: close" in head
        assert answer == body
        assert busy.recv(1) == b""
        ended = program.end()
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "answered 5"
