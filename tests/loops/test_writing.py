"""What a stream transport of ours promises about writing: when it leaves, order, flow control."""

from __future__ import annotations

import asyncio
import random
import socket
from pathlib import Path
from typing import Any

import pytest
from helpers.recording import Bench, CountingSocket, Recorder, connection, read_all, read_exactly

from proactor_echo.loops import private
from proactor_echo.loops.stream_writing import MAX_JOINED


def one_write_at_a_time(bench: Bench) -> None:
    """Skip on the stock proactor loop, which sends a second write when the first has completed."""
    if private.WINDOWS and bench.factory is private.StockLoop:
        pytest.skip("the stock proactor transport has one send at a time")


def has_arrived(peer: socket.socket, size: int) -> bytes:
    """What the peer gets although the loop does not run."""
    peer.settimeout(10)
    try:
        return peer.recv(size)
    finally:
        peer.settimeout(0)


def test_a_write_has_left_when_the_call_returns(each: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, peer):
            protocol.transport.write(b"now")
            assert has_arrived(peer, 10) == b"now"
            await asyncio.sleep(0)
            protocol.transport.write(b"again")
            assert has_arrived(peer, 10) == b"again"

    each.run(main())


def test_a_write_in_a_callback_has_left_when_the_call_returns(each: Bench) -> None:
    class Answers(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"answer")
            assert has_arrived(peer, 10) == b"answer"
            seen.append(data)

    peer: Any = None
    seen: list[bytes] = []

    async def main() -> None:
        nonlocal peer
        async with connection(Answers()) as (protocol, peer):
            for word in (b"one", b"two"):
                await asyncio.get_running_loop().sock_sendall(peer, word)
                while len(seen) < 1 + (word == b"two") and not protocol.lost.done():
                    await asyncio.sleep(0)

    each.run(main())
    assert seen == [b"one", b"two"]


def test_every_write_of_an_iteration_has_left_when_its_call_returns(each: Bench) -> None:
    one_write_at_a_time(each)

    async def main() -> None:
        async with connection() as (protocol, peer):
            for step in (b"1", b"2", b"3", b"4", b"5"):
                protocol.transport.write(step)
                assert has_arrived(peer, 10) == step

    each.run(main())


def test_what_a_streams_handler_drains_has_left_although_drain_does_not_yield(each: Bench) -> None:
    one_write_at_a_time(each)

    async def main() -> None:
        async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            for step in (b"1", b"2", b"3"):
                writer.write(step)
                await writer.drain()
                done.append(has_arrived(peer, 10))
            writer.close()
            await writer.wait_closed()
            ended.set()

        done: list[bytes] = []
        ended = asyncio.Event()
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        with socket.create_connection(server.sockets[0].getsockname()) as peer:
            await ended.wait()
        server.close()
        await server.wait_closed()
        assert done == [b"1", b"2", b"3"]

    each.run(main())


def test_a_write_after_close_is_dropped_when_nothing_is_left_to_send(each: Bench) -> None:
    async def main() -> bytes:
        async with connection() as (protocol, peer):
            for word in (b"one", b" two", b" three", b" four"):
                protocol.transport.write(word)
            protocol.transport.close()
            protocol.transport.write(b" too late")
            return await read_all(peer)

    assert each.run(main()) == b"one two three four"


def test_an_end_of_file_leaves_behind_what_was_written_when_it_is_written(each: Bench) -> None:
    one_write_at_a_time(each)

    async def main() -> bytes:
        async with connection() as (protocol, peer):
            for word in (b"one", b" two", b" three", b" four"):
                protocol.transport.write(word)
            protocol.transport.write_eof()
            got = bytearray()
            while chunk := has_arrived(peer, 100):
                got += chunk
            return bytes(got)

    assert each.run(main()) == b"one two three four"


def test_any_mix_of_writes_arrives_in_order(ours: Bench) -> None:
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    pieces = [chance.randbytes(chance.choice([0, 1, 100, 5000, 70_000, 300_000])) for _ in range(200)]

    async def main() -> None:
        async with connection() as (protocol, peer):
            reading = asyncio.create_task(read_all(peer))
            for piece in pieces:
                match chance.randrange(4):
                    case 0:
                        protocol.transport.write(bytearray(piece))
                    case 1:
                        protocol.transport.write(memoryview(piece))
                    case 2:
                        protocol.transport.writelines([piece[:10], piece[10:]])
                    case _:
                        protocol.transport.write(piece)
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            protocol.transport.write_eof()
            assert await reading == b"".join(pieces), f"seed {seed}"

    ours.run(main())


def test_the_caller_may_change_its_buffer_after_write(ours: Bench) -> None:
    async def main() -> bytes:
        async with connection() as (protocol, peer):
            buffer = bytearray(b"before")
            protocol.transport.write(buffer)
            buffer[:] = b"after!"
            protocol.transport.write_eof()
            return await read_all(peer)

    assert ours.run(main()) == b"before"


def test_a_slow_peer_pauses_and_resumes_the_protocol(ours: Bench) -> None:
    async def main() -> list[str]:
        async with connection() as (protocol, peer):
            size = 0
            while "pause" not in protocol.calls:
                protocol.transport.write(b"x" * 50_000)
                size += 50_000
                await asyncio.sleep(0)
            assert protocol.transport.get_write_buffer_size() > 64 * 1024
            reading = asyncio.create_task(read_all(peer))
            await protocol.resumed.wait()
            assert protocol.transport.get_write_buffer_size() <= 16 * 1024
            protocol.transport.write_eof()
            assert await reading == b"x" * size
            calls: list[str] = protocol.calls[:]
            return calls

    assert ours.run(main()) == ["made", "pause", "resume"]


def test_pause_writing_means_the_system_took_no_more(ours: Bench) -> None:
    """One large write that fits the socket's buffer pauses nobody."""

    async def main() -> list[str]:
        async with connection() as (protocol, _):
            protocol.transport.set_write_buffer_limits(high=1000)
            protocol.transport.write(b"x" * 5000)
            assert protocol.transport.get_write_buffer_size() == 0
            calls: list[str] = protocol.calls[:]
            return calls

    assert ours.run(main()) == ["made"]


def test_write_buffer_limits_are_asyncios(ours: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, _):
            transport = protocol.transport
            assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
            transport.set_write_buffer_limits(low=100)
            assert transport.get_write_buffer_limits() == (100, 400)
            with pytest.raises(ValueError, match="must be >="):
                transport.set_write_buffer_limits(high=1, low=2)

    ours.run(main())


def test_writing_is_refused_after_write_eof_and_for_what_is_not_bytes(ours: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, _):
            with pytest.raises(TypeError, match="bytes-like"):
                protocol.transport.write("text")
            protocol.transport.write_eof()
            protocol.transport.write_eof()
            with pytest.raises(RuntimeError, match="write_eof"):
                protocol.transport.write(b"x")

    ours.run(main())


def test_what_was_written_before_abort_leaves_if_the_system_takes_it(each: Bench) -> None:
    async def main() -> bytes:
        async with connection() as (protocol, peer):
            protocol.transport.write(b"last words")
            protocol.transport.abort()
            return await read_all(peer)

    assert each.run(main()) == b"last words"


def test_a_write_outside_the_loop_is_not_lost(ours: Bench) -> None:
    """Between two runs of the loop there is no iteration whose end would send it."""
    with asyncio.Runner(loop_factory=ours.factory) as runner:
        held = connection()
        protocol, peer = runner.run(held.__aenter__())
        protocol.transport.write(b"now")
        assert protocol.transport.get_write_buffer_size() == 0
        assert peer.recv(10) == b"now"
        runner.run(held.__aexit__(None, None, None))


def test_a_protocol_that_writes_whenever_it_may_starves_nobody(ours: Bench) -> None:
    class Greedy(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.transport.write(b"y" * 2000)

    async def main() -> None:
        async with connection(Greedy()) as (protocol, peer):
            protocol.transport.set_write_buffer_limits(high=1000, low=999)
            reading = asyncio.create_task(read_all(peer))
            while "pause" not in protocol.calls:
                protocol.transport.write(b"y" * 100_000)
            await asyncio.wait_for(asyncio.sleep(0.01), 5)
            protocol.transport.abort()
            await reading

    ours.run(main())


def test_a_sendfile_that_is_cancelled_before_it_begins_leaves_the_connection_as_it_was(
    ours: Bench, tmp_path: Path
) -> None:
    """asyncio's own transports read no more and refuse every write from then on."""
    (tmp_path / "file").write_bytes(b"file")

    async def main() -> None:
        async with connection() as (protocol, peer):
            loop = asyncio.get_running_loop()
            written = 0
            while not protocol.transport.get_write_buffer_size():
                protocol.transport.write(b"x" * 100_000)
                written += 100_000
                await asyncio.sleep(0)
            with (tmp_path / "file").open("rb") as file, pytest.raises(TimeoutError):
                async with asyncio.timeout(0):
                    await loop.sendfile(protocol.transport, file)
            protocol.transport.write(b"end")
            peer.send(b"answer")
            assert await protocol.until(6) == b"answer"
            protocol.transport.close()
            assert await read_all(peer) == b"x" * written + b"end"

    ours.run(main())
    assert not ours.errors


def test_what_is_kept_leaves_in_one_go_when_the_socket_is_writable_again(ours: Bench) -> None:
    class Refusing(CountingSocket):
        refuses = True

        def send(self, data: Any) -> int:
            if self.refuses:
                self.refuses = False
                raise BlockingIOError
            return super().send(data)

    async def main() -> None:
        async with connection() as (protocol, peer):
            transport = protocol.transport
            transport._sock = Refusing(transport._sock)
            waits: list[int] = []
            submit = transport._submit_send

            def waiting() -> None:
                waits.append(transport.get_write_buffer_size())
                submit()

            transport._submit_send = waiting
            transport.write(b"x" * MAX_JOINED)  # not joined with what follows
            transport.write(b"y" * 10)
            assert await read_exactly(peer, MAX_JOINED + 10) == b"x" * MAX_JOINED + b"y" * 10
            assert waits == [MAX_JOINED]

    ours.run(main())


def test_writes_to_a_lost_connection_are_logged_from_the_fifth_on(
    each: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    if private.WINDOWS and each.factory is private.StockLoop:
        pytest.skip("the stock proactor transport counts empty writes too")

    async def main() -> list[int]:
        async with connection() as (protocol, _):
            protocol.transport.abort()
            seen = []
            for data in (b"1", b"", b"2", b"3", b"", b"4", b"", b"5", b"", b"6"):
                protocol.transport.write(data)
                seen.append(sum("socket.send() raised exception" in line for line in caplog.messages))
            return seen

    assert each.run(main()) == [0, 0, 0, 0, 0, 0, 0, 1, 1, 2]
