"""conn.start_tls(): nothing in clear behind the command, nothing lost, and an end when it fails."""

import asyncio
import contextlib
import logging
import ssl
from typing import Any

import pytest
from helpers.peers import RawClient, eventually

import proactor_echo as pe
from proactor_echo.testing.certificates import CA_FILE, LOCALHOST, client_context

SERVER = pe.Tls(*LOCALHOST[:2])
CLIENT = pe.Tls(server_ca=CA_FILE)
LINES = pe.LineCodec()


async def mail(conn: pe.Connection) -> None:
    """Serve a protocol of lines that can go on with TLS."""
    async for line in conn:
        if line == b"STARTTLS":
            await conn.send(b"go ahead")
            await conn.start_tls(SERVER)
        else:
            await conn.send(line + (b" over TLS" if conn.tls else b" in clear"))


class Mail(pe.FramedProtocol):
    """The same in callbacks."""

    codec = LINES

    def frame_received(self, line: bytes) -> None:
        if line == b"STARTTLS":
            self.send_frame(b"go ahead")
            self.task = asyncio.create_task(self.begin(self.start_tls(SERVER)))
        else:
            self.send_frame(line + (b" over TLS" if self.tls else b" in clear"))

    async def begin(self, starting: Any) -> None:
        with contextlib.suppress(pe.Disconnected):
            await starting


FORMS: list[Any] = [
    pytest.param({"handler": mail}, id="handler"),
    pytest.param({"protocol_factory": Mail}, id="protocol"),
]


@pytest.mark.parametrize("form", FORMS)
async def test_both_ends_go_on_with_tls(form: dict[str, Any]) -> None:
    async with (
        await pe.serve_tcp(**form, codec=LINES) as server,
        await pe.connect_tcp("localhost", server.port, codec=LINES) as conn,
    ):
        await conn.send(b"hello")
        assert await conn.receive() == b"hello in clear"
        await conn.send(b"STARTTLS")
        assert await conn.receive() == b"go ahead"
        info = await conn.start_tls(CLIENT)
        assert info.version == "TLSv1.3"
        assert info.server_name == "localhost"
        for number in range(200):
            await conn.send(b"%d" % number)
        for number in range(200):
            assert await conn.receive() == b"%d over TLS" % number
        await conn.close()
        assert conn.disconnect is not None
        assert conn.disconnect.reason is pe.DisconnectReason.LOCAL_CLOSE
        await eventually(lambda: server.stats.disconnects)
    assert server.stats.disconnects == {pe.DisconnectReason.END_OF_FILE: 1}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("behind", [b"RSET\r\n", b"RS"], ids=["line", "part"])
async def test_what_came_in_clear_behind_the_command_ends_the_connection(
    form: dict[str, Any], behind: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        await pe.serve_tcp(**form, codec=LINES) as server,
        await RawClient.connect(server.addresses[0]) as client,
    ):
        await client.send(b"hello\r\nSTARTTLS\r\n" + behind)
        with contextlib.suppress(ConnectionError):
            assert b"RS" not in await client.receive_all()
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1}
    (record,) = [r for r in caplog.records if r.levelno >= logging.INFO and r.name.startswith("proactor_echo")]
    assert record.getMessage().endswith("tls handshake failed: clear text came behind the command for it")


async def test_a_client_does_not_take_what_came_in_clear_behind_the_answer() -> None:
    async def injects(conn: pe.Connection) -> None:
        await conn.receive()
        await conn.send_many([b"go ahead", b"injected"])
        with contextlib.suppress(pe.EndOfStream, pe.Disconnected):
            await conn.receive()

    async with (
        await pe.serve_tcp(injects, codec=LINES) as server,
        await pe.connect_tcp("localhost", server.port, codec=LINES) as conn,
    ):
        await conn.send(b"STARTTLS")
        assert await conn.receive() == b"go ahead"
        with pytest.raises(pe.Disconnected, match="clear text came behind the command") as caught:
            await conn.start_tls(CLIENT)
        assert caught.value.reason is pe.DisconnectReason.TLS_HANDSHAKE


@pytest.mark.parametrize("form", FORMS)
async def test_a_client_that_goes_on_in_clear_text_ends_its_connection(form: dict[str, Any]) -> None:
    async with (
        await pe.serve_tcp(**form, codec=LINES) as server,
        await RawClient.connect(server.addresses[0]) as client,
    ):
        await client.send(b"STARTTLS\r\n")
        assert await client.receive_exactly(len(b"go ahead\n")) == b"go ahead\n"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            assert b"clear" not in await client.receive_all()
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1}
        assert server.stats.failed == 0


async def test_a_certificate_that_is_not_accepted_ends_the_connection_of_both() -> None:
    async with (
        await pe.serve_tcp(mail, codec=LINES) as server,
        await pe.connect_tcp("localhost", server.port, codec=LINES) as conn,
    ):
        await conn.send(b"STARTTLS")
        assert await conn.receive() == b"go ahead"
        with pytest.raises(pe.Disconnected, match="certificate") as caught:
            await conn.start_tls(True)
        assert caught.value.reason is pe.DisconnectReason.TLS_HANDSHAKE
        await eventually(lambda: server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1})


async def test_a_handshake_that_does_not_end_is_given_up() -> None:
    async def handler(conn: pe.Connection) -> None:
        await conn.receive()
        await conn.start_tls(SERVER, handshake_timeout=0.05)

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        await client.send(b"x")
        with contextlib.suppress(ConnectionError):
            assert await client.receive_all() == b""
        await eventually(lambda: server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1})


@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_client_that_leaves_during_the_handshake_ends_the_connection(how: str) -> None:
    async with await pe.serve_tcp(mail, codec=LINES) as server, await RawClient.connect(server.addresses[0]) as client:
        await client.send(b"STARTTLS\r\n")
        await client.receive_exactly(len(b"go ahead\n"))
        client.close() if how == "close" else client.reset()
        await eventually(lambda: server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1})


async def test_cancelling_ends_the_connection() -> None:
    async def handler(conn: pe.Connection) -> None:
        await conn.receive()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await conn.start_tls(SERVER)
        assert conn.state in (pe.ConnectionState.CLOSING, pe.ConnectionState.CLOSED)

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        await client.send(b"x")
        with contextlib.suppress(ConnectionError):
            assert await client.receive_all() == b""
        await eventually(lambda: server.stats.disconnects == {pe.DisconnectReason.ABORTED: 1})
        assert server.stats.failed == 0


async def test_what_is_sent_during_the_handshake_leaves_encrypted() -> None:
    async def handler(conn: pe.Connection) -> None:
        await conn.receive()
        await conn.send(b"go")
        starting = asyncio.create_task(conn.start_tls(SERVER))
        await asyncio.sleep(0)
        sending = asyncio.create_task(conn.send(b"secret"))
        await asyncio.wait([starting, sending])
        assert await conn.receive() == b"thanks"

    async with await pe.serve_tcp(handler) as server:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = client_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
        async with await RawClient.connect(server.addresses[0]) as client:
            await client.send(b"x")
            assert await client.receive_exactly(2) == b"go"
            received = b""
            with pytest.raises(ssl.SSLWantReadError):
                tls.do_handshake()
            await client.send(outgoing.read())
            while not received:
                came = await client.receive()
                assert came
                assert b"secret" not in came
                incoming.write(came)
                with contextlib.suppress(ssl.SSLWantReadError):
                    tls.do_handshake()
                    await client.send(outgoing.read())
                    received = tls.read(100)
            assert received == b"secret"
            tls.write(b"thanks")
            with contextlib.suppress(ssl.SSLWantReadError):
                tls.unwrap()  # asyncio's TLS waits for it at the end
            await client.send(outgoing.read())
            with contextlib.suppress(ConnectionError):
                await client.receive_all()
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.failed == 0


async def test_tls_is_started_once_and_on_an_open_connection() -> None:
    async with (
        await pe.serve_tcp(mail, codec=LINES) as server,
        await pe.connect_tcp("localhost", server.port, codec=LINES) as conn,
    ):
        await conn.send(b"STARTTLS")
        assert await conn.receive() == b"go ahead"
        await conn.start_tls(CLIENT)
        with pytest.raises(pe.ProtocolStateError, match="speaks TLS already"):
            await conn.start_tls(CLIENT)
        await conn.close()
        with pytest.raises(pe.Disconnected):
            await conn.start_tls(CLIENT)


async def test_a_protocol_of_nobody_must_be_told_which_end_it_is() -> None:
    loop = asyncio.get_running_loop()
    async with await pe.serve_tcp(pe.echo) as server:
        _, protocol = await loop.create_connection(pe.FramedProtocol, "127.0.0.1", server.port)
        with pytest.raises(TypeError, match="write server_side=True or False"):
            _ = protocol.start_tls(CLIENT)
        with pytest.raises(ValueError, match="server_hostname="):
            _ = protocol.start_tls(CLIENT, server_side=False)
        protocol.abort()
        await protocol.wait_closed()
