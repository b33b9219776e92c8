"""Echo over TCP, RFC 862: what comes back is what was sent, byte for byte and in order, whoever else is there."""

import asyncio
import random
import sys
from collections.abc import Callable
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import WINE, Pattern, RawClient, settled

import proactor_echo as pe

MIB = 1 << 20


def allow_descriptors(wanted: int) -> None:
    """Raise this process's own limit of open files where there is one."""
    if sys.platform != "win32":
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if hard < 0 else min(wanted, hard), hard))


async def exchange(address: tuple[Any, ...], number: int, total: int) -> None:
    """Send ``total`` bytes that are this connection's own, compare every byte that comes back, end in good order."""
    async with await RawClient.connect(address) as client:
        ours, theirs = Pattern(number * 1013), Pattern(number * 1013)

        async def send() -> None:
            for left in range(total, 0, -MIB):
                await client.send(ours.take(min(left, MIB)))

        sending = asyncio.create_task(send())
        left = total
        while left:
            part = await client.receive(min(left, 262144))
            assert part, f"connection {number} ended with {left} bytes missing"
            assert part == theirs.take(len(part)), f"connection {number} differs {left} bytes before the end"
            left -= len(part)
        await sending
        client.send_eof()
        assert await client.receive() == b""


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("count", [1, 10, 500])
async def test_64_mib_come_back_byte_for_byte(form: dict[str, Any], count: int) -> None:
    allow_descriptors(2 * count + 100)
    total = 64 * MIB
    share = total // count
    sizes = [share] * (count - 1) + [total - share * (count - 1)]
    async with await pe.serve_tcp(**form) as server:
        await asyncio.gather(*(exchange(server.addresses[0], i, size) for i, size in enumerate(sizes)))
        stats = server.stats
        assert (stats.bytes_in, stats.bytes_out) == (total, total)
        assert stats.accepted == count


@pytest.mark.parametrize("form", FORMS)
async def test_an_end_of_file_is_answered_with_the_whole_echo_and_then_ours(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form) as server, await RawClient.connect(server.addresses[0]) as client:
        await client.send(b"owed")
        client.send_eof()
        assert await client.receive_all() == b"owed"


@pytest.mark.parametrize("form", FORMS)
async def test_an_end_of_file_at_once_is_answered_with_ours(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form) as server, await RawClient.connect(server.addresses[0]) as client:
        client.send_eof()
        assert await client.receive_all() == b""


@pytest.mark.parametrize("form", FORMS)
async def test_megabytes_pending_at_the_end_of_file_all_come(form: dict[str, Any]) -> None:
    """The client ends while the server is paused for it, which the stock proactor transport reports twice."""
    if WINE and type(asyncio.get_running_loop()) is asyncio.ProactorEventLoop:  # type: ignore[attr-defined, unused-ignore]
        pytest.skip("Wine completes a pending send with nothing sent when the peer's end of file arrives")
    async with (
        await pe.serve_tcp(**form) as server,
        await RawClient.connect(server.addresses[0], receive_buffer=65536) as client,
    ):
        blob = Pattern().take(MIB) * 3
        sending = asyncio.create_task(client.send(blob))
        await settled(lambda: server.stats.bytes_in)
        receiving = asyncio.create_task(client.receive_all())
        await sending
        client.send_eof()
        assert await receiving == blob


@pytest.mark.parametrize("form", FORMS)
async def test_one_byte_at_a_time_comes_back(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form) as server, await RawClient.connect(server.addresses[0]) as client:
        for byte in Pattern().take(100):
            await client.send(bytes([byte]))
            assert await client.receive() == bytes([byte])
        assert server.stats.frames_in == 100


@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_sends_256_mib_and_never_reads_costs_bounded_memory(form: dict[str, Any]) -> None:
    options = pe.SocketOptions(send_buffer=65536, receive_buffer=65536)
    sent = 0
    async with (
        await pe.serve_tcp(**form, options=options) as server,
        await RawClient.connect(server.addresses[0], receive_buffer=65536) as client,
    ):

        async def produce() -> None:
            nonlocal sent
            block = Pattern().take(65536)
            while sent < 256 * MIB:
                await client.send(block)
                sent += len(block)

        memory = resident()
        producer = asyncio.create_task(produce())
        await settled(lambda: (sent, server.stats.bytes_in), looks=30)
        (connection,) = server.connections
        # The kernel's buffers are bounded by the kernel; ours hold what was read and is not sent yet.
        assert connection.transport.get_write_buffer_size() < MIB
        assert server.stats.bytes_in < 16 * MIB
        assert sent < 16 * MIB
        assert resident() - memory < 16 * MIB
        producer.cancel()
        await asyncio.wait([producer])
        connection.abort()


@pytest.mark.parametrize("form", FORMS)
async def test_clients_that_never_read_harm_no_honest_one(form: dict[str, Any]) -> None:
    options = pe.SocketOptions(send_buffer=32768, receive_buffer=32768)
    async with await pe.serve_tcp(**form, options=options, drain=0) as server:
        address = server.addresses[0]
        clients = [await RawClient.connect(address, receive_buffer=32768) for _ in range(40)]
        flood = [asyncio.create_task(client.send(bytes(4 * MIB))) for client in clients]
        for number in range(3):
            await exchange(address, number, MIB)
        await settled(lambda: server.stats.bytes_in, looks=5)
        owed = sum(connection.transport.get_write_buffer_size() for connection in server.connections)
        assert owed < 40 * 400_000
        for task in flood:
            task.cancel()
        await asyncio.wait(flood)
        for client in clients:
            client.close()


def resident() -> int:
    """Return this process's resident memory in bytes, where it is easy to know; 0 elsewhere."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "codec",
    [
        pe.LengthCodec,
        pe.LineCodec,
        pe.NetstringCodec,
        pe.VarintCodec,
        lambda: pe.FixedCodec(7),
        lambda: pe.DelimiterCodec(b"\0", b"||"),
    ],
    ids=["length", "line", "netstring", "varint", "fixed", "delimiter"],
)
async def test_frames_come_back_as_they_were(form: dict[str, Any], codec: Callable[[], pe.Codec]) -> None:
    made = codec()
    frames = [b"sevenby", b"another", b"\xff\xfe\xfd\xfc\xfb\xfa\xf9"]
    wire = made.encode_many(frames)
    async with await pe.serve_tcp(**form, codec=codec()) as server:
        async with await RawClient.connect(server.addresses[0]) as client:
            await client.send(wire)
            client.send_eof()
            assert await client.receive_all() == wire
        assert server.stats.frames_in == server.stats.frames_out == 3


async def test_a_subclass_of_the_echo_protocol_is_asked_about_its_frames() -> None:
    class Shout(pe.EchoProtocol):
        def frames_received(self, frames: list[bytes]) -> None:
            super().frames_received([frame.upper() for frame in frames])

    async with (
        await pe.serve_tcp(protocol_factory=Shout) as server,
        await RawClient.connect(server.addresses[0]) as client,
    ):
        await client.send(b"ping")
        assert await client.receive() == b"PING"


@pytest.mark.parametrize("codec", [pe.LengthCodec(), pe.NetstringCodec(), pe.RawCodec()], ids=repr)
async def test_frames_come_back_and_are_counted_wherever_the_stream_was_cut(codec: pe.Codec) -> None:
    seed = 20
    rng = random.Random(seed)
    payloads = [rng.randbytes(rng.choice([1, 5, 5, 5, 300])) for _ in range(400)]
    stream = b"".join(codec.encode(payload) for payload in payloads)
    server = await pe.serve_tcp(protocol_factory=pe.EchoProtocol, codec=codec)
    async with server, await RawClient.connect(server.addresses[0]) as client:
        sent = 0
        while sent < len(stream):
            end = sent + rng.choice([1, 9, 50, 700, 4000])
            await client.send(stream[sent:end])
            sent = min(end, len(stream))
        assert await client.receive_exactly(len(stream)) == stream, f"{seed=}"
        stats = server.stats
        assert (stats.bytes_in, stats.bytes_out) == (len(stream), len(stream))
        assert stats.frames_in == stats.frames_out
        if not isinstance(codec, pe.RawCodec):
            assert stats.frames_in == len(payloads)
        assert server.stats == stats, "looking at them counts nothing twice"
