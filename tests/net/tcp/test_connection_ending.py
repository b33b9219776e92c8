"""How a Connection ends, and what everybody who uses it is told then, once and ever after."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from helpers.peers import RawClient, eventually, iterations
from helpers.stock import LENGTH, connection, reset_by_peer, wire

import proactor_echo as pe

Reason = pe.DisconnectReason


async def ended_for(conn: pe.Connection) -> pe.DisconnectReason:
    async with asyncio.timeout(10):
        return (await conn.wait_closed()).reason


async def reset(conn: pe.Connection, client: RawClient) -> None:
    assert (await reset_by_peer(conn, client)).reason is Reason.PEER_RESET


async def test_after_the_last_frame_receive_says_end_of_stream_ever_after() -> None:
    async with connection(LENGTH) as (conn, client):
        await client.send(wire(b"last"))
        client.send_eof()
        assert await conn.receive() == b"last"
        for _ in range(3):
            with pytest.raises(pe.EndOfStream):
                await conn.receive()
        assert [frame async for frame in conn] == []
        await conn.send(b"an answer all the same")
        await conn.close()
        assert await ended_for(conn) is Reason.END_OF_FILE
        with pytest.raises(pe.EndOfStream):
            await conn.receive()
        assert await client.receive_all() == wire(b"an answer all the same")


async def test_an_end_that_was_orderly_stays_so_when_the_connection_breaks_afterwards() -> None:
    async with connection(LENGTH) as (conn, client):
        client.send_eof()
        with pytest.raises(pe.EndOfStream):
            await conn.receive()
        client.reset()
        while conn.disconnect is None:
            conn.send_frame(b"?")
            await iterations(1)
        with pytest.raises(pe.EndOfStream):
            await conn.receive()
        with pytest.raises(pe.Disconnected):
            await conn.send(b"?")


async def test_frames_before_a_reset_are_received_and_then_the_reset_ever_after() -> None:
    async with connection(LENGTH) as (conn, client):
        await client.send(wire(b"one", b"two"))
        await eventually(lambda: conn.stats.frames_in == 2)
        await reset(conn, client)
        assert [await conn.receive(), await conn.receive()] == [b"one", b"two"]
        for _ in range(3):
            with pytest.raises(pe.Disconnected) as caught:
                await conn.receive()
            assert caught.value.reason is Reason.PEER_RESET
            assert caught.value.number
            assert conn.without_end_errors(caught.value) is None
        with pytest.raises(pe.Disconnected):
            async for _ in conn:
                pass


async def test_a_waiting_receive_raises_at_a_reset() -> None:
    async with connection(LENGTH) as (conn, client):
        waiting = asyncio.create_task(conn.receive())
        await iterations(2)
        await reset(conn, client)
        with pytest.raises(pe.Disconnected):
            await waiting


@pytest.mark.parametrize(
    ("bad", "kind"),
    [(b"\xff\xff\xff\xff rubbish", pe.FrameTooLong), (b"\0\0\0\x09half", pe.FrameTruncated)],
    ids=["too long", "truncated"],
)
async def test_frames_before_a_framing_error_are_received_and_then_the_error_ever_after(
    bad: bytes, kind: type[pe.FramingError]
) -> None:
    async with connection(LENGTH) as (conn, client):
        await client.send(wire(b"one", b"two") + bad)
        client.send_eof()
        assert [await conn.receive(), await conn.receive()] == [b"one", b"two"]
        for _ in range(3):
            with pytest.raises(kind) as caught:
                await conn.receive()
            assert caught.value.frames == []  # or whoever looks there would have them twice
            assert conn.without_end_errors(caught.value) is None
        await conn.send(b"what was that?")
        await conn.close()
        assert await ended_for(conn) is Reason.FRAMING
        with pytest.raises(kind):
            await conn.receive()


async def test_a_framing_error_keeps_more_from_being_read() -> None:
    async with connection(LENGTH) as (conn, client):
        sending = asyncio.create_task(client.send(b"\xff" * (16 << 20)))
        with pytest.raises(pe.FrameTooLong):
            await conn.receive()
        await iterations(50)
        assert conn.stats.bytes_in <= 2 * 256 * 1024
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_closing_ends_a_waiting_receive_at_once_and_in_good_order() -> None:
    async with connection(LENGTH, receive_buffer=65536, close_timeout=30.0) as (conn, client):
        waiting = asyncio.create_task(conn.receive())
        await iterations(2)
        for _ in range(20):
            conn.send_frame(bytes(500_000))
        closing = asyncio.create_task(conn.close())
        with pytest.raises(pe.EndOfStream):
            await waiting
        assert not closing.done()
        received = 0
        while part := await client.receive(1 << 20):
            received += len(part)
        assert received == 20 * 500_004
        await closing
        assert await ended_for(conn) is Reason.LOCAL_CLOSE


async def test_frames_received_before_close_can_still_be_taken() -> None:
    async with connection(LENGTH) as (conn, client):
        await client.send(wire(b"one", b"two"))
        await eventually(lambda: conn.stats.frames_in == 2)
        await conn.close()
        assert [frame async for frame in conn] == [b"one", b"two"]


async def test_abort_ends_everything_at_once() -> None:
    async with connection(LENGTH) as (conn, client):
        waiting = asyncio.create_task(conn.receive())
        await iterations(2)
        await conn.send(b"never sent")
        conn.abort()
        assert conn.state is pe.ConnectionState.CLOSED
        with pytest.raises(pe.Disconnected) as caught:
            await waiting
        assert caught.value.reason is Reason.ABORTED
        assert await ended_for(conn) is Reason.ABORTED
        assert await client.receive_all() == b""


ENDINGS: dict[str, Callable[[pe.Connection, RawClient], Awaitable[object]]] = {
    "send_eof": lambda conn, client: conn.send_eof(),
    "close": lambda conn, client: conn.close(),
    "reset": reset,
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_sending_afterwards_is_an_error_that_says_why(ending: str) -> None:
    async with connection(LENGTH) as (conn, client):
        await ENDINGS[ending](conn, client)
        words = {"send_eof": "cannot send after send_eof", "close": "closed here", "reset": "reset by peer"}[ending]
        for _ in range(2):
            with pytest.raises((pe.ProtocolStateError, pe.Disconnected), match=words) as caught:
                await conn.send(b"more")
            assert (conn.without_end_errors(caught.value) is None) is (ending != "send_eof")
            with pytest.raises((pe.ProtocolStateError, pe.Disconnected), match=words):
                conn.send_frames([b"more"])


async def test_sending_right_after_abort_is_an_error() -> None:
    async with connection(LENGTH) as (conn, _):
        conn.abort()
        with pytest.raises(pe.Disconnected, match="aborted here"):
            await conn.send(b"more")


@pytest.mark.parametrize("how", ["send_eof", "close", "abort", "reset"])
async def test_a_send_that_waits_for_a_slow_peer_raises_at_the_end_at_once(how: str) -> None:
    async with connection(write_limit=(1000, 100), receive_buffer=16384, close_timeout=30.0) as (conn, client):
        sending = asyncio.create_task(send_for_ever(conn))
        await eventually(lambda: conn.transport.get_write_buffer_size() > 1000)
        await iterations(5)
        assert not sending.done()
        if how == "reset":
            client.reset()
        elif how == "close":
            ending = asyncio.create_task(conn.close())
        elif how == "send_eof":
            await conn.send_eof()
        else:
            conn.abort()
        with pytest.raises((pe.ProtocolStateError, pe.Disconnected)):
            async with asyncio.timeout(10):
                await sending
        conn.abort()
        await conn.wait_closed()
        if how == "close":
            await ending


async def send_for_ever(conn: pe.Connection) -> None:
    while True:
        await conn.send(bytes(65536))


async def test_close_sends_pending_output_and_waits_for_it() -> None:
    async with connection(receive_buffer=16384) as (conn, client):
        for _ in range(10):
            conn.send_frame(bytes(200_000))
        closing = asyncio.create_task(conn.close())
        assert len(await client.receive_exactly(2_000_000)) == 2_000_000
        assert await client.receive_all() == b""
        await closing
        await conn.close()
        assert conn.state is pe.ConnectionState.CLOSED


async def test_close_is_bounded_when_the_peer_takes_nothing() -> None:
    async with connection(receive_buffer=16384, close_timeout=0.05) as (conn, _):
        conn.send_frame(bytes(16 << 20))
        async with asyncio.timeout(5):
            await conn.close()
        assert await ended_for(conn) is Reason.TIMED_OUT


async def test_leaving_the_block_closes() -> None:
    async with connection(LENGTH) as (conn, client):
        async with conn:
            await conn.send(b"bye")
        assert conn.state is pe.ConnectionState.CLOSED
        assert await client.receive_all() == wire(b"bye")


async def test_both_ends_of_file_end_it_whichever_comes_first() -> None:
    for ours_first in (True, False):
        async with connection(LENGTH) as (conn, client):
            if ours_first:
                await conn.send_eof()
                assert await client.receive_all() == b""
                await client.send(wire(b"more"))
                client.send_eof()
                assert [frame async for frame in conn] == [b"more"]
            else:
                client.send_eof()
                assert [frame async for frame in conn] == []
                await conn.send(b"more")
                await conn.send_eof()
                assert await client.receive_all() == wire(b"more")
            assert await ended_for(conn) is Reason.END_OF_FILE


async def test_send_eof_after_the_end_is_harmless() -> None:
    async with connection(LENGTH) as (conn, client):
        await conn.send_eof()
        await conn.send_eof()
        await conn.close()
        await conn.send_eof()
        conn.abort()
        assert await client.receive_all() == b""


async def test_an_idle_timeout_is_reported_as_such() -> None:
    async with connection(LENGTH) as (conn, _):
        conn.set_idle_timeout(0.02)
        with pytest.raises(pe.Disconnected) as caught:
            async with asyncio.timeout(5):
                await conn.receive()
        assert caught.value.reason is Reason.IDLE_TIMEOUT
