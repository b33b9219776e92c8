"""UDP endpoints: what is sent arrives as it was, and what does not arrive is counted."""

import array
import asyncio
import contextlib
import random
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from helpers.peers import eventually, iterations, soon

import proactor_echo as pe

SIZES = [0, 1, 1472, 65507]


@pytest_asyncio.fixture
async def echo() -> AsyncIterator[pe.UdpServer]:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        yield server


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[socket.socket]:
    """A datagram socket of nobody's loop; it sends at once and never blocks on loopback."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


@pytest.mark.parametrize("size", SIZES)
async def test_datagrams_of_every_size_are_echoed(echo: pe.UdpServer, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with await pe.bind_udp() as endpoint:
        await endpoint.send(data, echo.addresses[0])
        assert await soon(endpoint) == (data, echo.addresses[0])
        assert endpoint.stats == pe.DatagramStats(1, 1, size, size)
    await eventually(lambda: echo.stats == pe.DatagramStats(1, 1, size, size))


@pytest.mark.parametrize("size", SIZES)
async def test_a_connected_endpoint_needs_no_address(echo: pe.UdpServer, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with await pe.connect_udp(*echo.addresses[0]) as endpoint:
        assert endpoint.peer == echo.addresses[0]
        await endpoint.send(data)
        await endpoint.send(data, echo.addresses[0])
        assert await soon(endpoint) == (data, echo.addresses[0])
        assert await soon(endpoint) == (data, echo.addresses[0])


async def test_an_empty_datagram_is_answered_by_exactly_one_empty_datagram(
    echo: pe.UdpServer, peer: socket.socket
) -> None:
    peer.sendto(b"", echo.addresses[0])
    peer.sendto(b"end", echo.addresses[0])
    await eventually(lambda: echo.stats.datagrams_out == 2)
    peer.setblocking(True)
    peer.settimeout(5)
    assert [peer.recv(10), peer.recv(10)] == [b"", b"end"]


@pytest.mark.parametrize("kind", [bytearray, memoryview, lambda data: memoryview(array.array("H", data))])
async def test_payloads_of_every_bytes_type_are_sent(echo: pe.UdpServer, kind: Any) -> None:
    async with await pe.connect_udp(*echo.addresses[0]) as endpoint:
        await endpoint.send(kind(b"abcd"))
        data, _ = await soon(endpoint)
        assert data == b"abcd"
        assert type(data) is bytes
        assert endpoint.stats.bytes_out == 4


@pytest.mark.parametrize("size", [65508, 100_000])
async def test_a_datagram_that_is_too_long_fails_at_once_with_one_clear_error(echo: pe.UdpServer, size: int) -> None:
    async with await pe.bind_udp() as endpoint, await pe.connect_udp(*echo.addresses[0]) as connected:
        for send in (endpoint.send(bytes(size), echo.addresses[0]), connected.send(bytes(size))):
            with pytest.raises(
                pe.DatagramTooLong, match=f"^a datagram holds at most 65507 bytes, not {size}$"
            ) as caught:
                await send
            assert (caught.value.length, caught.value.limit) == (size, 65507)
        await endpoint.send(b"fits", echo.addresses[0])
        assert (await soon(endpoint))[0] == b"fits"
        assert endpoint.stats.datagrams_out == 1


async def test_too_long_is_counted_in_bytes_whatever_the_items_of_a_memoryview_are(echo: pe.UdpServer) -> None:
    async with await pe.connect_udp(*echo.addresses[0]) as endpoint:
        with pytest.raises(pe.DatagramTooLong):
            await endpoint.send(memoryview(array.array("I", [0] * 20_000)))


async def test_what_does_not_fit_the_queue_is_dropped_and_counted_exactly(peer: socket.socket) -> None:
    async with await pe.bind_udp(queue=10) as endpoint:
        await iterations(2)
        sent = 0
        while sent < 500:
            for _ in range(20):  # few enough for the system's buffer
                peer.sendto(sent.to_bytes(2, "big"), endpoint.address)
                sent += 1
            await eventually(lambda sent=sent: endpoint.stats.datagrams_in == sent)  # type: ignore[misc]
        assert endpoint.stats.dropped == 490
        received = [(await endpoint.receive())[0] for _ in range(10)]
        assert received == [n.to_bytes(2, "big") for n in range(10)]
        peer.sendto(b"room again", endpoint.address)
        assert (await soon(endpoint))[0] == b"room again"
        assert endpoint.stats.dropped == 490


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what the kernel dropped")
async def test_a_flood_is_received_or_dropped_here_or_dropped_by_the_kernel(peer: socket.socket) -> None:
    options = pe.SocketOptions(receive_buffer=4096)
    async with await pe.bind_udp(queue=100, options=options) as endpoint:
        for _ in range(20):
            for _ in range(100):
                peer.sendto(bytes(100), endpoint.address)
            await iterations(3)
        port = endpoint.address[1]
        await eventually(lambda: endpoint.stats.datagrams_in + dropped_by_kernel(port) == 2000)
        assert dropped_by_kernel(port) > 0
        assert endpoint.stats.dropped == endpoint.stats.datagrams_in - 100


def dropped_by_kernel(port: int) -> int:
    with open("/proc/net/udp") as table:
        (row,) = [line.split() for line in table if line.split()[1].endswith(f":{port:04X}")]
    return int(row[-1])


async def test_a_flood_does_not_keep_other_tasks_from_running(peer: socket.socket) -> None:
    """Receives that complete at once follow each other without the loop ever turning, unless somebody sees to it."""
    async with await pe.bind_udp() as endpoint:
        ticks = 0

        def flood() -> None:
            nonlocal ticks
            ticks += 1
            for _ in range(50):
                peer.sendto(b"x", endpoint.address)

        async with asyncio.timeout(20):
            while endpoint.stats.datagrams_in < 3000:
                flood()
                await asyncio.sleep(0)
        assert ticks >= 60


async def test_a_task_that_only_sends_does_not_keep_other_tasks_from_running(peer: socket.socket) -> None:
    async with await pe.bind_udp() as endpoint:

        async def talk() -> None:
            while True:
                await endpoint.send(b"x", peer.getsockname())

        talking = asyncio.create_task(talk())
        await iterations(50)
        talking.cancel()
        await asyncio.wait([talking])


@pytest.mark.parametrize(
    ("oversize", "expected"), [("truncate", [b"12345", b"12345", b"123"]), ("drop", [b"12345", b"123"])]
)
async def test_a_datagram_over_the_limit_is_cut_or_dropped_and_counted(
    peer: socket.socket, oversize: Any, expected: list[bytes]
) -> None:
    async with await pe.bind_udp(max_datagram=5, oversize=oversize) as endpoint:
        for data in (b"123456", b"12345", b"123"):
            peer.sendto(data, endpoint.address)
        assert [(await soon(endpoint))[0] for _ in expected] == expected
        assert endpoint.stats.oversize == 1
        assert endpoint.stats.datagrams_in == 3
        assert endpoint.stats.bytes_in == 14


async def test_async_for_ends_when_the_endpoint_is_closed(peer: socket.socket) -> None:
    endpoint = await pe.bind_udp()
    peer.sendto(b"one", endpoint.address)
    peer.sendto(b"two", endpoint.address)
    received = []
    async for data, addr in endpoint:
        assert addr == peer.getsockname()
        received.append(data)
        if len(received) == 2:
            closing = asyncio.create_task(endpoint.close())
    await closing
    assert received == [b"one", b"two"]


async def test_what_was_received_before_closing_can_still_be_taken(peer: socket.socket) -> None:
    endpoint = await pe.bind_udp()
    peer.sendto(b"one", endpoint.address)
    await eventually(lambda: endpoint.stats.datagrams_in)
    await endpoint.close()
    assert (await endpoint.receive())[0] == b"one"
    for _ in range(2):
        with pytest.raises(pe.EndOfStream):
            await endpoint.receive()
    with pytest.raises(pe.ProtocolStateError, match="closed"):
        await endpoint.send(b"x", peer.getsockname())


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_waiting_receive_ends_with_the_endpoint(how: str) -> None:
    endpoint = await pe.bind_udp()
    waiting = asyncio.create_task(endpoint.receive())
    await iterations(3)
    if how == "abort":
        endpoint.abort()
        endpoint.abort()
    else:
        await endpoint.close()
    with pytest.raises(pe.EndOfStream):
        await waiting
    await endpoint.close()


async def test_two_tasks_cannot_receive_at_once(peer: socket.socket) -> None:
    async with await pe.bind_udp() as endpoint:
        first = asyncio.create_task(endpoint.receive())
        await iterations(3)
        with pytest.raises(pe.ProtocolStateError, match="another task is already receiving"):
            await endpoint.receive()
        peer.sendto(b"yours", endpoint.address)
        assert (await first)[0] == b"yours"


@pytest.mark.parametrize("count", range(1, 6))
async def test_a_cancelled_receive_took_no_datagram(peer: socket.socket, count: int) -> None:
    async with await pe.bind_udp() as endpoint:
        received: list[bytes] = []
        for number in range(30):
            peer.sendto(bytes([number]), endpoint.address)
        async with asyncio.timeout(10):
            while len(received) < 30:
                task = asyncio.create_task(endpoint.receive())
                await iterations(count)
                task.cancel()
                await asyncio.wait([task])
                if not task.cancelled():
                    received.append(task.result()[0])
        assert received == [bytes([number]) for number in range(30)]


async def test_one_can_receive_right_after_cancelling_the_task_that_did(peer: socket.socket) -> None:
    async with await pe.bind_udp() as endpoint:
        task = asyncio.create_task(endpoint.receive())
        await iterations(3)
        task.cancel()  # and not waited for
        second = asyncio.create_task(soon(endpoint))
        await iterations(3)
        peer.sendto(b"mine", endpoint.address)
        assert (await second)[0] == b"mine"


async def test_many_endpoints_at_once(echo: pe.UdpServer) -> None:
    async with contextlib.AsyncExitStack() as stack:
        endpoints = [await stack.enter_async_context(await pe.bind_udp()) for _ in range(100)]
        for number, endpoint in enumerate(endpoints):
            await endpoint.send(number.to_bytes(2, "big"), echo.addresses[0])
        for number, endpoint in enumerate(endpoints):
            assert (await soon(endpoint))[0] == number.to_bytes(2, "big")
        assert echo.stats.datagrams_in == 100


@pytest.mark.parametrize("options", [{"queue": 0}, {"max_datagram": 0}, {"max_datagram": 65508}, {"oversize": "cut"}])
async def test_options_that_make_no_sense_are_refused_and_leave_no_socket(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        await pe.bind_udp(**options)
    with pytest.raises(ValueError, match=name):
        await pe.connect_udp("127.0.0.1", 9, **options)


async def test_a_factory_that_fails_leaves_no_socket() -> None:
    def factory() -> pe.DatagramHandler:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await pe.serve_udp(factory)


async def test_a_server_and_an_endpoint_know_their_address_and_port() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.bind_udp() as endpoint:
        for bound in (server, endpoint):
            assert bound.address == bound.addresses[0] == ("127.0.0.1", bound.port)
