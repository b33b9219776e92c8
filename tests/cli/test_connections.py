"""What the options of ``proactor-echo tcp`` do to a connection, on both event loops."""

import asyncio
import contextlib
import socket
import sys
from typing import Any

import pytest
from helpers.command_line import CommandLine
from helpers.peers import RawClient, connected, eventually, settled
from helpers.sources import Clients

import proactor_echo as pe

pytestmark = pytest.mark.parametrize("loop", ["own", "stock"])


def serve(cli: CommandLine, loop: str, client: Any, *arguments: str) -> None:
    """Serve with these options, and have the client visit."""
    cli.client = client
    assert cli.run("tcp", "--port", "0", "--loop", loop, *arguments).status == 0


def options_of_a_connection(cli: CommandLine, loop: str, *arguments: str, asked: list[tuple[int, int]]) -> list[int]:
    """Return options of the socket of a connection."""
    seen: list[int] = []

    async def look(server: pe.Server) -> None:
        async with connected(server):
            (connection,) = server.connections
            sock = connection.transport.get_extra_info("socket")
            seen.extend(sock.getsockopt(*option) for option in asked)

    serve(cli, loop, look, *arguments)
    return seen


@pytest.mark.parametrize(("arguments", "nodelay"), [([], True), (["--no-nodelay"], False)])
def test_small_writes_wait_for_nothing_unless_asked_to(
    cli: CommandLine, loop: str, arguments: list[str], nodelay: bool
) -> None:
    asked = [(socket.IPPROTO_TCP, socket.TCP_NODELAY)]
    assert [bool(value) for value in options_of_a_connection(cli, loop, *arguments, asked=asked)] == [nodelay]


@pytest.mark.parametrize(
    ("arguments", "on"), [([], True), (["--keepalive", "30,5,4"], True), (["--keepalive", "off"], False)]
)
def test_a_silent_peer_is_probed_unless_told_not_to(
    cli: CommandLine, loop: str, arguments: list[str], on: bool
) -> None:
    asked = [(socket.SOL_SOCKET, socket.SO_KEEPALIVE)]
    assert [bool(value) for value in options_of_a_connection(cli, loop, *arguments, asked=asked)] == [on]


@pytest.mark.skipif(sys.platform != "linux", reason="the names differ, and older versions of Windows do not tell")
@pytest.mark.parametrize(
    ("arguments", "times"), [([], [60, 5, 10]), (["--keepalive", "30,5,4"], [30, 5, 4])], ids=["default", "asked for"]
)
def test_it_is_probed_at_the_times_that_were_asked_for(
    cli: CommandLine, loop: str, arguments: list[str], times: list[int]
) -> None:
    names = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT")
    asked = [(socket.IPPROTO_TCP, getattr(socket, name)) for name in names]
    assert options_of_a_connection(cli, loop, *arguments, asked=asked) == times


def test_a_connection_that_is_idle_for_too_long_is_ended(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.addresses[0]) as client, asyncio.timeout(20):
            await client.send(b"ping")
            assert await client.receive_all() == b"ping"

    serve(cli, loop, client, "--idle-timeout", "0.1")


def test_more_clients_than_the_maximum_wait(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.addresses[0]) as first:
            await first.send(b"ping")
            assert await first.receive_exactly(4) == b"ping"
            async with await RawClient.connect(server.addresses[0]) as second:
                await second.send(b"pong")
                await settled(lambda: server.stats)
                assert server.stats.open == 1
                first.close()
                assert await second.receive_exactly(4) == b"pong"

    serve(cli, loop, client, "--max-connections", "1")


def test_without_a_maximum_nobody_waits(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with connected(server, 30):
            assert server.stats.open == 30

    serve(cli, loop, client, "--max-connections", "off")


def test_a_source_with_more_than_its_connections_is_refused(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with Clients(server) as to:
            await to.served()
            await to.refused()

    serve(cli, loop, client, "--max-connections-per-source", "1")


def test_a_source_that_connects_too_often_is_refused(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with Clients(server) as to:
            await to.served()
            await to.served()
            await to.refused()

    serve(cli, loop, client, "--accept-rate-per-source", "0.01/2")


@pytest.mark.parametrize("arguments", [["--deny", "127.0.0.0/8"], ["--allow", "192.0.2.0/24", "--allow", "::1"]])
def test_a_network_that_may_not_connect_is_refused(cli: CommandLine, loop: str, arguments: list[str]) -> None:
    async def client(server: pe.Server) -> None:
        async with Clients(server) as to:
            await to.refused()

    serve(cli, loop, client, *arguments)


def test_a_load_balancer_tells_who_its_client_is(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        header = pe.ProxyHeader(("203.0.113.9", 51234), ("192.0.2.1", 443))
        async with await pe.connect_tcp("127.0.0.1", server.port, send_proxy=header) as conn:
            await conn.send(b"hello")
            assert await conn.receive() == b"hello"
            assert [each.peer for each in server.connections] == ["203.0.113.9:51234"]

    serve(cli, loop, client, "--proxy-from", "192.0.2.0/24", "--proxy-from", "127.0.0.0/8")


def test_connections_above_the_rate_wait(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with Clients(server) as to:
            await to.served()
            await to.connect()
            await settled(lambda: server.stats)
            assert (server.stats.open, server.stats.refused) == (1, 0)

    serve(cli, loop, client, "--accept-rate", "0.001/1")


def test_those_that_hold_too_much_memory_are_ended(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with Clients(server) as to:
            client = await to.connect()
            await client.send(b"100000:" + bytes(9999))
            assert await client.receive_all() == b""
        assert server.stats.disconnects == {pe.DisconnectReason.BUFFER_LIMIT: 1}

    serve(cli, loop, client, "--max-buffered", "5k", "--framing", "netstring")


@pytest.mark.parametrize(
    ("arguments", "sent", "reason"),
    [
        (["--first-byte-timeout", "0.1"], b"", pe.DisconnectReason.FIRST_BYTE_TIMEOUT),
        (["--frame-timeout", "0.1"], b"5:ha", pe.DisconnectReason.FRAME_TIMEOUT),
        (["--lifetime", "0.1"], b"4:ping,", pe.DisconnectReason.LIFETIME),
        (["--min-rate", "1000,0.1"], b"5:ha", pe.DisconnectReason.MIN_RATE),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_a_deadline_ends_a_connection(
    cli: CommandLine, loop: str, arguments: list[str], sent: bytes, reason: pe.DisconnectReason
) -> None:
    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.addresses[0]) as client:
            await client.send(sent)
            assert await client.receive_all() == (sent if sent.endswith(b",") else b"")
        assert server.stats.disconnects == {reason: 1}

    serve(cli, loop, client, "--framing", "netstring", *arguments)


def test_a_client_that_does_not_take_its_answer_is_ended(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.addresses[0], receive_buffer=4096) as client:
            sending = asyncio.create_task(client.send(bytes(20_000_000)))
            await eventually(lambda: server.stats.disconnects == {pe.DisconnectReason.WRITE_TIMEOUT: 1})
            sending.cancel()  # under Wine 10 nothing ends it
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await sending

    serve(cli, loop, client, "--write-timeout", "0.2")
