"""A server with a TLS context speaks TLS, and survives clients that do not."""

import asyncio

from peers import RawClient
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
