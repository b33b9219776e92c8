"""A server with a TLS context speaks TLS, and survives clients that do not."""

import asyncio
from typing import Any

import pytest
from helpers.peers import RawClient, eventually
from helpers.tls import client_context, server_context

import proactor_echo as pe
from proactor_echo.net.loop_api import native


async def test_connections_are_encrypted_from_the_first_byte() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=server_context()) as server:
        reader, writer = await asyncio.open_connection(*server.addresses[0][:2], ssl=client_context())
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        assert writer.get_extra_info("cipher")
        writer.close()
        await writer.wait_closed()


async def test_a_client_that_does_not_speak_tls_harms_nobody() -> None:
    async with await pe.serve_tcp(protocol_factory=pe.EchoProtocol, ssl=server_context()) as server:
        async with await RawClient.connect(server.addresses[0]) as plain:
            await plain.send(b"GET / HTTP/1.0\r\n\r\n")
            await plain.receive_all()
        reader, writer = await asyncio.open_connection(*server.addresses[0][:2], ssl=client_context())
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        writer.close()
        await writer.wait_closed()


async def test_closing_is_bounded_when_the_client_does_not_answer_the_close() -> None:
    """asyncio gives a TLS peer 30 s to say goodbye; our loops wait for none."""

    async def leave(conn: pe.Connection) -> None:
        await conn.receive()

    async with await pe.serve_tcp(leave, ssl=server_context(), close_timeout=0.05) as server:
        _, writer = await asyncio.open_connection(*server.addresses[0][:2], ssl=client_context())
        writer.write(b"x")
        raw = writer.transport
        assert isinstance(raw, asyncio.Transport)
        raw.pause_reading()
        await eventually(lambda: server.stats.disconnects, within=10)
        ours = native(asyncio.get_running_loop())
        reason = pe.DisconnectReason.LOCAL_CLOSE if ours else pe.DisconnectReason.TIMED_OUT
        assert server.stats.disconnects == {reason: 1}
        raw.abort()


@pytest.mark.parametrize("form", ["handler", "protocol"])
async def test_starting_tls_below_a_connection_is_refused_before_anything_could_be_sent_in_clear(form: str) -> None:
    """loop.start_tls() would decrypt what the connection receives, and leave it sending on the transport it has."""
    refused: list[str] = []

    async def start_tls(conn: Any) -> None:
        with pytest.raises(pe.ProtocolStateError) as caught:
            await asyncio.get_running_loop().start_tls(conn.transport, conn, server_context(), server_side=True)
        refused.append(str(caught.value))
        conn.transport.write(b"still as it was")

    async def handler(conn: pe.Connection) -> None:
        await conn.receive()
        await start_tls(conn)

    class StartsTls(pe.FramedProtocol):
        def frame_received(self, frame: bytes) -> None:
            self.task = asyncio.create_task(start_tls(self))

    server = await (pe.serve_tcp(handler) if form == "handler" else pe.serve_tcp(protocol_factory=StartsTls))
    async with server, await RawClient.connect(server.addresses[0]) as client:
        await client.send(b"STARTTLS")
        assert await client.receive_exactly(15) == b"still as it was"
    (sentence,) = refused
    assert sentence.startswith("loop.start_tls() does not work on this connection")
    assert "write await conn.start_tls(...) instead" in sentence
