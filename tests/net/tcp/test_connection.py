"""Connection: frames in coroutines, received and sent in order, with bounded queues both ways."""

import asyncio
import random

import pytest
from helpers.peers import eventually, iterations, settled
from helpers.stock import LENGTH, connection, wire

import proactor_echo as pe

MIB = 1 << 20


async def test_frames_are_received_in_order_until_the_end() -> None:
    async with connection(LENGTH) as (conn, client):
        await client.send(wire(b"one", b"", b"three"))
        assert [await conn.receive(), await conn.receive()] == [b"one", b""]
        client.send_eof()
        assert [frame async for frame in conn] == [b"three"]


async def test_frames_are_received_as_they_come() -> None:
    async with connection(LENGTH) as (conn, client):
        for number in range(10):
            waiting = asyncio.create_task(conn.receive())
            await iterations(2)
            await client.send(wire(bytes([number])))
            assert await waiting == bytes([number])


async def test_frames_sent_arrive_in_order_whichever_way_they_are_sent() -> None:
    async with connection(LENGTH) as (conn, client):
        await conn.send(b"one")
        await conn.send(bytearray(b"two"))
        conn.send_frame(memoryview(b"three"))
        await conn.send(b"four")
        conn.send_frames([b"five", b"six"])
        await conn.send_eof()
        assert await client.receive_all() == wire(b"one", b"two", b"three", b"four", b"five", b"six")


async def test_frames_sent_in_one_iteration_leave_together() -> None:
    async with connection(LENGTH) as (conn, client):
        for text in (b"one", b"two", b"three"):
            await conn.send(text)
        assert conn.writes == []
        assert await client.receive_exactly(23) == wire(b"one", b"two", b"three")
        assert conn.writes == [wire(b"one", b"two", b"three")]


async def test_what_was_sent_leaves_before_waiting_for_an_answer() -> None:
    async with connection(LENGTH) as (conn, client):
        await conn.send(b"question")
        waiting = asyncio.create_task(conn.receive())
        await iterations(1)
        assert conn.writes == [wire(b"question")]
        await client.send(wire(b"answer"))
        assert await waiting == b"answer"


async def test_what_was_sent_leaves_although_the_task_then_waits_for_something_else() -> None:
    async with connection(LENGTH) as (conn, client):

        async def send_and_compute() -> None:
            await conn.send(b"one")
            await conn.send(b"two")
            await asyncio.Event().wait()

        task = asyncio.create_task(send_and_compute())
        assert await client.receive_exactly(14) == wire(b"one", b"two")
        assert conn.writes == [wire(b"one", b"two")]
        task.cancel()
        await asyncio.wait([task])


async def test_the_answers_to_the_frames_of_one_read_leave_together() -> None:
    async with connection(LENGTH) as (conn, client):
        echoing = asyncio.create_task(pe.echo(conn))
        await iterations(1)
        frames = wire(*[bytes([number]) for number in range(100)])
        await client.send(frames)
        assert await client.receive_exactly(len(frames)) == frames
        assert conn.writes == [frames]
        client.send_eof()
        await echoing
        await conn.close()


async def test_several_frames_are_sent_by_one_call_and_leave_together() -> None:
    async with connection(LENGTH) as (conn, client):
        await conn.send(b"one")
        await conn.send_many([b"two", bytearray(b"three"), memoryview(b"four")])
        await conn.send_many([])
        await conn.send(b"five")
        expected = wire(b"one", b"two", b"three", b"four", b"five")
        assert await client.receive_exactly(len(expected)) == expected
        assert conn.writes == [expected]
        assert (conn.stats.frames_out, conn.stats.bytes_out) == (5, len(expected))


async def test_of_several_frames_none_is_sent_when_one_cannot_be() -> None:
    codec = pe.LengthCodec(max_frame_length=3)
    async with connection(codec) as (conn, client):
        with pytest.raises(pe.FrameTooLong):
            await conn.send_many([b"one", b"three"])
        await conn.send_many([b"two"])
        await conn.send_eof()
        assert await client.receive_all() == wire(b"two")
        assert conn.stats.frames_out == 1
        with pytest.raises(pe.ProtocolStateError):
            await conn.send_many([b"one"])


async def test_several_frames_wait_together_while_the_peer_is_slow() -> None:
    async with connection(LENGTH, write_limit=(50_000, 10_000), receive_buffer=16384) as (conn, client):
        batch = [bytes(1000)] * 100
        sending = asyncio.create_task(send_batches(conn, [batch] * 200))
        await settled(lambda: conn.stats.frames_out, looks=5)
        assert not sending.done()
        assert conn.stats.frames_out % 100 == 0
        assert conn.transport.get_write_buffer_size() < 50_000 + 2 * 65536 + 2 * 101_000
        assert await client.receive_exactly(200 * 100_400) == wire(*batch) * 200
        await sending


async def send_batches(conn: pe.Connection, batches: list[list[bytes]]) -> None:
    for frames in batches:
        await conn.send_many(frames)


async def test_a_payload_may_be_changed_once_send_returned() -> None:
    async with connection(LENGTH) as (conn, client):
        payload = bytearray(b"one")
        await conn.send(payload)
        payload[:] = b"two"
        await conn.send(payload)
        await conn.close()
        assert await client.receive_all() == wire(b"one", b"two")


@pytest.mark.parametrize("read_limit", [0, 100_000])
async def test_the_receive_queue_is_bounded_and_pauses_reading(read_limit: int) -> None:
    codec = pe.FixedCodec(1000)
    blob = random.Random(3).randbytes(4 * MIB - 304)
    assert len(blob) % 1000 == 0
    async with connection(codec, read_limit=read_limit) as (conn, client):
        sending = asyncio.create_task(client.send(blob))
        await eventually(lambda: not conn.transport.is_reading())
        await settled(lambda: conn.stats.bytes_in, looks=5)
        assert conn.stats.bytes_in <= read_limit + 256 * 1024
        received = [await conn.receive() for _ in range(len(blob) // 1000)]
        assert b"".join(received) == blob
        await sending


async def test_a_queue_of_empty_frames_is_bounded_too() -> None:
    async with connection(pe.NetstringCodec(), read_limit=10_000) as (conn, client):
        sending = asyncio.create_task(client.send(b"0:," * (MIB // 2)))
        await eventually(lambda: not conn.transport.is_reading())
        await settled(lambda: conn.stats.bytes_in, looks=5)
        assert conn.stats.bytes_in <= 10_000 + 256 * 1024
        for _ in range(MIB // 2):
            assert await conn.receive() == b""
        await sending


async def test_send_waits_while_the_peer_is_slow_and_goes_on_when_it_reads() -> None:
    async with connection(write_limit=(50_000, 10_000), receive_buffer=16384) as (conn, client):
        frames = 400
        sending = asyncio.create_task(send_all(conn, [bytes([n % 251]) * 40_000 for n in range(frames)]))
        await settled(lambda: conn.stats.frames_out, looks=5)
        assert not sending.done()
        assert conn.transport.get_write_buffer_size() < 50_000 + 2 * 65536 + 40_000
        for number in range(frames):
            assert await client.receive_exactly(40_000) == bytes([number % 251]) * 40_000
        await sending


async def send_all(conn: pe.Connection, frames: list[bytes]) -> None:
    for frame in frames:
        await conn.send(frame)


async def test_many_senders_do_not_overrun_the_limit_together() -> None:
    async with connection(write_limit=(50_000, 10_000), receive_buffer=16384) as (conn, client):
        sending = [asyncio.create_task(conn.send(bytes(100_000))) for _ in range(100)]
        highest = 0
        received = 0
        while received < 100 * 100_000:
            received += len(await client.receive(100_000))
            highest = max(highest, conn.transport.get_write_buffer_size())
        await asyncio.gather(*sending)
        assert highest < 400_000


@pytest.mark.parametrize("frame", [b"", b"x", bytes(100_000)], ids=len)
async def test_a_task_that_only_sends_lets_others_run(frame: bytes) -> None:
    async with connection() as (conn, client):

        async def talk() -> None:
            while True:
                await conn.send(frame)

        talking = asyncio.create_task(talk())
        async with asyncio.timeout(20):
            received = 0
            while received < 100_000 and frame:
                received += len(await client.receive())
            await iterations(100)
        talking.cancel()
        await asyncio.wait([talking])


async def test_two_tasks_cannot_receive_at_once_and_the_first_is_not_disturbed() -> None:
    async with connection(LENGTH) as (conn, client):
        first = asyncio.create_task(conn.receive())
        await iterations(2)
        with pytest.raises(pe.ProtocolStateError, match="another task is already receiving"):
            await conn.receive()
        with pytest.raises(pe.ProtocolStateError, match="another task is already receiving"):
            await anext(conn)
        await client.send(wire(b"yours"))
        assert await first == b"yours"


async def test_one_task_receives_while_another_sends() -> None:
    frames = [random.Random(n).randbytes(n * 37 % 5000) for n in range(500)]
    async with connection(LENGTH, write_limit=(20_000, 5_000), read_limit=20_000) as (conn, client):
        feeding = asyncio.create_task(client.send(wire(*frames)))
        sending = asyncio.create_task(send_all(conn, frames))
        draining = asyncio.create_task(client.receive_exactly(len(wire(*frames))))
        assert [await conn.receive() for _ in frames] == frames
        assert await draining == wire(*frames)
        await feeding
        await sending


async def test_state_changes_can_be_awaited() -> None:
    async with connection(LENGTH) as (conn, client):
        assert conn.state is pe.ConnectionState.OPEN
        change = asyncio.create_task(conn.state_changed())
        await iterations(2)
        client.send_eof()
        assert await change is pe.ConnectionState.PEER_EOF
        change = asyncio.create_task(conn.state_changed())
        await iterations(2)
        await conn.send_eof()
        assert await change is pe.ConnectionState.CLOSING
        assert await conn.state_changed() is pe.ConnectionState.CLOSED
        assert await conn.state_changed() is pe.ConnectionState.CLOSED


async def test_a_connection_says_what_it_is() -> None:
    async with connection(LENGTH) as (conn, client):
        here, there = client.sock.getpeername(), client.sock.getsockname()
        assert (conn.local, conn.peer) == (pe.format_address(here), pe.format_address(there))
        assert repr(conn) == f"<WatchedConnection {conn.peer} open>"
        await client.send(wire(b"in"))
        await conn.receive()
        await conn.send(b"out")
        await conn.close()
        assert repr(conn) == f"<WatchedConnection {conn.peer} closed>"
        assert conn.stats == pe.ConnectionStats(bytes_in=6, bytes_out=7, frames_in=1, frames_out=1)
        assert conn.stats.as_dict() == {"bytes_in": 6, "bytes_out": 7, "frames_in": 1, "frames_out": 1}


async def test_a_raw_connection_hands_over_the_pieces() -> None:
    async with connection() as (conn, client):
        await client.send(b"a stream of bytes")
        client.send_eof()
        assert b"".join([piece async for piece in conn]) == b"a stream of bytes"


async def test_it_is_idle_when_no_output_is_pending_and_somebody_waits() -> None:
    async with connection(LENGTH) as (conn, client):
        assert not conn.idle
        waiting = asyncio.create_task(conn.receive())
        await iterations(2)
        assert conn.idle
        await client.send(b"\0\0")
        await eventually(lambda: conn.stats.bytes_in)
        assert not conn.idle
        await client.send(b"\0\1x")
        assert await waiting == b"x"


async def test_a_client_may_be_a_stock_one() -> None:
    """Connection needs nothing of ours around it: any transport of asyncio will do."""
    async with connection(LENGTH) as (server, _):
        loop = asyncio.get_running_loop()
        address = server.transport.get_extra_info("sockname")
        conn = pe.Connection(LENGTH)
        await loop.create_connection(lambda: conn.protocol, *address[:2])
        await conn.close()
        assert conn.disconnect == (pe.DisconnectReason.LOCAL_CLOSE, None, "closed here")


def test_limits_that_make_no_sense_are_refused() -> None:
    async def make(**limits: int) -> None:
        pe.Connection(**limits)  # type: ignore[arg-type]

    with pytest.raises(ValueError, match="read_limit"):
        asyncio.run(make(read_limit=-1))
