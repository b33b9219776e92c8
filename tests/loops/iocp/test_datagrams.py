"""Rows of the defect table: UDP on the stock ProactorEventLoop and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import socket
import sys
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

import tracemalloc  # PyPy has none
from asyncio import proactor_events

from helpers.recording import Bench
from helpers.windows_rows import DATAGRAMS_MENDED, bench, on_each, run, within

from proactor_echo.loops import datagram
from proactor_echo.loops.iocp import datagram as iocp_udp
from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.sockaddr import unpack_address


class Endpoint(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.paused = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.address = transport.get_extra_info("sockname")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(None)


async def bind(host: str = "127.0.0.1") -> Endpoint:
    _, endpoint = await asyncio.get_running_loop().create_datagram_endpoint(Endpoint, (host, 0))
    return endpoint


async def close(*endpoints: Endpoint) -> None:
    for endpoint in endpoints:
        endpoint.transport.abort()
        await asyncio.wait([endpoint.lost], timeout=1)


def fail_pending_receives(endpoint: Endpoint) -> None:
    """What an ICMP message does to a receive, done by hand: Linux delivers none to an unconnected socket."""
    assert winapi.CancelIoEx(endpoint.transport.get_extra_info("socket").fileno(), None)


# -- row 4 -----------------------------------------------------------------------------------------------------------


@on_each
def test_an_endpoint_hears_after_a_receive_failed(kind: str) -> None:
    async def main() -> tuple[int, bool]:
        here, there = await bind(), await bind()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        fail_pending_receives(here)
        assert isinstance(await here.errors.get(), ConnectionResetError)
        there.transport.sendto(b"anybody?", here.address)
        heard = await within(0.5, here.received.get())
        errors = 1 + here.errors.qsize()
        await close(here, there)
        return errors, heard is not None

    assert run(bench(kind), main()) == (1, kind == "ours" or DATAGRAMS_MENDED)


# -- row 5 -----------------------------------------------------------------------------------------------------------


@on_each
def test_a_send_that_fails_does_not_strand_those_behind_it(kind: str) -> None:
    async def main() -> tuple[int, int, bool]:
        here, there = await bind(), await bind()
        here.transport.set_write_buffer_limits(high=1)
        here.transport.sendto(b"before", there.address)
        here.transport.sendto(b"x" * 70_000, there.address)
        for _ in range(5):
            here.transport.sendto(b"after", there.address)
        assert isinstance(await here.errors.get(), OSError)
        count = 0
        while await within(0.3, there.received.get()):
            count += 1
        result = count, here.transport.get_write_buffer_size(), here.paused
        await close(here, there)
        return result

    count, left, paused = run(bench(kind), main())
    if kind == "ours" or DATAGRAMS_MENDED:
        assert (count, left, paused) == (6, 0, False)
    else:
        assert count < 6
        assert left > 0
        assert paused


# -- row 6 -----------------------------------------------------------------------------------------------------------


@on_each
def test_close_sends_what_is_queued_and_then_ends(kind: str) -> None:
    async def main() -> tuple[int, bool]:
        here, there = await bind(), await bind()
        for _ in range(5):
            here.transport.sendto(b"queued", there.address)
        here.transport.close()
        await asyncio.wait([here.lost], timeout=0.5)
        ended = here.lost.done()
        count = 0
        while await within(0.2, there.received.get()):
            count += 1
        await close(there)
        return count, ended

    count, ended = run(bench(kind), main())
    right = kind == "ours" or DATAGRAMS_MENDED
    assert ended == right
    assert count == 5 if right else count < 5


# -- row 7 -----------------------------------------------------------------------------------------------------------


@on_each
def test_the_queue_counts_to_zero(kind: str) -> None:
    async def main() -> int:
        here, there = await bind(), await bind()
        for _ in range(10):
            here.transport.sendto(b"counted", there.address)
        for _ in range(10):
            await there.received.get()
        await asyncio.sleep(0)
        size: int = here.transport.get_write_buffer_size()
        await close(here, there)
        return size

    stock: Any = proactor_events
    source = inspect.getsource(stock._ProactorDatagramTransport)
    adds, takes = source.count("_buffer_size += len(data) + "), source.count("_buffer_size -= len(data) + ")
    leaks = kind == "stock" and adds > takes  # gh-135444, some releases of 3.13
    assert run(bench(kind), main()) == (80 if leaks else 0)


# -- row 9 -----------------------------------------------------------------------------------------------------------


@on_each
def test_a_datagram_costs_its_own_size(kind: str) -> None:
    async def main() -> int:
        here, there = await bind(), await bind()
        there.transport.sendto(b"warm", here.address)
        await here.received.get()
        tracemalloc.start()
        try:
            there.transport.sendto(b"x" * 100, here.address)
            await here.received.get()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await close(here, there)
        return peak

    cost = run(bench(kind), main())
    assert cost < 16 * 1024 if kind == "ours" else cost >= 256 * 1024, cost


# -- the engine itself -----------------------------------------------------------------------------------------------


def test_a_burst_arrives_whole_and_in_order(ours: Bench) -> None:
    async def main() -> None:
        here, there = await bind(), await bind()
        here.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        for i in range(200):
            there.transport.sendto(b"%d" % i, here.address)
        assert [(await here.received.get())[0] for _ in range(200)] == [b"%d" % i for i in range(200)]
        await close(here, there)

    run(ours, main())


def test_ipv6_sources_are_given_as_the_socket_module_gives_them(ours: Bench) -> None:
    async def main() -> None:
        here, there = await bind("::1"), await bind("::1")
        there.transport.sendto(b"six", here.address)
        assert await here.received.get() == (b"six", there.address)
        await close(here, there)

    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.bind(("::1", 0))
        run(ours, main())
        return
    pytest.skip("this machine has no IPv6")


@pytest.mark.parametrize(
    ("raw", "address"),
    [
        ("0200 2328 7f000001 0000000000000000", ("127.0.0.1", 9000)),
        ("1700 2328 00000007 20010db8000000000000000000000001 0c000000", ("2001:db8::1", 9000, 7, 12)),
    ],
)
def test_a_sockaddr_is_read(raw: str, address: Any) -> None:
    assert unpack_address(bytes.fromhex(raw)) == address


def test_a_socket_that_only_fails_does_not_keep_the_loop_busy(ours: Bench) -> None:
    async def main() -> int:
        here = await bind()
        loop = asyncio.get_running_loop()
        iterations = 0
        done = loop.create_future()
        loop.call_later(0.15, done.set_result, None)
        while not done.done():
            iterations += 1
            with contextlib.suppress(OSError):
                winapi.CancelIoEx(here.transport.get_extra_info("socket").fileno(), None)
            await asyncio.sleep(0)
        told = here.errors.qsize()
        await close(here)
        assert told < iterations
        return told

    assert run(ours, main()) <= 3 * datagram.ERRORS_IN_A_ROW


def test_closing_has_every_receive_back(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        before = loop._proactor.pending
        here = await bind()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert loop._proactor.pending == before + iocp_udp.OUTSTANDING
        here.transport.close()
        await here.lost
        async with asyncio.timeout(5):
            while loop._proactor.pending != before:
                await asyncio.sleep(0)

    run(ours, main())
