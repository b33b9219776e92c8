"""A proxy without faults carries faithfully: bytes, ends of file, aborts, resets."""

import asyncio
import socket

import pytest
from helpers.peers import RawClient, eventually

import proactor_echo as pe
from proactor_echo.testing import FaultProxyFactory, TcpClientFactory, TcpServerFactory, TcpTestServer
from proactor_echo.testing.faults import Latency
from proactor_echo.testing.proxy import fault_proxy as open_fault_proxy


async def test_every_byte_of_a_large_transfer_comes_back(tcp_echo_server: TcpTestServer) -> None:
    data = bytes(range(256)) * 16_384  # 4 MiB
    async with await RawClient.connect(tcp_echo_server.address) as client, asyncio.TaskGroup() as group:
        sending = group.create_task(client.send(data))
        assert await client.receive_exactly(len(data)) == data
        await sending
        client.send_eof()
        assert await client.receive() == b""
    assert tcp_echo_server.received == tcp_echo_server.sent == data


async def test_an_end_of_file_passes_and_the_other_direction_goes_on(tcp_server_factory: TcpServerFactory) -> None:
    async def answer_at_the_end(conn: pe.Connection) -> None:
        question = b"".join([piece async for piece in conn])
        await conn.send(b"you said " + question)

    server = await tcp_server_factory(answer_at_the_end)
    async with await RawClient.connect(server.address) as client:
        await client.send(b"hello")
        client.send_eof()
        assert await client.receive_all() == b"you said hello"


async def test_a_client_that_resets_is_a_reset_for_the_server(tcp_echo_server: TcpTestServer) -> None:
    client = await RawClient.connect(tcp_echo_server.address)
    await client.send(b"x")
    await client.receive_exactly(1)
    client.reset()
    await eventually(lambda: sum(tcp_echo_server.stats.disconnects.values()))
    (reason,) = tcp_echo_server.stats.disconnects
    assert reason in (pe.DisconnectReason.PEER_RESET, pe.DisconnectReason.PEER_GONE)


async def test_a_server_that_resets_is_a_reset_for_the_client(tcp_server_factory: TcpServerFactory) -> None:
    async def reset(conn: pe.Connection) -> None:
        await conn.receive()
        conn.reset()

    server = await tcp_server_factory(reset)
    async with await RawClient.connect(server.address) as client:
        await client.send(b"x")
        with pytest.raises(ConnectionError):
            await client.receive()


async def test_connections_have_the_clients_addresses_and_their_own_bytes(tcp_echo_server: TcpTestServer) -> None:
    async with (
        await RawClient.connect(tcp_echo_server.address) as first,
        await RawClient.connect(tcp_echo_server.address) as second,
    ):
        for client, data in ((first, b"one"), (second, b"two")):
            await client.send(data)
            await client.receive_exactly(3)
        seen = {connection.peer: connection.received for connection in tcp_echo_server.connections}
        assert seen == {
            pe.format_address(first.sock.getsockname()): b"one",
            pe.format_address(second.sock.getsockname()): b"two",
        }
        assert tcp_echo_server.accepted == 2
    await tcp_echo_server.wait_for(lambda server: not server.connections)


async def test_one_connection_can_be_reset_by_hand(tcp_echo_server: TcpTestServer) -> None:
    async with (
        await RawClient.connect(tcp_echo_server.address) as first,
        await RawClient.connect(tcp_echo_server.address) as second,
    ):
        await first.send(b"1")
        await first.receive_exactly(1)
        tcp_echo_server.connections[0].reset()
        with pytest.raises(ConnectionError):
            await first.receive()
        await second.send(b"2")
        assert await second.receive_exactly(1) == b"2"


async def test_waiting_ends_when_it_has_come_true(tcp_echo_server: TcpTestServer) -> None:
    async with await RawClient.connect(tcp_echo_server.address) as client:
        await client.send(b"hello")
        await tcp_echo_server.wait_for(lambda server: server.received == b"hello")
        with pytest.raises(TimeoutError, match=r"TcpTestServer 127\.0\.0\.1:\d+: what was waited for did not happen"):
            await tcp_echo_server.wait_for(lambda server: False, timeout=0.01)


async def test_without_a_server_behind_it_the_client_is_reset(fault_proxy: FaultProxyFactory) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen; a port that was given back may be another program's by now
        proxy = await fault_proxy(nobody.getsockname())
        async with await RawClient.connect(proxy.address) as client:
            with pytest.raises(ConnectionError):
                await client.receive()


async def test_a_proxy_can_be_used_without_pytest() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await open_fault_proxy(server.addresses[0][:2], seed=7) as proxy:
        with proxy.fault(Latency(0.01)) as late:
            async with await RawClient.connect(proxy.address) as client:
                await client.send(b"x")
                assert await client.receive_exactly(1) == b"x"
        assert (proxy.seed, late.hits, proxy.faults, proxy.fault_history) == (7, 1, [], [late])


async def test_traffic_beyond_what_is_kept_is_carried_and_says_so(
    tcp_echo_server: TcpTestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proactor_echo.testing.proxy.record.LIMIT", 1000)
    async with await RawClient.connect(tcp_echo_server.address) as client:
        await client.send(bytes(900))
        assert await client.receive_exactly(900) == bytes(900)
        with pytest.raises(RuntimeError, match="no more than 1,000 are kept"):
            _ = tcp_echo_server.received


async def test_ipv6_and_addresses_as_sockets_give_them(
    tcp_server_factory: TcpServerFactory, tcp_client_factory: TcpClientFactory, fault_proxy: FaultProxyFactory
) -> None:
    async with await pe.serve_tcp(pe.echo, "::1") as server:
        for proxy in (await fault_proxy(server.addresses[0], host="::1"), await tcp_server_factory(host="::1")):
            assert proxy.host == "::1"
            conn = await tcp_client_factory(proxy)
            await conn.send(b"hello")
            assert await conn.receive() == b"hello"
            await conn.close()
