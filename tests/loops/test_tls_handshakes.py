"""Handshakes: bounded in time and number, counted, and told in one line when they fail."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl

import pytest
from helpers.recording import Bench, Recorder
from helpers.tls import client_context, server_context
from helpers.tls_peer import TlsPeer, connected, listen

from proactor_echo.loops import tls_loop
from proactor_echo.loops.tls_causes import tls_cause
from proactor_echo.loops.tls_settings import Handshakes


async def said_by(log: pytest.LogCaptureFixture) -> str:
    """The line about a handshake, without the address in front, when there is one."""
    while not (found := [r.getMessage() for r in log.records if "handshake" in r.getMessage()]):
        await asyncio.sleep(0)
    (line,) = found
    assert line.startswith("127.0.0.1:")
    return line.partition(": ")[2]


@pytest.fixture
def info(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "asyncio")
    return caplog


# -- one line for each that fails ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "line"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "TLS handshake failed: not TLS: it began with 'GET /'"),
        (b"", "TLS handshake failed: the peer closed the connection during the TLS handshake"),
        (b"\x16\x03\x01", "TLS handshake failed: the peer closed the connection during the TLS handshake"),
        (b"\x15\x03\x03\x00\x02\x02\x28", "TLS handshake failed: not TLS: it began with 15 03 03 00 02 02 28"),
    ],
    ids=["http", "nothing", "a beginning", "an alert"],
)
def test_a_client_that_talks_no_tls_costs_one_line(
    ours: Bench, info: pytest.LogCaptureFixture, sent: bytes, line: str
) -> None:
    async def scenario() -> None:
        server, address = await listen(Recorder)
        async with server:
            with await connected(address) as sock:
                await asyncio.get_running_loop().sock_sendall(sock, sent)
                sock.shutdown(socket.SHUT_WR)
                assert await said_by(info) == line
                with contextlib.suppress(ConnectionError):
                    assert await asyncio.get_running_loop().sock_recv(sock, 100) == b""

    ours.run(scenario())
    assert not ours.errors


def test_a_client_that_does_not_trust_the_certificate_costs_one_line(
    ours: Bench, info: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        server, address = await listen(Recorder)
        async with server:
            with pytest.raises(ssl.SSLCertVerificationError) as caught:
                await asyncio.open_connection(*address, ssl=ssl.create_default_context(), server_hostname="localhost")
            assert tls_cause(caught.value).startswith("the peer's certificate is not accepted: ")
            said = await said_by(info)
            assert said == "TLS handshake failed: the peer does not trust the authority that signed our certificate"

    ours.run(scenario())
    assert not ours.errors


def test_versions_that_do_not_meet_are_told_at_both_ends(ours: Bench, info: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        context, client = server_context(), client_context()
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        client.maximum_version = ssl.TLSVersion.TLSv1_2
        server = await asyncio.get_running_loop().create_server(Recorder, "127.0.0.1", 0, ssl=context)
        async with server:
            address = server.sockets[0].getsockname()
            with pytest.raises(ssl.SSLError) as caught:
                await asyncio.open_connection(*address, ssl=client, server_hostname="localhost")
            assert tls_cause(caught.value) == "the peer does not speak our versions of TLS"
            said = await said_by(info)
            assert said == "TLS handshake failed: the peer offers no version of TLS that is allowed here"

    ours.run(scenario())


# -- bounded -------------------------------------------------------------------------------------------------------


def test_a_handshake_that_takes_too_long_is_ended(ours: Bench, info: pytest.LogCaptureFixture) -> None:
    async def scenario() -> None:
        server, address = await listen(Recorder, ssl_handshake_timeout=0.05)
        async with server:
            with await connected(address) as sock:
                assert await asyncio.get_running_loop().sock_recv(sock, 1) == b""
            assert "SSL handshake is taking longer than 0.05 seconds" in await said_by(info)

    ours.run(scenario())


def test_a_client_waits_for_a_silent_server_no_longer_than_it_is_told_to(each: Bench) -> None:
    async def scenario() -> None:
        with (
            socket.create_server(("127.0.0.1", 0)) as silent,
            pytest.raises(ConnectionAbortedError, match=r"is taking longer than 0\.05 seconds"),
        ):
            await asyncio.open_connection(
                *silent.getsockname(), ssl=client_context(), server_hostname="x", ssl_handshake_timeout=0.05
            )

    each.run(scenario())


def test_only_so_many_handshakes_are_under_way_at_once(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls_loop, "HANDSHAKES", 3)

    async def scenario() -> None:
        served: list[Recorder] = []

        def make() -> Recorder:
            served.append(Recorder())
            return served[-1]

        server, address = await listen(make)
        handshakes = tls_loop.handshakes_of(server, asyncio.get_running_loop())
        async with server:
            silent = [await connected(address) for _ in range(3)]
            while handshakes.active < 3:
                await asyncio.sleep(0)
            sock = await connected(address)
            peer = TlsPeer(sock)
            shaking = asyncio.create_task(peer.shake())
            elsewhere, other_address = await listen(Recorder)
            async with elsewhere:  # a handshake that is not held up, begun later, is done earlier
                unhindered = TlsPeer(await connected(other_address))
                await unhindered.shake()
                unhindered.sock.close()
            assert not shaking.done()
            assert handshakes.active == 3
            silent.pop().close()
            await shaking
            await peer.write(b"served")
            while not any(one.received for one in served):
                await asyncio.sleep(0.001)
            assert handshakes.completed == 1
            assert handshakes.failed == 1
            for sock in (*silent, peer.sock):
                sock.close()
            while handshakes.active:
                await asyncio.sleep(0.001)
            assert handshakes.failed == 3

    ours.run(scenario())
    assert not ours.errors


def test_what_is_accepted_beyond_the_limit_waits() -> None:
    calls: list[str] = []
    handshakes = Handshakes(2, full=lambda: calls.append("full"), freed=lambda: calls.append("freed"))

    class Connection:
        def __init__(self, name: str) -> None:
            self.name = name

        def begin_handshake(self) -> None:
            calls.append(self.name)

        def end_silent_handshake(self) -> None:
            calls.append(f"end {self.name}")

    one, two, three, four = (Connection(name) for name in ("one", "two", "three", "four"))
    for connection in (one, two, three, four):
        handshakes.begin(connection)
    assert calls == ["one", "full", "two"]
    handshakes.end(three, completed=False)  # it gave up before it could begin
    handshakes.end(one, completed=True)
    assert calls[3:] == ["four"]
    handshakes.end(two, completed=True)
    handshakes.end(four, completed=True)
    assert calls[4:] == ["freed"]
    assert (handshakes.active, handshakes.completed, handshakes.failed) == (0, 3, 1)
