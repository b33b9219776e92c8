"""A load finds every wrong byte, and measures what was added to the time of a server."""

import asyncio
import contextlib
import re
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.bench.report import as_dict, table, verdict
from proactor_echo.bench.run import Plan, Result, run_load
from proactor_echo.cli.bench import load_codec
from proactor_echo.cli.framing import FRAMINGS, make_codec
from proactor_echo.testing import TcpTestServer, certificates
from proactor_echo.testing.faults import Latency

SIZE = 100

#: Milliseconds by which a measured time may be off: the tick of the system's clock, and a busy machine.
EXACT = 1.0 if sys.platform != "win32" else 17.0


class Asked:
    """A connection of a server, read in messages."""

    def __init__(self, conn: pe.Connection) -> None:
        self._conn = conn
        self._data = b""

    async def messages(self, count: int = 1) -> bytes:
        while len(self._data) < count * SIZE:
            self._data += await self._conn.receive()
        data, self._data = self._data[: count * SIZE], self._data[count * SIZE :]
        return data

    async def send(self, data: bytes) -> None:
        await self._conn.send(data)

    async def until_the_end(self) -> None:
        async for _ in self._conn:
            pass


Answer = Callable[[Asked], Awaitable[None]]


def handler(answer: Answer) -> Callable[[pe.Connection], Awaitable[None]]:
    async def handle(conn: pe.Connection) -> None:
        with contextlib.suppress(ConnectionError, EOFError):
            await answer(Asked(conn))

    return handle


async def loaded(port: int, **options: Any) -> Result:
    wanted = {"connections": 2, "size": SIZE, "duration": 0.2, "warm_up": 0.0, "timeout": 0.1} | options
    return await run_load(Plan("127.0.0.1", port, **wanted))


@pytest.mark.parametrize("framing", FRAMINGS)
async def test_what_is_right_is_counted_and_nothing_is_wrong(framing: str) -> None:
    async with await pe.serve_tcp(protocol_factory=pe.EchoProtocol, codec=make_codec(framing)) as server:
        result = await loaded(server.port, codec=load_codec(framing, SIZE), in_flight=4, timeout=20.0)
        assert result.answered > 20
        assert (result.wrong.total, result.ended, result.unsent) == (0, 0, 0)
        assert result.latency.count >= result.answered
        assert server.stats.bytes_in == server.stats.bytes_out > SIZE * result.answered


async def test_tls() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=certificates.server_context()) as server:
        result = await loaded(server.port, ssl=certificates.client_context(), timeout=20.0)
        assert result.answered > 10
        assert result.wrong.total == 0


async def corrupt(asked: Asked) -> None:
    for number in range(1000):
        data = await asked.messages()
        await asked.send(data[:-1] + bytes([data[-1] ^ (number == 3)]))


async def swallow(asked: Asked) -> None:
    for _ in range(3):
        await asked.send(await asked.messages())
    await asked.until_the_end()


async def repeat(asked: Asked) -> None:
    while True:
        data = await asked.messages()
        await asked.send(data + data)


async def swap(asked: Asked) -> None:
    while True:
        data = await asked.messages(2)
        await asked.send(data[SIZE:] + data[:SIZE])


async def babble(asked: Asked) -> None:
    await asked.send(b"welcome")
    await asked.until_the_end()


async def end(asked: Asked) -> None:
    await asked.send(await asked.messages())


@pytest.mark.parametrize(
    ("answer", "what", "others"),
    [
        (corrupt, "corrupted", {"lost"}),
        (swallow, "lost", set()),
        (repeat, "duplicated", set()),
        (swap, "reordered", set()),
        (babble, "unsolicited", {"lost", "corrupted"}),
        (end, "lost", set()),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
async def test_each_way_of_being_wrong_is_counted_by_its_name(answer: Answer, what: str, others: set[str]) -> None:
    options: dict[str, Any] = {"rate": 1.0} if answer is babble else {"in_flight": 4}
    async with await pe.serve_tcp(handler(answer)) as server:
        result = await loaded(server.port, **options)
        await server.close(0)
    wrong = as_dict(result)["wrong"]
    found = {name for name, count in wrong.items() if count}
    assert what in found or answer is babble
    assert found <= {what} | others, wrong
    assert found
    assert verdict(result).startswith("WRONG: ")


async def test_latency_that_was_added_is_what_is_measured(tcp_echo_server: TcpTestServer) -> None:
    async def measured() -> float:
        result = await loaded(tcp_echo_server.port, duration=0.5, timeout=20.0, size=1024)
        return result.latency.percentile(0.25) / 1e6  # other programs disturb it least

    without = await measured()
    with tcp_echo_server.fault(Latency(0.005, towards="both")):
        assert 10 - EXACT <= await measured() - without <= 10 + EXACT


async def test_a_stall_counts_for_all_that_were_due_and_not_by_when_they_were_sent() -> None:
    """The mistake is known as coordinated omission: asked nothing, a server that stalls is slow for one message."""
    stalled: list[bool] = []

    async def stall_once(conn: pe.Connection) -> None:
        received = 0
        async for data in conn:
            received += len(data)
            if received > 50 * SIZE and not stalled:
                stalled.append(True)
                await asyncio.sleep(0.2)
            await conn.send(data)

    async with await pe.serve_tcp(stall_once) as server:
        result = await loaded(server.port, connections=1, rate=500.0, duration=1.0, timeout=20.0)
    assert result.wrong.total == 0
    # 100 of 500 messages were due in that time; one was sent.
    assert result.latency.percentile(0.9) > 50e6
    assert result.service.percentile(0.9) < 50e6
    # Timers of Windows may fire a tick of 15.6 ms early.
    assert 180e6 < result.latency.percentile(1.0) < 400e6
    assert result.service.percentile(1.0) > 180e6


async def test_a_server_that_goes_away_is_told_and_the_time_is_what_it_was() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        load = asyncio.create_task(loaded(server.port, duration=20.0))
        while server.stats.bytes_in < 100 * SIZE:
            await asyncio.sleep(0.01)
        await server.close(0)
        result = await load
    assert result.ended == 2
    assert result.seconds < 10
    assert re.search("2 of 2 connections ended before|2 connections ended early", verdict(result))


async def test_more_than_a_server_can_do_is_said_so() -> None:
    async def slow(conn: pe.Connection) -> None:
        async for data in conn:
            await asyncio.sleep(0.02)
            await conn.send(data)

    async with await pe.serve_tcp(slow) as server:
        result = await loaded(server.port, connections=1, rate=1000.0, duration=0.5)
    assert result.per_second < 500
    assert result.unsent > 100
    assert "Asked 1,000/s, got " in verdict(result)
    assert verdict(result).endswith("the server is saturated, and latencies include the queue.")
    assert "due and never sent" in "\n".join(table(result))


async def test_a_server_that_is_not_there_is_one_sentence(unused_tcp_port: int) -> None:
    with pytest.raises(pe.ConnectFailed, match=f"cannot connect to 127.0.0.1 port {unused_tcp_port}: "):
        await loaded(unused_tcp_port)
