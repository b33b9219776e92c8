"""How exact the faults of time are: measured on real sockets, against the plan.

A machine under load is late, never early. So nothing may come before its time; and for how late it comes, the same work
is measured in turn with and without the fault, and the difference is compared with the plan. The lower quartile of
either counts, which other programs on the machine disturb least.
"""

import asyncio
import socket
import statistics
import sys
import time
from collections.abc import Awaitable, Callable

import pytest
from helpers.peers import RawClient

import proactor_echo as pe
from proactor_echo.testing import TcpTestServer, UdpTestServer
from proactor_echo.testing.faults import (
    Bandwidth,
    Coalesce,
    Latency,
    Reset,
    Slice,
    SlowClose,
    Stall,
    StreamFault,
    Towards,
)

#: Seconds by which a delivery may be late: a timer rounded up to a millisecond, and some iterations of the loop.
LATE = 0.005 if sys.platform != "win32" else 0.04
#: Seconds by which one may be early: what the clocks' resolution allows.
EARLY = 0.001 if sys.platform != "win32" else 0.016

Work = Callable[[], Awaitable[object]]


async def costs(seconds: float, with_fault: Work, without: Work, times: int = 6) -> None:
    """Fail unless the first takes so many seconds longer than the second."""
    measured: dict[Work, list[float]] = {with_fault: [], without: []}
    for _ in range(times):
        for work, durations in measured.items():
            started = time.perf_counter()
            await work()
            durations.append(time.perf_counter() - started)
    assert min(measured[with_fault]) >= seconds - EARLY, f"early: {min(measured[with_fault]):.4f} s, not {seconds} s"
    late, plain = (statistics.quantiles(durations, n=4)[0] for durations in measured.values())
    assert late - plain <= seconds + LATE, f"{late:.4f} s, and {plain:.4f} s without the fault, not {seconds} s more"


def under(server: TcpTestServer, fault: StreamFault, work: Work) -> Work:
    """Return ``work`` with ``fault``."""

    async def faulty() -> None:
        with server.fault(fault):
            await work()

    return faulty


def echo(client: RawClient, data: bytes) -> Work:
    """Return what sends ``data`` and waits for all of it to come back."""

    async def there_and_back() -> bytes:
        await client.send(data)
        return await client.receive_exactly(len(data))

    return there_and_back


@pytest.mark.parametrize(("towards", "times"), [("client", 1), ("server", 1), ("both", 2)])
async def test_latency_is_what_was_asked_for(tcp_echo_server: TcpTestServer, towards: Towards, times: int) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        work = echo(client, b"x")
        await costs(0.02 * times, under(tcp_echo_server, Latency(0.02, towards=towards), work), work)


async def test_jitter_spreads_over_its_range(tcp_echo_server: TcpTestServer) -> None:
    delays: list[float] = []

    async def five_times() -> None:
        async with await RawClient.connect(tcp_echo_server.address) as client:
            work = echo(client, b"x")
            for _ in range(5):
                started = time.perf_counter()
                await work()
                delays.append(time.perf_counter() - started)

    with tcp_echo_server.fault(Latency(0.03, jitter=0.02)):
        await asyncio.gather(*(five_times() for _ in range(4)))
    assert min(delays) >= 0.01 - EARLY
    assert min(delays) < 0.03 < max(delays)


async def test_latency_does_not_hold_up_what_follows(tcp_echo_server: TcpTestServer) -> None:
    async def ten_at_once() -> None:
        for _ in range(10):
            await client.send(b"x")
            await asyncio.sleep(0)
        await client.receive_exactly(10)

    async with await RawClient.connect(tcp_echo_server.address) as client:
        client.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await costs(0.05, under(tcp_echo_server, Latency(0.05), ten_at_once), ten_at_once)  # and not 0.5


async def test_bandwidth_is_what_was_asked_for(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        work = echo(client, bytes(5_000))
        await costs(0.05, under(tcp_echo_server, Bandwidth(100_000), work), work)


async def test_gaps_between_slices_are_what_was_asked_for(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        work = echo(client, b"12345")
        with_gaps, without = (under(tcp_echo_server, Slice(1, gap=gap), work) for gap in (0.01, 0.0))
        await costs(0.04, with_gaps, without)  # four gaps between five slices


async def test_a_stall_lasts_as_long_as_was_asked_for_and_comes_once(tcp_echo_server: TcpTestServer) -> None:
    async def new_client() -> None:
        async with await RawClient.connect(tcp_echo_server.address) as client:
            await echo(client, b"x")()
            await echo(client, b"x")()

    await costs(0.04, under(tcp_echo_server, Stall(0.04), new_client), new_client)


async def test_a_slow_close_takes_its_time(tcp_echo_server: TcpTestServer) -> None:
    async def new_client() -> None:
        async with await RawClient.connect(tcp_echo_server.address) as client:
            client.send_eof()
            assert await client.receive() == b""

    await costs(0.03, under(tcp_echo_server, SlowClose(0.03), new_client), new_client)


async def test_a_coalesced_write_takes_its_time(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        work = echo(client, b"x")
        await costs(0.03, under(tcp_echo_server, Coalesce(0.03), work), work)


async def test_a_reset_comes_at_its_time(tcp_echo_server: TcpTestServer) -> None:
    async def new_client() -> None:
        async with await RawClient.connect(tcp_echo_server.address) as client:
            with pytest.raises(ConnectionError):
                await client.receive()

    later, at_once = (under(tcp_echo_server, Reset(after=after), new_client) for after in (0.03, 0.0))
    await costs(0.03, later, at_once)


async def test_latency_of_datagrams_is_what_was_asked_for(udp_echo_server: UdpTestServer) -> None:
    async def there_and_back() -> None:
        await endpoint.send(b"x")
        await endpoint.receive()

    async def late() -> None:
        with udp_echo_server.fault(Latency(0.02, towards="both")):
            await there_and_back()

    async with await pe.connect_udp(*udp_echo_server.address) as endpoint:
        await costs(0.04, late, there_and_back)
