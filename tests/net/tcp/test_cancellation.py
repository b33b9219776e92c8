"""Cancelling loses nothing, at every await of a Connection: the next call gets what the cancelled one would have got.

Three ways to look: each call is cancelled while it waits for what it waits for; each call is cancelled after every
number of iterations of the loop that it can take; and calls are cancelled at random moments, seeded, and repeated until
all frames went both ways.
"""

import asyncio
import functools
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from helpers.peers import RawClient, eventually, iterations
from helpers.stock import LENGTH, connection, wire

import proactor_echo as pe

T = TypeVar("T")


async def cancelled(coro: Coroutine[Any, Any, object]) -> None:
    """Run ``coro`` until it waits, cancel it, and see that it is cancelled."""
    task = asyncio.create_task(coro)
    await iterations(3)
    assert not task.done()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


# -- while it waits ----------------------------------------------------------------------------------------------


async def test_a_cancelled_receive_took_no_frame() -> None:
    async with connection(LENGTH) as (conn, client):
        for number in range(3):
            await cancelled(conn.receive())
            await client.send(wire(bytes([number])))
            assert await conn.receive() == bytes([number])


async def test_a_cancelled_step_of_async_for_took_no_frame() -> None:
    async with connection(LENGTH) as (conn, client):
        await cancelled(conn.__anext__())
        await client.send(wire(b"kept"))
        client.send_eof()
        assert [frame async for frame in conn] == [b"kept"]


async def test_a_receive_cancelled_when_its_frame_is_there_already_took_no_frame() -> None:
    async with connection(LENGTH) as (conn, client):
        task = asyncio.create_task(conn.receive())
        await iterations(3)
        conn.protocol.data_received(wire(b"kept"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await conn.receive() == b"kept"
        await client.send(wire(b"next"))
        assert await conn.receive() == b"next"


async def test_one_can_receive_right_after_cancelling_the_task_that_did() -> None:
    async with connection(LENGTH) as (conn, client):
        task = asyncio.create_task(conn.receive())
        await iterations(3)
        task.cancel()  # and not waited for
        await client.send(wire(b"mine"))
        async with asyncio.timeout(10):
            assert await conn.receive() == b"mine"
            second = asyncio.create_task(conn.receive())
            await iterations(3)
            await client.send(wire(b"also mine"))
            assert await second == b"also mine"
        assert task.cancelled()


async def test_a_cancelled_send_sent_nothing_of_its_frame() -> None:
    async with connection(LENGTH, write_limit=(1000, 100), receive_buffer=16384) as (conn, client):
        sent = await fill(conn)
        for _ in range(3):
            await cancelled(conn.send(b"never"))
        sending = asyncio.create_task(conn.send(b"after all"))
        for frame in sent:
            assert await client.receive_exactly(4 + len(frame)) == wire(frame)
        await sending
        await conn.send_eof()
        assert await client.receive_all() == wire(b"after all")
        assert conn.stats.frames_out == len(sent) + 1


async def fill(conn: pe.Connection) -> list[bytes]:
    """Send until sending waits for the peer; return what was sent."""
    sent: list[bytes] = []

    async def send_for_ever() -> None:
        while True:
            frame = random.Random(len(sent)).randbytes(50_000)
            await conn.send(frame)
            sent.append(frame)

    task = asyncio.create_task(send_for_ever())
    await eventually(lambda: conn.transport.get_write_buffer_size() > 1000)
    await iterations(10)
    task.cancel()
    await asyncio.wait([task])
    return sent


async def test_a_cancelled_close_goes_on_closing_and_can_be_waited_for_again() -> None:
    async with connection(LENGTH, receive_buffer=16384) as (conn, client):
        conn.send_frames([bytes(1_000_000)] * 8)
        await cancelled(conn.close())
        assert conn.state is pe.ConnectionState.CLOSING
        await cancelled(conn.close())
        closing = asyncio.create_task(conn.close())
        assert len(await client.receive_all()) == 8_000_032
        await closing
        assert (await conn.wait_closed()).reason is pe.DisconnectReason.LOCAL_CLOSE


async def test_a_cancelled_wait_for_the_end_or_a_change_can_be_repeated() -> None:
    async with connection(LENGTH) as (conn, client):
        await cancelled(conn.wait_closed())
        await cancelled(conn.state_changed())
        change = asyncio.create_task(conn.state_changed())
        await iterations(2)
        client.send_eof()
        assert await change is pe.ConnectionState.PEER_EOF
        await conn.close()
        assert (await conn.wait_closed()).reason is pe.DisconnectReason.END_OF_FILE


async def test_leaving_the_block_by_being_cancelled_closes_all_the_same() -> None:
    async with connection(LENGTH) as (conn, client):

        async def serve() -> None:
            async with conn:
                await conn.send(b"owed")
                await conn.receive()

        await cancelled(serve())
        assert await client.receive_all() == wire(b"owed")
        assert conn.state is pe.ConnectionState.CLOSED


# -- after every number of iterations ---------------------------------------------------------------------------------


async def after(count: int, coro: Coroutine[Any, Any, T]) -> T | None:
    """Cancel ``coro`` after ``count`` iterations of the loop, if it still runs; return its result if it has one."""
    task = asyncio.create_task(coro)
    await iterations(count)
    task.cancel()
    await asyncio.wait([task])
    return None if task.cancelled() else task.result()


@pytest.mark.parametrize("count", range(1, 7))
async def test_receive_cancelled_after_any_number_of_iterations(count: int) -> None:
    async with connection(LENGTH, read_limit=100) as (conn, client):
        frames = [b"%d" % number for number in range(600)]  # more than are handled in one iteration
        sending = asyncio.create_task(client.send(wire(*frames)))
        received: list[bytes] = []
        while len(received) < len(frames):
            frame = await after(count, conn.receive())
            if frame is not None:
                received.append(frame)
        assert received == frames
        await sending


@pytest.mark.parametrize("count", range(1, 7))
async def test_send_cancelled_after_any_number_of_iterations(count: int) -> None:
    async with connection(LENGTH, write_limit=(1000, 100), receive_buffer=16384) as (conn, client):
        frames = [random.Random(number).randbytes(number * 199 % 40_000) for number in range(200)]
        reading = asyncio.create_task(client.receive_exactly(len(wire(*frames))))
        for frame in frames:
            while await after(count, succeeds(conn.send(frame))) is None:
                pass
        assert await reading == wire(*frames)
        await conn.send_eof()
        assert await client.receive_all() == b""


async def succeeds(coro: Coroutine[Any, Any, None]) -> bool:
    await coro
    return True


@pytest.mark.parametrize("count", range(1, 7))
async def test_close_cancelled_after_any_number_of_iterations(count: int) -> None:
    async with connection(LENGTH) as (conn, client):
        await conn.send(b"owed")
        while await after(count, succeeds(conn.close())) is None:
            pass
        assert await client.receive_all() == wire(b"owed")


# -- at random ---------------------------------------------------------------------------------------------------


async def test_numbered_frames_all_come_back_once_and_in_order_however_often_calls_are_cancelled() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    options: dict[str, Any] = {"codec": LENGTH, "write_limit": (8000, 2000), "read_limit": 4000}
    server = await pe.serve_tcp(functools.partial(restless_echo, rng=rng), **options)
    async with server, await pe.connect_tcp(*server.addresses[0][:2], **options) as conn:
        count = 800
        sending = asyncio.create_task(send_numbered(conn, count, rng))
        number = 0
        async for frame in insisting(conn, rng):
            assert int.from_bytes(frame[:4], "big") == number, f"seed {seed}"
            number += 1
        await sending
        assert number == count, f"seed {seed}"


async def restless_echo(conn: pe.Connection, rng: random.Random) -> None:
    async for frame in insisting(conn, rng):
        await insist(functools.partial(conn.send, frame), rng)


async def send_numbered(conn: pe.Connection, count: int, rng: random.Random) -> None:
    for number in range(count):
        frame = number.to_bytes(4, "big") + bytes(rng.choice([0, 10, 100, 1000, 5000]))
        await insist(functools.partial(conn.send, frame), rng)
    await conn.send_eof()


async def insisting(conn: pe.Connection, rng: random.Random) -> AsyncIterator[bytes]:
    while True:
        try:
            yield await insist(conn.receive, rng)
        except pe.EndOfStream:
            return


async def insist(call: Callable[[], Coroutine[Any, Any, T]], rng: random.Random) -> T:
    """Make the call, cancel it at a random moment, and repeat it until it succeeds."""
    while True:
        if rng.random() < 0.3:
            return await call()
        if rng.random() < 0.5:
            task = asyncio.create_task(call())
            await iterations(rng.randrange(6))
            task.cancel()
            await asyncio.wait([task])
            if not task.cancelled():
                return task.result()
        else:
            # A result that came together with the time limit counts.
            done: list[T] = []
            try:
                async with asyncio.timeout(rng.choice([0, 0, 0.0001, 0.001])):
                    done.append(await call())
            except TimeoutError:
                pass
            if done:
                return done[0]


async def test_random_cancelling_against_a_peer_that_reads_in_fits_and_starts() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)
    async with connection(LENGTH, write_limit=(8000, 2000), read_limit=4000, receive_buffer=16384) as (conn, client):
        frames = [number.to_bytes(4, "big") + rng.randbytes(rng.choice([0, 3, 300, 30_000])) for number in range(300)]

        async def send() -> None:
            for frame in frames:
                await insist(functools.partial(conn.send, frame), rng)
            await conn.send_eof()

        sending = asyncio.create_task(send())
        received = bytearray()
        while part := await client.receive(rng.choice([1, 1000, 100_000])):
            received += part
        await sending
        assert received == wire(*frames), f"seed {seed}"


async def test_cancelling_a_handler_that_waits_aborts_its_connection() -> None:
    """A connection whose handler was cancelled must not stay behind."""
    waiting = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        waiting.set()
        await conn.receive()

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        await waiting.wait()
        report = await server.close(drain=0)
        assert report.aborted == 1
        with pytest.raises(ConnectionError):
            raise ConnectionResetError(await client.receive_all())
