"""Faults of TCP connections on real sockets, switched on and off while the server runs."""

import asyncio
from collections.abc import Callable

import pytest
from helpers.peers import RawClient
from helpers.tls import client_context, server_context

import proactor_echo as pe
from proactor_echo.testing import TcpServerFactory, TcpTestServer
from proactor_echo.testing.faults import (
    Coalesce,
    Corrupt,
    HalfClose,
    Latency,
    Limit,
    Loss,
    Refuse,
    Reset,
    Silent,
    Slice,
    SlowClose,
    Stall,
)


async def silent(client: RawClient, seconds: float = 0.05) -> bool:
    try:
        async with asyncio.timeout(seconds):
            await client.receive()
    except TimeoutError:
        return True
    return False


def got(count: int) -> Callable[[TcpTestServer], bool]:
    return lambda server: len(server.received) == count


async def test_a_fault_ends_with_its_block_on_a_connection_that_is_open(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        await client.send(b"before")
        assert await client.receive_exactly(6) == b"before"
        with tcp_echo_server.fault(Corrupt(1.0)) as corrupt:
            await client.send(b"during")
            assert await client.receive_exactly(6) != b"during"
        await client.send(b"after")
        assert await client.receive_exactly(5) == b"after"
        assert corrupt.hits == 1


async def test_slices_arrive_one_by_one(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        with tcp_echo_server.fault(Slice(2, gap=0.02)):
            await client.send(b"abcde")
            assert [await client.receive() for _ in range(3)] == [b"ab", b"cd", b"e"]


async def test_coalesced_writes_arrive_in_one(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        with tcp_echo_server.fault(Coalesce(0.2)):
            for number in range(1, 4):
                await client.send(b"%d" % number)
                await tcp_echo_server.wait_for(got(number))
            assert await client.receive() == b"123"


async def test_a_limit_closes_in_good_order(tcp_echo_server: TcpTestServer) -> None:
    with tcp_echo_server.fault(Limit(5)):
        async with await RawClient.connect(tcp_echo_server.address) as client:
            await client.send(b"hello, world")
            assert await client.receive_all() == b"hello"


@pytest.mark.parametrize("fault", [Reset(), Reset(after=0.01), Reset(3, towards="server")], ids=str)
async def test_a_reset_is_an_error_for_the_client(tcp_echo_server: TcpTestServer, fault: Reset) -> None:
    with tcp_echo_server.fault(fault):
        async with await RawClient.connect(tcp_echo_server.address) as client:
            with pytest.raises(ConnectionError):  # noqa: PT012 (either may be the first to meet it)
                await client.send(b"hello")
                await client.receive_all()


async def test_silence_is_no_answer_and_no_end_and_nothing_lost_on_the_way_there(
    tcp_echo_server: TcpTestServer,
) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        with tcp_echo_server.fault(Silent()):
            await client.send(b"hello")
            client.send_eof()
            await tcp_echo_server.wait_for(lambda server: server.received == b"hello")
            assert await silent(client)
        assert await client.receive() == b""  # the end, which was due meanwhile


async def test_refused_is_refused_from_the_first_moment_to_the_last(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as before:
        await before.send(b"x")
        assert await before.receive_exactly(1) == b"x"
        for _ in range(3):
            with tcp_echo_server.fault(Refuse()), pytest.raises(OSError):
                await RawClient.connect(tcp_echo_server.address)
            async with await RawClient.connect(tcp_echo_server.address) as after:
                await after.send(b"x")
                assert await after.receive_exactly(1) == b"x"
        await before.send(b"still here")
        assert await before.receive_exactly(10) == b"still here"


async def test_two_refusals_end_with_the_later(tcp_echo_server: TcpTestServer) -> None:
    first, second = tcp_echo_server.fault(Refuse()), tcp_echo_server.fault(Refuse())
    first.remove()
    with pytest.raises(OSError):
        await RawClient.connect(tcp_echo_server.address)
    second.remove()
    (await RawClient.connect(tcp_echo_server.address)).close()


async def test_a_half_close_ends_one_direction_alone(tcp_echo_server: TcpTestServer) -> None:
    with tcp_echo_server.fault(HalfClose(2)):
        async with await RawClient.connect(tcp_echo_server.address) as client:
            await client.send(b"hello")
            assert await client.receive_all() == b"he"
            await client.send(b", world")
            await tcp_echo_server.wait_for(lambda server: server.received == b"hello, world")


async def test_a_slow_close_keeps_the_client_waiting(tcp_echo_server: TcpTestServer) -> None:
    with tcp_echo_server.fault(SlowClose(60)):
        async with await RawClient.connect(tcp_echo_server.address) as client:
            await client.send(b"hello")
            client.send_eof()
            assert await client.receive_exactly(5) == b"hello"
            assert await silent(client)


async def test_what_a_stall_holds_back_comes_when_it_is_removed(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        with tcp_echo_server.fault(Stall(after_bytes=2)):
            await client.send(b"hello")
            assert await client.receive_exactly(2) == b"he"
            assert await silent(client)
        assert await client.receive_exactly(3) == b"llo"


async def test_a_fault_towards_the_server_changes_what_the_server_gets(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        with tcp_echo_server.fault(Corrupt(1.0, towards="server")):
            await client.send(b"hello")
            echo = await client.receive_exactly(5)
        assert tcp_echo_server.received == echo != b"hello"


async def test_the_same_seed_hits_the_same_connections_in_the_same_way(tcp_server_factory: TcpServerFactory) -> None:
    async def outcomes() -> list[bytes]:
        server = await tcp_server_factory()
        came = []
        with server.fault(Limit((0, 20), probability=0.5, seed=42)) as limit:
            for _ in range(12):
                async with await RawClient.connect(server.address) as client:
                    await client.send(bytes(20))
                    client.send_eof()
                    came.append(await client.receive_all())
        assert 0 < limit.hits < 12
        return came

    assert await outcomes() == await outcomes()


async def test_faults_work_together(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        with tcp_echo_server.fault(Latency(0.01, jitter=0.005)), tcp_echo_server.fault(Slice((1, 3), gap=0.001)):
            await client.send(b"the quick brown fox")
            assert await client.receive_exactly(19) == b"the quick brown fox"


async def test_faults_work_below_tls(tcp_server_factory: TcpServerFactory) -> None:
    server = await tcp_server_factory(ssl=server_context())
    with server.fault(Slice((1, 7), gap=0)):
        reader, writer = await asyncio.open_connection(*server.address, ssl=client_context())
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
    assert b"secret" not in server.received
    writer.transport.abort()


async def test_a_fault_of_datagrams_is_refused(tcp_echo_server: TcpTestServer) -> None:
    with pytest.raises(TypeError, match="fault must be a StreamFault, not Loss"):
        tcp_echo_server.fault(Loss())  # type: ignore[arg-type]


async def test_a_client_that_reconnects_survives_resets(tcp_echo_server: TcpTestServer) -> None:
    with tcp_echo_server.fault(Reset(after_bytes=(0, 40), seed=3)):
        done = tries = 0
        while done < 5:
            tries += 1
            conn = await pe.connect_tcp(*tcp_echo_server.address)
            try:
                while done < 5:
                    await conn.send(b"%010d" % done)
                    answer = b""
                    while len(answer) < 10:
                        answer += await conn.receive()
                    assert answer == b"%010d" % done
                    done += 1
            except (pe.Disconnected, pe.EndOfStream):
                pass
            finally:
                conn.abort()
                await conn.wait_closed()
    assert tries > 1
