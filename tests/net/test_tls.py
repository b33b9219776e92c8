"""A server with a TLS context speaks TLS, and survives clients that do not."""

import asyncio

from peers import RawClient, eventually
from tls import client_context, server_context

import proactor_echo as pe


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
    """asyncio gives a TLS peer 30 s to say goodbye."""

    async def leave(conn: pe.Connection) -> None:
        await conn.receive()

    async with await pe.serve_tcp(leave, ssl=server_context(), close_timeout=0.05) as server:
        _, writer = await asyncio.open_connection(*server.addresses[0][:2], ssl=client_context())
        writer.write(b"x")
        raw = writer.transport
        assert isinstance(raw, asyncio.Transport)
        raw.pause_reading()
        await eventually(lambda: server.stats.disconnects, within=10)
        assert server.stats.disconnects == {pe.DisconnectReason.TIMED_OUT: 1}
        raw.abort()
