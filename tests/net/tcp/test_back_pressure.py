"""Back pressure in callbacks, done by the protocol: a peer that does not read is not read from."""

import asyncio

import pytest
from helpers.peers import Pattern, RawClient, eventually, settled
from helpers.stock import RecordingProtocol, Serving, stock_server

import proactor_echo as pe

MIB = 1 << 20


@pytest.mark.parametrize("codec", [pe.RawCodec(), pe.LengthCodec(max_frame_length=1 << 16)], ids=["raw", "length"])
async def test_a_peer_that_does_not_read_is_not_read_from_and_loses_nothing(codec: pe.Codec) -> None:
    frames = [Pattern(size).take(size) for size in range(1, 60_000, 400)] * 2
    wire = codec.encode_many(frames)
    async with stock_server(lambda: pe.EchoProtocol(codec, write_limit=(20_000, 5_000))) as serving:
        async with await RawClient.connect(serving.address, receive_buffer=65536) as client:
            sending = asyncio.create_task(client.send(wire))
            protocol = await serving.opened()
            await eventually(lambda: not protocol.transport.is_reading())
            await settled(lambda: protocol.stats.bytes_in, looks=5)
            # No more is owed than the mark and what one read can bring, 256 KiB in asyncio.
            assert protocol.transport.get_write_buffer_size() <= 20_000 + 256 * 1024
            assert protocol.stats.bytes_in < len(wire)
            assert await client.receive_exactly(len(wire)) == wire
            await sending
            await eventually(protocol.transport.is_reading)
            client.send_eof()
            assert await client.receive_all() == b""
        await eventually(lambda: protocol.disconnect)
        assert protocol.disconnect is not None
        assert protocol.disconnect.reason is pe.DisconnectReason.END_OF_FILE


class Held(RecordingProtocol):
    write_limit = (20_000, 5_000)
    close_timeout = 0.05


async def slow_client(serving: Serving[Held]) -> RawClient:
    return await RawClient.connect(serving.address, receive_buffer=16384)


async def test_one_peer_that_does_not_read_holds_up_no_other() -> None:
    async with stock_server(Held) as serving, await slow_client(serving) as stuck:
        sending = asyncio.create_task(stuck.send(bytes(8 * MIB)))
        protocol = await serving.opened()
        await eventually(lambda: not protocol.transport.is_reading())
        async with await RawClient.connect(serving.address) as honest:
            for number in range(100):
                await honest.send(bytes([number]))
                assert await honest.receive() == bytes([number])
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_a_connection_that_is_paused_for_its_peer_still_ends_when_told_to() -> None:
    async with stock_server(Held) as serving, await slow_client(serving) as client:
        sending = asyncio.create_task(client.send(bytes(8 * MIB)))
        protocol = await serving.opened()
        await eventually(lambda: not protocol.transport.is_reading())
        await settled(lambda: protocol.stats.bytes_in, looks=5)
        protocol.close()
        await eventually(lambda: protocol.disconnect, within=5)
        assert protocol.events[-1] == "closed: timed out"
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
