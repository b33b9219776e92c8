"""connect_tcp: one address, and one sentence when it does not work."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from helpers.network import Network, refusing_port
from helpers.peers import eventually

import proactor_echo as pe


@pytest_asyncio.fixture
async def server() -> AsyncIterator[pe.Server]:
    async with await pe.serve_tcp(pe.echo, codec=pe.LengthCodec()) as server:
        yield server


async def failure(host: str, port: int, **options: object) -> pe.ConnectFailed:
    with pytest.raises(pe.ConnectFailed) as caught:
        async with asyncio.timeout(10):
            await pe.connect_tcp(host, port, **options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
    return caught.value


async def test_it_connects_and_frames_come_back(server: pe.Server) -> None:
    async with await pe.connect_tcp(*server.addresses[0], codec=pe.LengthCodec()) as conn:
        assert conn.state.value == "open"
        assert conn.peer == pe.format_address(server.addresses[0])
        await conn.send(b"hello")
        assert await conn.receive() == b"hello"
    assert conn.state.value == "closed"


async def test_socket_options_are_applied(server: pe.Server) -> None:
    options = pe.SocketOptions(nodelay=True, keepalive=pe.KeepAlive(), receive_buffer=70_000)
    async with await pe.connect_tcp(*server.addresses[0], options=options) as conn:
        sock = conn.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) in (70_000, 140_000)  # Linux doubles it


async def test_limits_reach_the_connection(server: pe.Server) -> None:
    async with await pe.connect_tcp(*server.addresses[0], write_limit=(3000, 1000)) as conn:
        assert conn.transport.get_write_buffer_limits() == (1000, 3000)


@pytest.mark.parametrize(
    "options",
    [
        {"write_limit": (1, 2)},
        {"read_limit": -1},
        {"close_timeout": 0},
        {"open_timeout": -1},
        {"happy_eyeballs_delay": float("nan")},
    ],
)
async def test_limits_that_make_no_sense_are_refused_before_anybody_is_bothered(
    options: dict[str, object], network: Network
) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        await pe.connect_tcp("127.0.0.1", 9, **options)  # type: ignore[arg-type]
    assert network.tried == []


async def test_refused_is_one_sentence() -> None:
    with refusing_port() as port:
        error = await failure("127.0.0.1", port)
    assert str(error).startswith(f"cannot connect to 127.0.0.1:{port}: refused (")
    assert str(error).count(str(port)) == 1
    (only,) = error.errors
    assert isinstance(only, OSError)
    assert error.errno == only.errno
    assert error.__cause__ is only


async def test_no_way_there_is_one_sentence() -> None:
    error = await failure("255.255.255.255", 9)
    assert str(error).startswith("cannot connect to 255.255.255.255:9: ")
    assert len(error.errors) == 1


async def test_an_unknown_host_is_one_sentence(network: Network) -> None:
    network.names["nowhere.example"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    error = await failure("nowhere.example", 9)
    assert str(error) == "unknown host 'nowhere.example': no address was found for it"
    assert error.errors == []


async def test_a_name_without_addresses_is_one_sentence(network: Network) -> None:
    network.names["empty.example"] = []
    error = await failure("empty.example", 9)
    assert "empty.example" in str(error)
    assert error.errors == []


@pytest.mark.parametrize(
    ("host", "port", "words"),
    [
        ("", 9, "host is empty"),
        ("fe80::1", 9, "exists on every interface"),
        ("fe80::1%nosuchinterface", 9, "no network interface named 'nosuchinterface'"),
    ],
)
async def test_an_address_that_cannot_be_meant_is_one_sentence(host: str, port: int, words: str) -> None:
    assert words in str(await failure(host, port))


async def test_a_silent_host_is_given_up_after_open_timeout(network: Network) -> None:
    network.silent.add(("127.0.0.1", 9))
    error = await failure("127.0.0.1", 9, open_timeout=0.05)
    assert str(error) == "cannot connect to 127.0.0.1:9: no answer within 0.05 s"
    assert [type(each) for each in error.errors] == [TimeoutError]
    assert network.open_sockets == []


async def test_a_silent_name_server_is_given_up_after_open_timeout(
    network: Network, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop = asyncio.get_running_loop()

    async def silent(*args: object, **options: object) -> None:
        await loop.create_future()

    monkeypatch.setattr(loop, "getaddrinfo", silent)
    error = await failure("slow.example", 9, open_timeout=0.05)
    assert str(error) == "cannot connect to slow.example:9: its address was not found within 0.05 s"
    assert error.errors == []


@pytest.mark.skipif(sys.platform == "win32", reason="Windows refuses when the backlog is full; POSIX stays silent")
async def test_a_listener_that_takes_nobody_is_given_up_after_open_timeout() -> None:
    with socket.socket() as listener, socket.socket() as first, socket.socket() as second:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex(listener.getsockname())
        error = await failure(*listener.getsockname(), open_timeout=0.05)
        assert "no answer within 0.05 s" in str(error)


async def test_without_a_time_limit_it_waits(network: Network) -> None:
    network.silent.add(("127.0.0.1", 9))
    connecting = asyncio.create_task(pe.connect_tcp("127.0.0.1", 9, open_timeout=None))
    await eventually(lambda: network.tried)
    assert not connecting.done()
    connecting.cancel()
    await asyncio.wait([connecting])
    assert network.open_sockets == []


async def test_it_connects_from_the_local_address_it_gets(server: pe.Server) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    async with await pe.connect_tcp(*server.addresses[0], local_address=("127.0.0.1", port)) as conn:
        assert conn.local == f"127.0.0.1:{port}"
        await eventually(lambda: server.connections)
        assert {each.peer for each in server.connections} == {conn.local}


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has 127.0.0.1 alone of 127.0.0.0/8")
async def test_the_first_address_of_a_local_name_is_the_one_it_connects_from(
    server: pe.Server, network: Network
) -> None:
    network.names["here.example"] = [("127.0.0.3", 0), ("127.0.0.2", 0)]
    async with await pe.connect_tcp(*server.addresses[0], local_address=("here.example", 0)) as conn:
        assert conn.local.startswith("127.0.0.3:")


@pytest.mark.parametrize(
    ("local", "words"),
    [
        (("192.0.2.7", 0), "from 192.0.2.7:0"),
        (("::1", 0), "it has no address of the same family as [::1]:0"),
        (("", 0), "host is empty"),
    ],
)
async def test_a_local_address_that_will_not_do_is_one_sentence(
    server: pe.Server, local: tuple[str, int], words: str
) -> None:
    error = await failure(*server.addresses[0], local_address=local)
    assert words in str(error)


async def test_a_local_port_that_is_taken_is_one_sentence(server: pe.Server) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()
        error = await failure(*server.addresses[0], local_address=taken)
        assert f"from 127.0.0.1:{taken[1]}" in str(error)


@pytest.mark.parametrize("host", ["::1", "[::1]"])
async def test_ipv6(host: str) -> None:
    try:
        server = await pe.serve_tcp(pe.echo, "::1")
    except pe.BindError:
        pytest.skip("this system has no IPv6")
    async with server, await pe.connect_tcp(host, server.addresses[0][1]) as conn:
        await conn.send(b"six")
        assert await conn.receive() == b"six"
        assert conn.peer == f"[::1]:{server.addresses[0][1]}"
    error = await failure(host, server.addresses[0][1])
    assert str(error).startswith(f"cannot connect to [::1]:{server.addresses[0][1]}: refused")


async def test_a_peer_that_ends_at_once_is_a_connection_all_the_same() -> None:
    async def leave(conn: pe.Connection) -> None:
        pass

    async with await pe.serve_tcp(leave) as server, await pe.connect_tcp(*server.addresses[0]) as conn:
        assert [frame async for frame in conn] == []


@pytest.mark.parametrize("count", range(1, 16))
async def test_cancelled_after_any_number_of_iterations_it_leaves_nothing_open(
    server: pe.Server, network: Network, count: int
) -> None:
    connecting = asyncio.create_task(pe.connect_tcp(*server.addresses[0]))
    for _ in range(count):
        await asyncio.sleep(0)
    connecting.cancel()
    await asyncio.wait([connecting])
    if not connecting.cancelled():
        await connecting.result().close()
    await eventually(lambda: not network.open_sockets, within=5)
