"""A client that sends tens of thousands of tiny frames at once takes its turns like everybody else."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from helpers.peers import RawClient, connected, eventually
from helpers.stock import stock_server

import proactor_echo as pe

MANY = 40_000
TINY = b"".join(b"%d\n" % (number % 10) for number in range(MANY))
IN_ORDER = [b"%d" % (number % 10) for number in range(MANY)]
#: Frames of one connection that may be handled while another one waits for its turn.
BOUND = 1024


class Log(pe.FramedProtocol):
    """Notes what it is told, and how many frames it got in each iteration of the loop."""

    codec: pe.Codec = pe.LineCodec()

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[bytes] = []
        self.counts = [0]
        self.events: list[str] = []
        self.stop_at = 0

    def frame_received(self, frame: bytes) -> None:
        if not self.counts[-1]:
            asyncio.get_running_loop().call_soon(self.counts.append, 0)
        self.counts[-1] += 1
        self.frames.append(frame)
        if len(self.frames) == self.stop_at:
            self.stop()

    def stop(self) -> None:
        self.close()

    def end_received(self) -> None:
        self.events.append(f"end after {len(self.frames)}")
        self.close()

    def connection_closed(self, disconnect: pe.Disconnect) -> None:
        self.events.append(f"{disconnect.reason} after {len(self.frames)}")


async def test_a_protocol_gets_the_frames_of_one_read_over_many_iterations() -> None:
    async with stock_server(Log) as serving, await RawClient.connect(serving.address) as client:
        await client.send(TINY)
        await eventually(lambda: serving.made and len(serving.only.frames) == MANY)
        assert serving.only.frames == IN_ORDER
        assert max(serving.only.counts) <= BOUND


async def test_a_handler_that_never_has_to_wait_lets_others_run() -> None:
    got, counts = await frames_of_a_handler(MANY)
    assert got == IN_ORDER
    assert max(counts) <= BOUND


async def test_a_handler_that_takes_long_for_each_frame_gets_fewer_in_one_iteration() -> None:
    def work() -> None:
        end = time.perf_counter() + 0.0002
        while time.perf_counter() < end:
            pass

    got, counts = await frames_of_a_handler(2000, work)
    assert got == IN_ORDER[:2000]
    assert max(counts[len(counts) // 2 :]) <= 16  # 3.2 ms


async def frames_of_a_handler(count: int, work: Callable[[], object] = bool) -> tuple[list[bytes], list[int]]:
    """Send so many frames at once; return those that a handler got, and how many it got in each iteration."""
    got: list[bytes] = []
    counts = [0]

    async def handler(conn: pe.Connection) -> None:
        async for frame in conn:
            if not counts[-1]:
                asyncio.get_running_loop().call_soon(counts.append, 0)
            counts[-1] += 1
            got.append(frame)
            work()

    async with await pe.serve_tcp(handler, codec=pe.LineCodec()) as server, connected(server) as (client,):
        await client.send(TINY[: 2 * count])
        await eventually(lambda: len(got) == count)
    return got, counts


@pytest.mark.parametrize("form", [{"handler": pe.echo}, {"protocol_factory": pe.EchoProtocol}], ids=["handler", "echo"])
@pytest.mark.parametrize("codec", [pe.LineCodec(), pe.NetstringCodec()], ids=["lines", "netstrings"])
async def test_many_tiny_frames_are_echoed_in_order_up_to_the_end_of_file(
    form: dict[str, Any], codec: pe.Codec
) -> None:
    wire = codec.encode_many(IN_ORDER)
    async with await pe.serve_tcp(**form, codec=codec) as server, connected(server) as (client,):
        answer = asyncio.create_task(client.receive_all())
        await client.send(wire)
        client.send_eof()
        assert await answer == wire


async def test_the_end_of_file_comes_after_the_frames() -> None:
    async with stock_server(Log) as serving, await RawClient.connect(serving.address) as client:
        await client.send(TINY)
        client.send_eof()
        await eventually(lambda: serving.made and serving.only.disconnect)
        assert serving.only.events == [f"end after {MANY}", f"end of file after {MANY}"]


async def test_a_framing_error_comes_after_the_frames() -> None:
    class Netstrings(Log):
        codec = pe.NetstringCodec()

    async with stock_server(Netstrings) as serving, await RawClient.connect(serving.address) as client:
        await client.send(b"1:x," * 10_000 + b"rubbish")
        await eventually(lambda: serving.made and serving.only.disconnect)
        assert serving.only.events == ["bad framing after 10000"]


@pytest.mark.parametrize(("how", "reason"), [("close", "closed here"), ("abort", "aborted here")])
async def test_frames_after_one_that_ends_the_connection_are_dropped(how: str, reason: str) -> None:
    class Stops(Log):
        def stop(self) -> None:
            getattr(self, how)()

    def make() -> Log:
        protocol = Stops()
        protocol.stop_at = 3000
        return protocol

    async with stock_server(make) as serving, await RawClient.connect(serving.address) as client:
        await client.send(TINY)
        await eventually(lambda: serving.made and serving.only.disconnect)
        assert serving.only.events == [f"{reason} after 3000"]


async def told_of_all_at_once(protocol: Log, count: int) -> None:
    """Hand over one read of ``count`` frames, as a transport does; how large a real one is differs."""
    protocol.data_received(TINY[: 2 * count])
    assert 0 < len(protocol.frames) < count


async def test_frames_that_came_before_the_connection_broke_are_delivered_first() -> None:
    async with stock_server(Log) as serving, await RawClient.connect(serving.address) as client:
        protocol = await serving.opened()
        await told_of_all_at_once(protocol, 5000)
        protocol.transport._fatal_error(ConnectionResetError(104, "reset"))  # type: ignore[attr-defined]
        client.close()
        await eventually(lambda: protocol.disconnect)
        assert len(protocol.frames) == 5000
        assert len(protocol.events) == 1
        assert protocol.events[0].endswith("after 5000")


async def test_frames_wait_while_the_peer_does_not_read() -> None:
    async with stock_server(Log) as serving, await RawClient.connect(serving.address):
        protocol = await serving.opened()
        await told_of_all_at_once(protocol, 5000)
        protocol.pause_writing()
        before = len(protocol.frames)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(protocol.frames) == before
        protocol.resume_writing()
        await eventually(lambda: len(protocol.frames) == 5000)
        assert max(protocol.counts) <= BOUND
        assert protocol.transport.is_reading()


async def test_a_connection_with_frames_that_wait_is_not_idle() -> None:
    async with stock_server(Log) as serving, await RawClient.connect(serving.address):
        protocol = await serving.opened()
        await told_of_all_at_once(protocol, 5000)
        assert not protocol.idle
        await eventually(lambda: len(protocol.frames) == 5000)
        assert protocol.idle


async def test_what_a_transport_reads_all_the_same_comes_after_the_rest() -> None:
    async with stock_server(Log) as serving, await RawClient.connect(serving.address):
        protocol = await serving.opened()
        await told_of_all_at_once(protocol, 5000)
        protocol.data_received(b"last\n")
        await eventually(lambda: len(protocol.frames) == 5001)
        assert protocol.frames == [*IN_ORDER[:5000], b"last"]


async def test_a_handler_gets_what_is_queued_after_the_connection_broke() -> None:
    got: list[bytes] = []
    go = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        await go.wait()
        for _ in range(3000):
            got.append(await conn.receive())
        with pytest.raises(pe.Disconnected):
            await conn.receive()

    server = await pe.serve_tcp(handler, codec=pe.LineCodec())
    async with connected(server) as (client,):
        await client.send(TINY[:6000])
        await eventually(lambda: server.stats.frames_in == 3000)
        client.reset()
        await eventually(lambda: not server.connections)
        go.set()
        await server.close()
    assert got == IN_ORDER[:3000]
