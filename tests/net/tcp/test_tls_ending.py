"""How a TLS connection ends: an end of TCP without the end of TLS is no end of file."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import eventually

import proactor_echo as pe
from proactor_echo.testing.certificates import CA_FILE, LOCALHOST

SERVER = pe.Tls(*LOCALHOST[:2])
CLIENT = pe.Tls(server_ca=CA_FILE)


def cut_short(conn: pe.Connection) -> None:
    """End TCP below TLS, as somebody on the line could."""
    conn.transport.get_extra_info("socket").shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("allowed", [False, True])
async def test_a_server_takes_a_truncated_stream_for_what_it_is(form: dict[str, Any], allowed: bool) -> None:
    async with await pe.serve_tcp(**form, ssl=SERVER, allow_truncation=allowed) as server:
        conn = await pe.connect_tcp("localhost", server.port, ssl=CLIENT)
        await conn.send(b"x")
        assert await conn.receive() == b"x"
        cut_short(conn)
        await eventually(lambda: server.stats.disconnects)
        conn.abort()
        await conn.wait_closed()
    expected = pe.DisconnectReason.END_OF_FILE if allowed else pe.DisconnectReason.TRUNCATED
    assert server.stats.disconnects == {expected: 1}


@pytest.mark.parametrize("allowed", [False, True])
async def test_a_client_receives_what_came_and_then_that_it_may_not_be_all(allowed: bool) -> None:
    async def handler(conn: pe.Connection) -> None:
        await conn.receive()
        conn.send_frame(b"half of it")
        cut_short(conn)
        with contextlib.suppress(pe.Disconnected, pe.EndOfStream):
            await conn.receive()

    async with await pe.serve_tcp(handler, ssl=SERVER) as server:
        conn = await pe.connect_tcp("localhost", server.port, ssl=CLIENT, allow_truncation=allowed)
        await conn.send(b"x")
        assert await conn.receive() == b"half of it"
        if allowed:
            with pytest.raises(pe.EndOfStream):
                await conn.receive()
        else:
            with pytest.raises(pe.Disconnected) as caught:
                await conn.receive()
            assert caught.value.reason is pe.DisconnectReason.TRUNCATED
        await conn.close()


async def test_an_end_with_close_notify_is_an_end_of_file() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=SERVER) as server:
        async with await pe.connect_tcp("localhost", server.port, ssl=CLIENT) as conn:
            await conn.send(b"x")
            assert await conn.receive() == b"x"
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.END_OF_FILE: 1}


async def test_a_protocol_in_a_server_of_asyncio_tells_a_truncated_stream_too() -> None:
    reasons: list[pe.DisconnectReason] = []

    class Notes(pe.FramedProtocol):
        def connection_closed(self, disconnect: pe.Disconnect) -> None:
            reasons.append(disconnect.reason)

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(Notes, "127.0.0.1", 0, ssl=SERVER.server_context)
    port = listener.sockets[0].getsockname()[1]
    conn = await pe.connect_tcp("localhost", port, ssl=CLIENT)
    cut_short(conn)
    await eventually(lambda: reasons == [pe.DisconnectReason.TRUNCATED])
    conn.abort()
    await conn.wait_closed()
    listener.close()
    await listener.wait_closed()


async def test_all_frames_of_a_client_that_sends_many_and_leaves_are_delivered() -> None:
    received: list[bytes] = []

    class Counts(pe.FramedProtocol):
        codec = pe.LineCodec()

        def connection_opened(self) -> None:
            self.send_frame(b"hello")

        def frame_received(self, frame: bytes) -> None:
            received.append(frame)

    async with await pe.serve_tcp(protocol_factory=Counts, ssl=SERVER) as server:
        conn = await pe.connect_tcp("localhost", server.port, codec=pe.LineCodec(), ssl=CLIENT)
        assert await conn.receive() == b"hello"
        await conn.send_many([b"x"] * 2000)
        await conn.close()
        await eventually(lambda: server.stats.disconnects)
    assert len(received) == 2000
