"""Faults of datagrams on real sockets."""

import asyncio

import pytest

import proactor_echo as pe
from proactor_echo.testing import UdpFaultProxyFactory, UdpServerFactory, UdpTestServer
from proactor_echo.testing.faults import Corrupt, Duplicate, Latency, Limit, Loss, Reorder, Truncate

COUNT = 40
NUMBERED = [b"%03d" % number for number in range(COUNT)]


async def answers(address: tuple[str, int], count: int, payloads: list[bytes] = NUMBERED) -> list[bytes]:
    """Send datagrams one after the other, and return the first ``count`` answers."""
    async with await pe.connect_udp(*address) as endpoint:
        for payload in payloads:
            await endpoint.send(payload)
        async with asyncio.timeout(10):
            return [(await endpoint.receive())[0] for _ in range(count)]


async def test_without_faults_every_datagram_comes_back_in_order(udp_echo_server: UdpTestServer) -> None:
    assert await answers(udp_echo_server.address, COUNT) == NUMBERED
    assert udp_echo_server.received == udp_echo_server.sent == NUMBERED
    assert len(udp_echo_server.clients) == 1


@pytest.mark.parametrize("payload", [b"", bytes(1472), bytes(60_000)], ids=len)
async def test_datagrams_of_any_size_pass(udp_echo_server: UdpTestServer, payload: bytes) -> None:
    assert await answers(udp_echo_server.address, 1, [payload]) == [payload]


async def test_lost_is_what_did_not_come_and_the_seed_decides(udp_server_factory: UdpServerFactory) -> None:
    async def survivors() -> list[bytes]:
        server = await udp_server_factory()
        with server.fault(Loss(probability=0.3, seed=5, towards="server")) as loss:
            await answers(server.address, 0)
            await server.wait_for(lambda server: len(server.received) + loss.hits == COUNT)
        assert 0 < loss.hits < COUNT
        return server.received

    assert await survivors() == await survivors()


async def test_duplicates_come_twice(udp_echo_server: UdpTestServer) -> None:
    with udp_echo_server.fault(Duplicate()):
        assert await answers(udp_echo_server.address, 4, [b"a", b"b"]) == [b"a", b"a", b"b", b"b"]


async def test_reordered_are_all_there_in_another_order(udp_echo_server: UdpTestServer) -> None:
    with udp_echo_server.fault(Reorder(probability=0.3, seed=5)) as reorder:
        came = await answers(udp_echo_server.address, COUNT)
    assert came != NUMBERED
    assert sorted(came) == NUMBERED
    assert reorder.hits > 0


async def test_what_waits_to_be_overtaken_leaves_when_the_fault_is_removed(udp_echo_server: UdpTestServer) -> None:
    async with await pe.connect_udp(*udp_echo_server.address) as endpoint:
        with udp_echo_server.fault(Reorder(timeout=3600)) as reorder:
            await endpoint.send(b"held")
            await udp_echo_server.wait_for(lambda server: reorder.hits == 1)
        async with asyncio.timeout(5):
            assert (await endpoint.receive())[0] == b"held"


async def test_jitter_reorders(udp_echo_server: UdpTestServer) -> None:
    with udp_echo_server.fault(Latency(0.05, jitter=0.05)):
        came = await answers(udp_echo_server.address, COUNT)
    assert sorted(came) == NUMBERED
    assert came != NUMBERED


async def test_corrupted_and_truncated(udp_echo_server: UdpTestServer) -> None:
    with udp_echo_server.fault(Truncate(4)), udp_echo_server.fault(Corrupt(1.0)):
        (came,) = await answers(udp_echo_server.address, 1, [bytes(100)])
    assert len(came) == 4
    assert 0 not in came


async def test_clients_get_their_own_answers(udp_echo_server: UdpTestServer) -> None:
    first, second = await asyncio.gather(
        answers(udp_echo_server.address, 10, [b"a"] * 10), answers(udp_echo_server.address, 10, [b"b"] * 10)
    )
    assert (first, second) == ([b"a"] * 10, [b"b"] * 10)


async def test_a_server_that_is_not_there_harms_nobody(udp_fault_proxy: UdpFaultProxyFactory) -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        nobody = server.addresses[0][:2]
    proxy = await udp_fault_proxy(nobody)
    await answers(proxy.address, 0)
    await proxy.wait_for(lambda server: len(server.received) == COUNT)


async def test_a_fault_of_connections_is_refused(udp_echo_server: UdpTestServer) -> None:
    with pytest.raises(TypeError, match="fault must be a DatagramFault, not Limit"):
        udp_echo_server.fault(Limit(1))  # type: ignore[arg-type]
