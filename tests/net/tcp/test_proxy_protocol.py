"""A server behind a load balancer: whose connection it is, who may say so, and what comes behind the header."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import RawClient, eventually, iterations

import proactor_echo as pe
from proactor_echo.testing.certificates import LOCALHOST, client_context

CLIENT, SERVER = ("203.0.113.9", 51234), ("192.0.2.1", 443)
HEADER = pe.ProxyHeader(CLIENT, SERVER, tlvs=((2, b"example.com"),))
TRUSTED = pe.ProxyProtocol(["127.0.0.0/8"])


@contextlib.asynccontextmanager
async def proxies(server: pe.Server, count: int = 1) -> AsyncIterator[list[RawClient]]:
    """Connect load balancers, which have sent nothing yet."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(await RawClient.connect(server.address)) for _ in range(count)]


class Seen:
    """What a server with a handler was told of its connections."""

    def __init__(self) -> None:
        self.connections: list[pe.Connection] = []

    async def echo(self, conn: pe.Connection) -> None:
        self.connections.append(conn)
        await pe.echo(conn)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("header", [HEADER, pe.ProxyHeader(CLIENT, SERVER, version=1)], ids=["v2", "v1"])
async def test_the_client_is_whom_the_header_says(header: pe.ProxyHeader, form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form, proxy=TRUSTED) as server, proxies(server) as (proxy,):
        await proxy.send(header.encode() + b"hello")
        assert await proxy.receive_exactly(5) == b"hello"
        (conn,) = server.connections
        assert conn.peer == "203.0.113.9:51234"
        assert conn.transport_peer == pe.format_address(proxy.sock.getsockname())
        assert conn.proxied == header
        assert conn.transport.get_extra_info("peername") == proxy.sock.getsockname()


@pytest.mark.parametrize("cut", [1, 5, 14, 15, 16, 17, 28, 40])
async def test_a_header_may_come_in_pieces(cut: int) -> None:
    for header in (HEADER.encode(checksum=True), pe.ProxyHeader(CLIENT, SERVER, version=1).encode()):
        async with await pe.serve_tcp(pe.echo, proxy=TRUSTED) as server, proxies(server) as (proxy,):
            await proxy.send(header[:cut])
            await iterations(5)
            await proxy.send(header[cut:] + b"hello")
            assert await proxy.receive_exactly(5) == b"hello"


async def test_nothing_begins_before_the_header_is_complete() -> None:
    began = asyncio.Event()

    async def speaks_first(conn: pe.Connection) -> None:
        began.set()
        await conn.send(b"welcome " + conn.peer.encode())

    data = HEADER.encode()
    async with await pe.serve_tcp(speaks_first, proxy=TRUSTED) as server, proxies(server) as (proxy,):
        await proxy.send(data[:-1])
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await began.wait()
        await proxy.send(data[-1:])
        assert await proxy.receive_all() == b"welcome 203.0.113.9:51234"


@pytest.mark.parametrize("header", [pe.ProxyHeader(local=True, protocol=""), pe.ProxyHeader(version=1, protocol="")])
async def test_a_header_without_addresses_leaves_the_peer_as_it_is(header: pe.ProxyHeader) -> None:
    seen = Seen()
    async with await pe.serve_tcp(seen.echo, proxy=TRUSTED) as server, proxies(server) as (proxy,):
        await proxy.send(header.encode() + b"x")
        assert await proxy.receive_exactly(1) == b"x"
        assert seen.connections[0].peer == pe.format_address(proxy.sock.getsockname())
        assert seen.connections[0].proxied == header


async def test_a_connection_without_a_proxy_protocol_has_no_proxy() -> None:
    seen = Seen()
    async with await pe.serve_tcp(seen.echo) as server, proxies(server) as (client,):
        await client.send(b"x")
        await client.receive_exactly(1)
        assert (seen.connections[0].proxied, seen.connections[0].transport_peer) == (None, seen.connections[0].peer)


# -- tls -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
async def test_tls_comes_behind_the_header(version: Any) -> None:
    seen = Seen()
    server = await pe.serve_tcp(seen.echo, proxy=TRUSTED, ssl=pe.Tls(LOCALHOST.certfile, LOCALHOST.keyfile))
    async with server:
        header = pe.ProxyHeader(CLIENT, SERVER, version=version)
        conn = await pe.connect_tcp("127.0.0.1", server.port, ssl=client_context(LOCALHOST), send_proxy=header)
        async with conn:
            await conn.send(b"secret")
            assert await conn.receive() == b"secret"
            assert seen.connections[0].peer == "203.0.113.9:51234"
            assert seen.connections[0].tls is not None


@pytest.mark.parametrize("version", [1, 2])
async def test_a_client_may_send_its_own_addresses(version: Any) -> None:
    seen = Seen()
    async with await pe.serve_tcp(seen.echo, proxy=TRUSTED) as server:
        conn = await pe.connect_tcp("127.0.0.1", server.port, send_proxy=version)
        await conn.send(b"x")
        await conn.receive()
        assert seen.connections[0].peer == conn.local
        assert seen.connections[0].proxied is not None
        assert seen.connections[0].proxied.version == version
        await conn.close()


# -- who may ---------------------------------------------------------------------------------------------------------


async def test_a_peer_that_is_not_trusted_is_refused() -> None:
    async with await pe.serve_tcp(pe.echo, proxy=pe.ProxyProtocol(["192.0.2.0/24"])) as server:
        with contextlib.suppress(OSError):  # connecting may see the reset already
            async with proxies(server) as (client,):
                assert await ended(client)
        await eventually(lambda: server.stats.refusals == {pe.RefusalReason.UNTRUSTED: 1})


async def test_to_a_peer_that_is_served_directly_a_header_is_data() -> None:
    proxy = pe.ProxyProtocol(["192.0.2.0/24"], untrusted="direct")
    async with await pe.serve_tcp(pe.echo, proxy=proxy) as server, proxies(server) as (client,):
        await client.send(HEADER.encode())
        assert await client.receive_exactly(len(HEADER.encode())) == HEADER.encode()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "no PROXY header: it began with b'GET / HTTP/1.1"),
        (HEADER.encode()[:20], "the connection ended within its PROXY header"),
        (HEADER.encode()[:12] + b"\xff" * 4, "version and command of its PROXY header are 0xff, which is neither"),
    ],
    ids=["http", "half", "wrong"],
)
async def test_a_trusted_peer_must_send_a_header(data: bytes, sentence: str, caplog: pytest.LogCaptureFixture) -> None:
    async with await pe.serve_tcp(pe.echo, proxy=TRUSTED) as server, proxies(server) as (proxy,):
        name = pe.format_address(proxy.sock.getsockname())
        await proxy.send(data)
        proxy.send_eof()
        assert await ended(proxy)
        await eventually(lambda: server.stats.refusals == {pe.RefusalReason.PROXY_HEADER: 1})
    (record,) = caplog.records
    assert sentence in record.message
    assert record.message.startswith(name)


async def test_a_header_must_be_complete_in_time(caplog: pytest.LogCaptureFixture) -> None:
    proxy_protocol = pe.ProxyProtocol(["127.0.0.0/8"], timeout=0.05)
    async with await pe.serve_tcp(pe.echo, proxy=proxy_protocol) as server, proxies(server) as (proxy,):
        await proxy.send(HEADER.encode()[:-1])
        assert await ended(proxy)
        await eventually(lambda: server.stats.refused == 1)
    assert "its PROXY header was not complete after 0.05 s; the connection is closed" in caplog.text


async def test_a_check_whether_the_port_is_open_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with await pe.serve_tcp(pe.echo, proxy=TRUSTED) as server, proxies(server) as (proxy,):
        proxy.send_eof()
        assert await proxy.receive_all() == b""
        await eventually(lambda: server.stats.refused == 1)
    assert not caplog.records


# -- limits and closing ----------------------------------------------------------------------------------------------


async def test_the_limits_of_a_source_are_those_of_the_client() -> None:
    limits = pe.Limits(connections_per_source=1)
    async with await pe.serve_tcp(pe.echo, proxy=TRUSTED, limits=limits) as server:
        async with proxies(server, 3) as (first, again, other):
            await first.send(HEADER.encode() + b"1")
            assert await first.receive_exactly(1) == b"1"
            await again.send(HEADER.encode())
            assert await ended(again)
            await other.send(pe.ProxyHeader(("203.0.113.10", 1), SERVER).encode() + b"2")
            assert await other.receive_exactly(1) == b"2"
        await eventually(lambda: not server.connections)
        assert server.stats.refusals == {pe.RefusalReason.SOURCE_CONNECTIONS: 1}
        async with proxies(server) as (later,):
            await later.send(HEADER.encode() + b"3")
            assert await later.receive_exactly(1) == b"3"


async def test_networks_are_denied_by_the_clients_address() -> None:
    async with await pe.serve_tcp(pe.echo, proxy=TRUSTED, limits=pe.Limits(deny=["203.0.113.0/24"])) as server:
        async with proxies(server) as (proxy,):
            await proxy.send(HEADER.encode())
            assert await ended(proxy)
        assert server.stats.refusals == {pe.RefusalReason.DENIED: 1}


async def test_a_connection_without_its_header_holds_a_place() -> None:
    server = await pe.serve_tcp(pe.echo, proxy=TRUSTED, max_connections=1)
    async with server, proxies(server, 2) as (first, second):
        await second.send(HEADER.encode() + b"2")
        await first.send(HEADER.encode()[:10])
        first.close()
        assert await second.receive_exactly(1) == b"2"


async def test_closing_ends_those_whose_header_is_not_complete() -> None:
    server = await pe.serve_tcp(pe.echo, proxy=TRUSTED)
    async with proxies(server) as (proxy,):
        await proxy.send(HEADER.encode()[:10])
        await eventually(lambda: waiting_for_headers() == 1)
        await server.close()
        assert await ended(proxy)
    assert (server.stats.accepted, server.stats.refused) == (1, 1)


async def test_closing_ends_one_that_has_just_been_accepted() -> None:
    """In each iteration of the loop, before the reading has begun and after it."""
    for count in range(8):
        server = await pe.serve_tcp(pe.echo, proxy=TRUSTED)
        async with proxies(server):
            await iterations(count)
            await server.close()
        assert server.stats.accepted == server.stats.refused


def waiting_for_headers() -> int:
    return sum(task.get_name() == "read a PROXY header" for task in asyncio.all_tasks())


async def test_a_line_about_the_connection_names_both(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    server = await pe.serve_tcp(pe.echo, codec=pe.LengthCodec(max_frame_length=9), proxy=TRUSTED)
    async with server, proxies(server) as (proxy,):
        await proxy.send(HEADER.encode() + b"\xff\xff\xff\xff")
        name = pe.format_address(proxy.sock.getsockname())
        assert await ended(proxy)
    (record,) = caplog.records
    assert record.message.startswith(f"203.0.113.9:51234 via {name}: bad framing")
    assert vars(record)["via"] == name


async def ended(client: RawClient) -> bool:
    """Wait until the server ends the connection; an answer is none."""
    try:
        return await client.receive_all() == b""
    except OSError:
        return True


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"trusted": []}, ValueError, "trusted is empty"),
        ({"trusted": "10.0.0.0/8"}, TypeError, "trusted must be a list of networks"),
        ({"trusted": ["10.0.0.1/8"]}, ValueError, 'write "10.0.0.0/8"'),
        ({"versions": [3]}, ValueError, "versions must be 1, 2 or both, not [3]"),
        ({"versions": 2}, TypeError, "versions must be a list of 1 and 2, not 2"),
        ({"timeout": 0}, ValueError, "timeout must be more than 0 seconds"),
        ({"untrusted": "drop"}, ValueError, "untrusted must be"),
        ({"max_header": 15}, ValueError, "max_header must be"),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind) as caught:
        pe.ProxyProtocol(**{"trusted": ["10.0.0.0/8"]} | arguments)
    assert sentence in str(caught.value)
