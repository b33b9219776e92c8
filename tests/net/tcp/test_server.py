"""serve_tcp: what it refuses, where it listens, what it does to each connection, and what it counts."""

import asyncio
import contextlib
import logging
import socket
import sys
import time
from pathlib import Path
from typing import Any, cast

import pytest
from helpers.network import needs_ipv6
from helpers.peers import RawClient, connected, echoes, eventually, settled
from helpers.stock import reset_by_peer

import proactor_echo as pe

# -- arguments -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "serve_tcp() needs a handler or a protocol_factory, and not both"),
        (
            {"handler": pe.echo, "protocol_factory": pe.EchoProtocol},
            "serve_tcp() needs a handler or a protocol_factory, and not both",
        ),
        ({"handler": pe.echo, "sockets": [], "port": 9000}, "a port or sockets that are bound to theirs, not both"),
        ({"handler": pe.echo, "host": "no such host.invalid"}, "no such host.invalid"),
    ],
)
async def test_arguments_that_do_not_go_together_are_refused_with_a_sentence(
    arguments: dict[str, Any], sentence: str
) -> None:
    with pytest.raises((TypeError, ValueError, pe.BindError)) as caught:
        await pe.serve_tcp(**arguments)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


# -- where it listens ----------------------------------------------------------------------------------------------


async def test_it_listens_on_loopback_and_a_free_port_unless_told_otherwise() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        ((host, port),) = server.addresses
        assert host == "127.0.0.1"
        assert port > 0
        assert repr(server) == f"<Server 127.0.0.1:{port} open=0>"


@needs_ipv6
async def test_ipv6() -> None:
    async with await pe.serve_tcp(pe.echo, "::1") as server:
        assert server.addresses[0][0] == "::1"
        assert await echoes(server.addresses[0])


@needs_ipv6
async def test_several_hosts_share_one_port() -> None:
    async with await pe.serve_tcp(pe.echo, ["127.0.0.1", "::1"]) as server:
        (v4, v6) = server.addresses
        assert v4[1] == v6[1]
        assert await echoes(v4)
        assert await echoes(v6)


@needs_ipv6
@pytest.mark.parametrize("host", [None, "::"])
async def test_every_interface_takes_ipv4_and_ipv6(host: str | None) -> None:
    async with await pe.serve_tcp(pe.echo, host) as server:
        port = server.addresses[0][1]
        assert await echoes(("127.0.0.1", port))
        assert await echoes(("::1", port, 0, 0))


@needs_ipv6
async def test_ipv6_alone_when_asked_for() -> None:
    async with await pe.serve_tcp(pe.echo, "::", options=pe.SocketOptions(ipv6_only=True)) as server:
        port = server.addresses[0][1]
        assert await echoes(("::1", port, 0, 0))
        with pytest.raises(OSError):
            await RawClient.connect(("127.0.0.1", port))


@needs_ipv6
async def test_it_knows_its_first_address_and_the_port_they_share() -> None:
    async with await pe.serve_tcp(pe.echo, ["127.0.0.1", "::1"]) as server:
        assert server.address == server.addresses[0] == ("127.0.0.1", server.port)
        assert [address[1] for address in server.addresses] == [server.port] * 2


if sys.platform != "win32":

    async def test_a_unix_socket_has_no_port(tmp_path: Path) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.bind(str(tmp_path / "s"))
        async with await pe.serve_tcp(pe.echo, sockets=[sock]) as server:
            assert cast("object", server.address) == str(tmp_path / "s")  # the type is that of the internet
            with pytest.raises(AttributeError, match="is no internet address, and has no port"):
                _ = server.port


async def test_a_second_server_on_the_same_port_is_refused_in_one_sentence() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        host, port = server.addresses[0]
        with pytest.raises(pe.BindError) as caught:
            await pe.serve_tcp(pe.echo, host, port)
        assert str(caught.value).startswith(f"cannot bind tcp {host}:{port}: ")
        assert "in use" in str(caught.value)
        assert await echoes(server.addresses[0])


async def test_a_port_can_be_had_again_at_once() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        host, port = server.addresses[0]
        assert await echoes((host, port))
    options = pe.SocketOptions(exclusive=False)  # with it, Windows may keep the port while connections are in TIME_WAIT
    async with await pe.serve_tcp(pe.echo, host, port, options=options):
        assert await echoes((host, port))


async def test_sockets_made_elsewhere_are_served_and_closed() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    addresses = [listening.getsockname(), bound.getsockname()]
    async with await pe.serve_tcp(pe.echo, sockets=[listening, bound]) as server:
        assert server.addresses == addresses
        for address in addresses:
            assert await echoes(address)
    assert listening.fileno() == bound.fileno() == -1


@pytest.mark.skipif(sys.platform == "win32", reason="asyncio on Windows has no Unix sockets")
async def test_a_unix_socket_made_elsewhere_is_served(tmp_path: Any) -> None:
    listener = socket.socket(socket.AF_UNIX)  # type: ignore[attr-defined, unused-ignore]
    listener.bind(str(tmp_path / "echo"))
    async with await pe.serve_tcp(pe.echo, sockets=[listener]) as server:
        reader, writer = await asyncio.open_unix_connection(tmp_path / "echo")  # type: ignore[attr-defined, unused-ignore]
        writer.write(b"ping")
        assert await reader.readexactly(4) == b"ping"
        (connection,) = server.connections
        assert connection.local == str(tmp_path / "echo")
        writer.close()
        await writer.wait_closed()


# -- what it does to each connection -------------------------------------------------------------------------------


#: Windows before 10 1709 does not, and Wine 8 with it.
TELLS_KEEPALIVE_TIMES = hasattr(socket, "TCP_KEEPINTVL")


async def options_seen(options: pe.SocketOptions | None) -> tuple[int, int, pe.KeepAlive | None]:
    """Return TCP_NODELAY, SO_KEEPALIVE and the keepalive times of an accepted socket."""
    async with await pe.serve_tcp(pe.echo, options=options) as server, connected(server):
        (connection,) = server.connections
        sock = connection.transport.get_extra_info("socket")
        return (
            sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY),
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE),
            pe.KeepAlive.read(sock),
        )


async def test_accepted_sockets_have_nodelay_and_keepalive() -> None:
    nodelay, keepalive, times = await options_seen(None)
    assert nodelay
    assert keepalive
    assert times == (pe.KeepAlive() if TELLS_KEEPALIVE_TIMES else None)


async def test_accepted_sockets_have_the_keepalive_that_was_asked_for() -> None:
    asked = pe.KeepAlive(idle=7, interval=3, count=4)
    _, keepalive, times = await options_seen(pe.SocketOptions(keepalive=asked))
    assert keepalive
    assert times == (asked if TELLS_KEEPALIVE_TIMES else None)


async def test_accepted_sockets_have_no_keepalive_when_it_is_off() -> None:
    _, keepalive, times = await options_seen(pe.SocketOptions(keepalive=None))
    assert not keepalive
    assert times is None


async def test_a_silent_connection_is_ended_after_the_idle_timeout() -> None:
    async with await pe.serve_tcp(pe.echo, idle_timeout=0.3) as server, connected(server, 2) as (silent, talking):
        start = asyncio.get_running_loop().time()
        ended = asyncio.create_task(silent.receive())
        while not ended.done():
            await talking.send(b"x")
            assert await talking.receive() == b"x"
        assert 0.28 < asyncio.get_running_loop().time() - start < 2
        assert await ended == b""
        assert server.stats.disconnects == {pe.DisconnectReason.IDLE_TIMEOUT: 1}
        assert server.stats.open == 1


@pytest.mark.parametrize("form", [{"handler": pe.echo}, {"protocol_factory": pe.EchoProtocol}])
async def test_what_arrived_while_the_process_stood_still_is_read_before_a_connection_counts_as_silent(
    form: dict[str, Any],
) -> None:
    """As after a stop: the time is over when the loop goes on, and its last poll has not seen what has arrived."""

    def arrive() -> None:
        client.sock.send(b"in time")
        time.sleep(0.05)  # the process stands still while it arrives, which is not at once everywhere

    loop = asyncio.get_running_loop()
    async with await pe.serve_tcp(**form, idle_timeout=0.2) as server, connected(server) as (client,):
        loop.call_later(0.01, arrive)  # due together with the idle timer, and run before it
        loop.call_soon(time.sleep, 0.3)
        assert await client.receive_exactly(7) == b"in time"


async def test_the_handler_of_a_connection_that_timed_out_gets_the_reason() -> None:
    events: list[Exception] = []

    async def handler(conn: pe.Connection) -> None:
        try:
            await conn.receive()
        except pe.Disconnected as error:
            events.append(error)
            raise

    async with await pe.serve_tcp(handler, idle_timeout=0.05) as server, connected(server) as (client,):
        assert await client.receive() == b""
        await eventually(lambda: events)
    assert isinstance(events[0], pe.Disconnected)
    assert events[0].reason is pe.DisconnectReason.IDLE_TIMEOUT


@pytest.mark.parametrize("form", [{"handler": pe.echo}, {"protocol_factory": pe.EchoProtocol}])
async def test_a_client_that_does_not_read_is_ended_after_the_idle_timeout_in_one_line(
    form: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The handler waits in send() then, and is told why, which is no failure of its own."""
    options = pe.SocketOptions(send_buffer=32768, receive_buffer=32768)
    async with (
        await pe.serve_tcp(**form, options=options, idle_timeout=0.1, close_timeout=0.1) as server,
        connected(server, receive_buffer=32768) as (client,),
    ):
        sending = asyncio.create_task(client.send(bytes(4 << 20)))
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.IDLE_TIMEOUT: 1}
        with pytest.raises(OSError):
            await sending
    assert len([r for r in caplog.records if r.levelno >= logging.INFO]) == 1


async def test_a_handler_that_waits_in_send_when_its_connection_is_aborted_has_not_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    options = pe.SocketOptions(send_buffer=32768, receive_buffer=32768)
    async with (
        await pe.serve_tcp(pe.echo, options=options) as server,
        connected(server, receive_buffer=32768) as (client,),
    ):
        sending = asyncio.create_task(client.send(bytes(4 << 20)))
        await settled(lambda: server.stats.bytes_in)
        (connection,) = server.connections
        connection.abort()
        await eventually(lambda: server.stats.disconnects)
        with pytest.raises(OSError):
            await sending
    assert server.stats.disconnects == {pe.DisconnectReason.ABORTED: 1}
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING] == []


async def test_the_peer_of_a_connection_that_was_reset_is_still_named(caplog: pytest.LogCaptureFixture) -> None:
    async with await pe.serve_tcp(pe.echo) as server, await RawClient.connect(server.addresses[0]) as client:
        name = pe.format_address(client.sock.getsockname())
        client.reset()
        await eventually(lambda: server.stats.disconnects or server.stats.accept_errors)
    assert server.stats.accept_errors or any(r.getMessage().startswith(f"{name}: ") for r in caplog.records)


# -- what it counts ------------------------------------------------------------------------------------------------


async def test_the_counters_add_up() -> None:
    async def handler(conn: pe.Connection) -> None:
        async for frame in conn:
            if frame == b"crash":
                raise RuntimeError("asked to")
            await conn.send(frame)

    async with (
        await pe.serve_tcp(handler, codec=pe.LineCodec(max_frame_length=100)) as server,
        connected(server, 5) as (leaves, resets, crashes, babbles, stays),
    ):
        for client in (leaves, resets, crashes, babbles, stays):
            await client.send(b"one\ntwo\n")
            assert await client.receive_exactly(8) == b"one\ntwo\n"
        assert server.stats.open == 5
        leaves.send_eof()
        assert await leaves.receive() == b""
        (reset,) = [c for c in server.connections if c.peer == pe.format_address(resets.sock.getsockname())]
        await reset_by_peer(reset, resets)
        await crashes.send(b"crash\n")
        await babbles.send(b"x" * 200)
        with contextlib.suppress(OSError):
            await babbles.receive_all()
        await eventually(lambda: server.stats.open == 1)
        stats = server.stats
        assert stats.accepted == 5
        assert stats.failed == 1
        assert (stats.refused, stats.accept_errors) == (0, 0)
        assert (stats.frames_in, stats.frames_out) == (11, 10)
        assert (stats.bytes_in, stats.bytes_out) == (5 * 8 + 6 + 200, 5 * 8)
        assert stats.as_dict()["disconnects"] == {
            "bad framing": 1,
            "end of file": 1,
            "handler failed": 1,
            "reset by peer": 1,
        }
        assert {connection.peer for connection in server.connections} == {pe.format_address(stays.sock.getsockname())}


async def test_a_snapshot_of_the_counters_does_not_change() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        before = server.stats
        assert await echoes(server.addresses[0])
        await eventually(lambda: server.stats.disconnects)
        assert before == pe.ServerStats()
