"""connect_tcp(ssl=...): whom it trusts, what it says when it does not, and sessions taken up again."""

import asyncio
import gc
import ssl
import weakref
from typing import Any

import pytest
from helpers.peers import eventually

import proactor_echo as pe
from proactor_echo.testing.certificates import CA_FILE, EXPIRED, LOCALHOST, WRONG_NAME, client_context

TRUSTING = pe.Tls(server_ca=CA_FILE)


async def refused(server: pe.Server, tls: Any = TRUSTING, **options: Any) -> str:
    with pytest.raises(pe.ConnectFailed) as caught:
        await pe.connect_tcp("localhost", server.port, ssl=tls, **options)
    (error,) = caught.value.errors
    assert isinstance(error, ssl.SSLError)
    assert caught.value.__cause__ is error
    prefix = f"cannot connect to localhost:{server.port}: the TLS handshake failed: "
    text = str(caught.value)
    assert text.startswith(prefix)
    return text.removeprefix(prefix)


async def test_a_server_whose_certificate_nobody_knows_is_refused_by_default() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server:
        assert "the peer's certificate is not accepted: " in await refused(server, True)


async def test_a_certificate_for_another_name_is_refused() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*WRONG_NAME[:2])) as server:
        assert "not valid for 'localhost'" in await refused(server)
        async with await pe.connect_tcp(
            "localhost", server.port, ssl=TRUSTING, server_hostname="somewhere-else.invalid"
        ) as conn:
            assert conn.tls is not None


async def test_a_certificate_that_has_expired_is_refused() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*EXPIRED[:2])) as server:
        assert "certificate has expired" in await refused(server)


async def test_an_address_is_looked_for_in_the_certificate_too() -> None:
    async with (
        await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server,
        await pe.connect_tcp("127.0.0.1", server.port, ssl=TRUSTING) as conn,
    ):
        await conn.send(b"x")
        assert await conn.receive() == b"x"


async def test_a_server_that_does_not_speak_tls_is_refused() -> None:
    async with await pe.serve_tcp(talk) as server:
        with pytest.raises(pe.ConnectFailed, match="the TLS handshake failed: "):
            await pe.connect_tcp("localhost", server.port, ssl=TRUSTING)


async def talk(conn: pe.Connection) -> None:
    await conn.send(b"220 mail.example ESMTP\r\n" * 10)
    await conn.receive()


async def test_the_time_limit_is_for_the_handshake_too() -> None:
    async def silent(conn: pe.Connection) -> None:
        async for _ in conn:
            pass

    async with await pe.serve_tcp(silent) as server:
        with pytest.raises(pe.ConnectFailed, match=r"the TLS handshake was not done within 0\.1 s$"):
            await pe.connect_tcp("localhost", server.port, ssl=TRUSTING, open_timeout=0.1)


async def test_cancelling_the_handshake_leaves_nothing_behind() -> None:
    async def silent(conn: pe.Connection) -> None:
        async for _ in conn:
            pass

    async with await pe.serve_tcp(silent) as server:
        connecting = asyncio.create_task(pe.connect_tcp("localhost", server.port, ssl=TRUSTING))
        await eventually(lambda: server.stats.bytes_in > 0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await eventually(lambda: not server.connections)


@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("given", ["Tls", "context"])
async def test_the_next_connection_to_the_same_server_takes_the_session_up(version: str, given: str) -> None:
    context = client_context()
    context.maximum_version = ssl.TLSVersion[version]
    tls: Any = context
    if given == "Tls":
        tls = pe.Tls(server_ca=CA_FILE, prepare=lambda made: setattr(made, "maximum_version", ssl.TLSVersion[version]))
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server:
        assert [await resumed(server, tls) for _ in range(4)] == [False, True, True, True]
        await eventually(lambda: server.stats.handshakes == 4)
        assert server.stats.handshakes_resumed == 3


async def resumed(server: pe.Server, tls: Any, host: str = "localhost") -> bool:
    async with await pe.connect_tcp(host, server.port, ssl=tls) as conn:
        await conn.send(b"x")
        assert await conn.receive() == b"x"
        assert conn.tls is not None
        assert conn.tls.peer_certificate
        return conn.tls.resumed


async def test_the_session_of_a_connection_that_is_still_open_is_taken_up() -> None:
    tls = pe.Tls(server_ca=CA_FILE)
    async with (
        await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server,
        await pe.connect_tcp("localhost", server.port, ssl=tls) as first,
    ):
        await first.send(b"x")
        assert await first.receive() == b"x"
        assert await resumed(server, tls)


async def test_a_session_is_of_one_host_and_one_context() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server:
        first, second = pe.Tls(server_ca=CA_FILE), pe.Tls(server_ca=CA_FILE)
        assert not await resumed(server, first)
        assert not await resumed(server, second)
        assert not await resumed(server, first, "127.0.0.1")
        assert await resumed(server, first)


async def test_a_certificate_loaded_anew_begins_with_new_sessions() -> None:
    tls = pe.Tls(*LOCALHOST[:2])
    client = pe.Tls(server_ca=CA_FILE)
    async with await pe.serve_tcp(pe.echo, ssl=tls) as server:
        assert not await resumed(server, client)
        tls.reload()
        assert not await resumed(server, client)
        assert await resumed(server, client)


async def test_sessions_do_not_keep_their_context_alive() -> None:
    context = client_context()
    gone = weakref.ref(context)
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server:
        await resumed(server, context)
    del context
    for _ in range(4):  # PyPy needs several
        gc.collect()
    assert gone() is None


@pytest.mark.parametrize(
    ("options", "kind", "why"),
    [
        ({"ssl": "yes"}, TypeError, "ssl must be True, a Tls or an SSLContext, not 'yes'"),
        ({"ssl": ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)}, ValueError, "ssl is a server's context"),
        ({"server_hostname": "localhost"}, ValueError, "server_hostname is for TLS: write ssl=True too"),
        ({"ssl": True, "server_hostname": 1}, TypeError, "server_hostname must be text"),
    ],
)
async def test_a_wrong_argument_is_told_what_to_write(options: dict[str, Any], kind: type[Exception], why: str) -> None:
    with pytest.raises(kind, match=why):
        await pe.connect_tcp("localhost", 1, **options)
