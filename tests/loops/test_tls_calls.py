"""How TLS begins, in each of the loop's calls and in those for the layers above."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import Any

import pytest
from helpers.recording import Bench, BufferedRecorder, Recorder, tcp_pair
from helpers.tls import client_context, server_context
from helpers.tls_peer import SslPeer, TlsPeer, connected, listen, tls_connection

from proactor_echo.loops.tls_causes import tls_cause
from proactor_echo.loops.tls_settings import TlsSettings


class Told(Recorder):
    """Hears of a handshake that failed, and of one that a connection in clear text went through."""

    def __init__(self) -> None:
        super().__init__()
        self.failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self.started: asyncio.Event = asyncio.Event()

    def handshake_failed(self, error: BaseException) -> None:
        self.calls.append("handshake failed")
        self.failed.set_result(error)

    def tls_started(self) -> None:
        self.calls.append("tls started")
        self.started.set()


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "asyncio")
    return caplog


# -- the calls -----------------------------------------------------------------------------------------------------


def test_a_context_that_is_not_for_servers_is_refused_before_anybody_connects(ours: Bench) -> None:
    async def scenario() -> None:
        with pytest.raises(ValueError, match="ssl is a client's context: a server needs"):
            await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0, ssl=client_context())

    ours.run(scenario())


def test_extra_information_is_there_when_the_connection_is_made(each: Bench) -> None:
    class Asks(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            names = ("ssl_object", "sslcontext", "cipher", "peercert", "compression", "socket", "peername", "none")
            self.found = {name: transport.get_extra_info(name, "default") for name in names}

    async def scenario() -> None:
        client = Asks()
        server, address = await listen(Recorder)
        async with server:
            context = client_context()
            await asyncio.get_running_loop().create_connection(
                lambda: client, *address, ssl=context, server_hostname="localhost"
            )
            found = client.found
            assert found["ssl_object"].version() == "TLSv1.3"
            assert found["sslcontext"] is context
            assert found["cipher"] == found["ssl_object"].cipher()
            assert found["peercert"]["subjectAltName"]
            assert found["compression"] is None
            assert found["peername"] == address
            assert found["none"] == "default"
            client.transport.abort()
            await client.lost

    each.run(scenario())


@pytest.mark.parametrize("make", [Recorder, BufferedRecorder])
def test_start_tls_goes_on_with_the_same_transport(ours: Bench, make: Any) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        here, there = tcp_pair()
        served = make()
        transport, _ = await loop.connect_accepted_socket(lambda: served, there)
        await loop.sock_sendall(here, b"STARTTLS")
        await served.until(8)
        peer = TlsPeer(here)
        shaking = asyncio.create_task(peer.shake())
        upgraded = await loop.start_tls(transport, served, server_context(), server_side=True)
        assert upgraded is transport
        await shaking
        transport.write(b"hidden")
        await peer.write(b"hidden too")
        assert await peer.read(6) == b"hidden"
        assert await served.until(18) == b"STARTTLShidden too"
        assert served.calls.count("made") == 1
        transport.close()
        assert await peer.read_to_end() == b""
        assert peer.tls.closed
        here.close()
        await served.lost

    ours.run(scenario())


def test_a_start_tls_that_fails_ends_the_connection(each: Bench) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        here, there = tcp_pair()
        served = Recorder()
        transport, _ = await loop.connect_accepted_socket(lambda: served, there)
        await loop.sock_sendall(here, b"this is no TLS at all, by no means")
        with pytest.raises(ssl.SSLError):
            await loop.start_tls(transport, served, server_context(), server_side=True)
        await served.lost
        here.close()

    each.run(scenario())


def test_streams_that_have_read_the_beginning_of_a_handshake_hand_it_over(ours: Bench) -> None:
    async def scenario() -> bytes:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readline()
            await writer.start_tls(server_context())
            writer.write(await reader.readexactly(4))
            writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            with await connected(server.sockets[0].getsockname()) as sock:
                peer = TlsPeer(sock)
                peer.tls.shake()
                await asyncio.get_running_loop().sock_sendall(sock, b"PROXY TCP4\r\n" + peer.tls.taken())
                await peer.shake()
                await peer.write(b"echo")
                return await peer.read_to_end()

    assert ours.run(scenario()) == b"echo"


def test_tls_in_tls_is_asyncios(ours: Bench) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        inner = Recorder()
        outer = Recorder()
        async with tls_connection(outer) as peer:
            transport = outer.transport
            starting = asyncio.create_task(loop.start_tls(transport, inner, server_context(), server_side=True))
            within = SslPeer(client_context(), server_hostname="localhost")
            done = False
            while not done:
                done = within.shake()
                if data := within.taken():
                    await peer.write(data)
                if not done:
                    within.give(await peer.read(1))
            upgraded: Any = await starting
            assert upgraded is not transport
            within.ssl_object.write(b"twice")
            await peer.write(within.taken())
            assert await inner.until(5) == b"twice"
            upgraded.abort()
            await inner.lost
            outer.lost.set_result(None)  # its protocol was replaced

    ours.run(scenario())


def test_a_file_is_sent_encrypted(each: Bench, tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "file"
        path.write_bytes(b"x" * 300_000)
        served = Recorder()
        async with tls_connection(served) as peer:
            with path.open("rb") as file:
                sending = asyncio.create_task(asyncio.get_running_loop().sendfile(served.transport, file))
                assert len(await peer.read(300_000)) == 300_000
                assert await sending == 300_000

    each.run(scenario())


# -- for the layers above ------------------------------------------------------------------------------------------


def test_an_accepted_socket_is_opened_without_a_task(ours: Bench) -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        here, there = tcp_pair()
        served = Told()
        loop.open_accepted(served, there, there.getpeername(), tls=TlsSettings(server_context()))
        assert not served.made.done()
        peer = TlsPeer(here)
        await peer.shake()
        await served.made
        served.transport.close()
        assert await peer.read_to_end() == b""
        await served.lost
        assert served.calls == ["made", "lost"]
        here.close()

    ours.run(scenario())


def test_a_protocol_may_hear_of_a_handshake_that_failed(ours: Bench, info: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        here, there = tcp_pair()
        served = Told()
        loop.open_accepted(served, there, there.getpeername(), tls=TlsSettings(server_context()))
        await loop.sock_sendall(here, b"EHLO there\r\n")
        assert tls_cause(await served.failed) == "not TLS: it began with 'EHLO there'"
        assert served.calls == ["handshake failed"]
        here.close()

    ours.run(scenario())
    assert not info.records


def test_a_handshake_may_be_aborted(ours: Bench) -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        here, there = tcp_pair()
        served = Told()
        transport = loop.open_accepted(served, there, None, tls=TlsSettings(server_context()))
        transport.abort()
        assert isinstance(await served.failed, ConnectionAbortedError)
        here.close()

    ours.run(scenario())


def test_tls_begins_in_the_middle_with_bytes_that_came_early(ours: Bench) -> None:
    async def scenario() -> None:
        loop: Any = asyncio.get_running_loop()
        here, there = tcp_pair()
        served = Told()
        transport, _ = await loop.connect_accepted_socket(lambda: served, there)
        peer = TlsPeer(here)
        peer.tls.shake()
        hello = peer.tls.taken()
        await loop.sock_sendall(here, hello[:100])
        early = bytes(await served.until(100))
        served.received.clear()
        loop.begin_tls(transport, served, TlsSettings(server_context()), early=early)
        await loop.sock_sendall(here, hello[100:])
        await peer.shake()
        await served.started.wait()
        await peer.write(b"data")
        assert await served.until(4) == b"data"
        with pytest.raises(TypeError, match="clear text"):
            loop.begin_tls(transport, served, TlsSettings(server_context()))
        transport.abort()
        await served.lost
        assert served.calls == ["made", "data", "tls started", "data", "lost"]
        here.close()

    ours.run(scenario())
