"""Connections that never get through their TLS handshake: counted, bounded, and nobody else's trouble."""

import asyncio
import contextlib
import logging
import ssl
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import RawClient, eventually
from helpers.tls import client_context, server_context

import proactor_echo as pe
from proactor_echo.net.loop_api import tls_loop


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("drain", [0, 0.1])
async def test_a_server_closes_although_clients_are_silent_in_their_handshake(
    form: dict[str, Any], drain: float
) -> None:
    server = await pe.serve_tcp(**form, ssl=server_context())
    clients = [await RawClient.connect(server.addresses[0]) for _ in range(3)]
    await eventually(lambda: server.stats.accepted == 3)
    report = await server.close(drain=drain)
    assert (report.finished, report.aborted) == (0, 3)
    assert (server.stats.open, server.stats.refused) == (0, 3)
    for client in clients:
        with contextlib.suppress(OSError):
            assert await client.receive_all() == b""
        client.close()


@pytest.mark.parametrize("form", FORMS)
async def test_clients_that_leave_in_their_handshake_give_their_places_back(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form, ssl=server_context(), max_connections=2) as server:
        for number in range(20):
            client = await RawClient.connect(server.addresses[0])
            if number % 2:
                await client.send(b"\x16\x03\x01")  # the beginning of a handshake
            client.reset() if number % 3 else client.close()
        reader, writer = await asyncio.open_connection(*server.addresses[0][:2], ssl=client_context())
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
        await eventually(lambda: server.stats.open == 0)
        assert server.stats.disconnects[pe.DisconnectReason.TLS_HANDSHAKE] <= 20  # a reset may come before the accept
        assert sum(server.stats.disconnects.values()) + server.stats.refused == server.stats.accepted


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("sent", "why"),
    [(b"GET / HTTP/1.0\r\n\r\n", "not TLS: "), (b"no TLS at all, and long enough", ""), (b"", "")],
    ids=["http", "garbage", "nothing"],
)
async def test_a_handshake_that_fails_has_its_own_reason_and_one_line(
    form: dict[str, Any], sent: bytes, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await pe.serve_tcp(**form, ssl=server_context()) as server:
        async with await RawClient.connect(server.addresses[0]) as client:
            name = pe.format_address(client.sock.getsockname())
            await client.send(sent)
            client.send_eof()
            await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1}
        assert (server.stats.accepted, server.stats.refused, server.stats.failed) == (1, 0, 0)
    (record,) = [r for r in caplog.records if r.levelno >= logging.INFO and r.name.startswith("proactor_echo")]
    assert record.getMessage().startswith(f"{name}: tls handshake failed ({why}")
    assert record.levelno == logging.INFO


async def test_a_certificate_that_the_client_refuses_is_a_handshake_that_fails() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=server_context()) as server:
        with pytest.raises(ssl.SSLCertVerificationError):
            await asyncio.open_connection(
                *server.addresses[0][:2], ssl=ssl.create_default_context(), server_hostname="localhost"
            )
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1}


@pytest.mark.parametrize("form", FORMS)
async def test_clients_that_say_nothing_do_not_keep_others_out(form: dict[str, Any]) -> None:
    """They have taken all handshakes, and each would last until its time limit."""
    if tls_loop(asyncio.get_running_loop()) is None:
        pytest.skip("asyncio's TLS does not tell whether a client has sent anything")
    async with await pe.serve_tcp(**form, ssl=server_context(), max_handshakes=3, handshake_timeout=600) as server:
        silent = [await RawClient.connect(server.address) for _ in range(3)]
        await eventually(lambda: server.stats.handshaking == 3)
        async with (
            asyncio.timeout(20),
            await pe.connect_tcp("localhost", server.port, ssl=client_context()) as conn,
        ):
            await conn.send(b"ping")
            assert await conn.receive() == b"ping"
        assert server.stats.handshakes_failed >= 1  # as many as were in the way
        for client in silent:
            client.close()
