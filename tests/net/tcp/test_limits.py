"""Limits on connections: those of the whole server wait, those of one source are refused."""

import asyncio
import contextlib
import logging
import socket
import ssl
import sys
from contextlib import AsyncExitStack
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import RawClient, eventually, settled
from helpers.sources import FIRST, SECOND, Clients, ask, eventually_served, is_reset

import proactor_echo as pe
from proactor_echo.net import refusal_log
from proactor_echo.testing import certificates

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no address of 127.0.0.0/8 but 127.0.0.1")


form = pytest.mark.parametrize("form", FORMS)


# -- one source ------------------------------------------------------------------------------------------------------


@form
async def test_a_source_with_too_many_connections_is_refused_and_others_are_not(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form, limits=pe.Limits(connections_per_source=2)) as server, Clients(server) as to:
        await to.served()
        await to.served()
        await to.refused()
        await to.served(SECOND)
        assert server.stats.refusals == {pe.RefusalReason.SOURCE_CONNECTIONS: 1}
        assert (server.stats.refused, server.stats.accepted, server.stats.open) == (1, 4, 3)


@form
@pytest.mark.parametrize("how", ["closed", "reset"])
async def test_a_place_is_free_again_however_its_connection_ends(form: dict[str, Any], how: str) -> None:
    async with await pe.serve_tcp(**form, limits=pe.Limits(connections_per_source=1)) as server, Clients(server) as to:
        for _ in range(3):
            client = await eventually_served(to)
            client.close() if how == "closed" else client.reset()


async def test_a_place_is_free_again_when_the_connection_could_not_be_made() -> None:
    made: list[object] = []

    def factory() -> pe.EchoProtocol:
        made.append(1)
        if len(made) == 1:
            raise OSError("no memory for it")
        return pe.EchoProtocol()

    limits = pe.Limits(connections_per_source=1, connections=1)
    async with await pe.serve_tcp(protocol_factory=factory, limits=limits) as server, Clients(server) as to:
        await (await to.connect()).receive_all()
        await to.served()
        assert server.stats.refusals == {}


async def test_a_place_is_free_again_when_the_handshake_failed() -> None:
    limits = pe.Limits(connections_per_source=1)
    tls = pe.Tls(*certificates.LOCALHOST[:2])
    async with await pe.serve_tcp(pe.echo, ssl=tls, limits=limits) as server, Clients(server) as to:
        for number in range(1, 4):
            client = await to.connect()
            await client.send(b"GET / HTTP/1.0\r\n\r\n")
            await is_reset(client)
            await eventually(lambda number=number: server.stats.handshakes_failed == number)  # type: ignore[misc]
        context = ssl.create_default_context(cafile=certificates.CA_FILE)
        async with await pe.connect_tcp("localhost", server.port, ssl=context) as conn:
            await conn.send(b"ping")
            assert await conn.receive() == b"ping"
        assert server.stats.refusals == {}


async def test_a_place_is_free_again_when_the_server_closed_while_it_waited() -> None:
    """Nothing of a connection that waited for a slot is left, and its socket is closed."""
    limits = pe.Limits(connections=1, connections_per_source=5)
    server = await pe.serve_tcp(pe.echo, limits=limits)
    async with Clients(server) as to:
        await to.served()
        waiting = [await to.connect() for _ in range(3)]
        await settled(lambda: server.stats)
        await server.close(0)
        for client in waiting:
            await is_reset(client)
    assert server.stats.open == 0


async def test_a_source_that_connects_too_often_is_refused_until_it_has_waited() -> None:
    limits = pe.Limits(accept_rate_per_source=pe.Rate(20, burst=3))
    async with await pe.serve_tcp(pe.echo, limits=limits) as server, Clients(server) as to:
        for _ in range(3):
            await to.served()
        await to.refused()
        await to.served(SECOND)
        assert server.stats.refusals == {pe.RefusalReason.SOURCE_RATE: 1}
        await eventually_served(to)


async def test_a_flood_of_one_source_does_not_hold_up_another() -> None:
    """The flood is refused before it takes its turn of the rate for all."""
    limits = pe.Limits(connections=50, connections_per_source=5, accept_rate=pe.Rate(1, burst=10))
    async with await pe.serve_tcp(pe.echo, limits=limits) as server, Clients(server) as to:
        for _ in range(5):
            await to.served()
        for _ in range(35):
            await to.refused()
        await to.served(SECOND)
        assert server.stats.refusals == {pe.RefusalReason.SOURCE_CONNECTIONS: 35}


# -- networks --------------------------------------------------------------------------------------------------------


async def test_a_denied_network_is_refused() -> None:
    async with await pe.serve_tcp(pe.echo, limits=pe.Limits(deny=["127.0.0.2"])) as server, Clients(server) as to:
        await to.refused(SECOND)
        await to.served(FIRST)
        assert server.stats.refusals == {pe.RefusalReason.DENIED: 1}


async def test_with_allowed_networks_nobody_else_is_served() -> None:
    limits = pe.Limits(allow=["127.0.0.0/8"], deny=["127.0.0.0/31"])
    async with await pe.serve_tcp(pe.echo, limits=limits) as server, Clients(server) as to:
        await to.refused(FIRST)
        await to.served(SECOND)


# -- the whole server ------------------------------------------------------------------------------------------------


async def test_connections_at_once_wait() -> None:
    async with await pe.serve_tcp(pe.echo, limits=pe.Limits(connections=1)) as server, Clients(server) as to:
        first = await to.served()
        second = await to.connect()
        answer = asyncio.create_task(ask(second))
        await settled(lambda: server.stats)
        assert not answer.done()
        first.close()
        assert await answer == b"ping"
        assert server.stats.refused == 0


async def test_connections_above_the_rate_wait_and_are_all_served() -> None:
    limits = pe.Limits(accept_rate=pe.Rate(200, burst=2))
    loop = asyncio.get_running_loop()
    async with await pe.serve_tcp(pe.echo, limits=limits) as server, Clients(server) as to:
        started = loop.time()
        clients = [await to.connect() for _ in range(22)]
        assert await asyncio.gather(*map(ask, clients)) == [b"ping"] * 22
        assert loop.time() - started >= 20 / 200 - 0.02  # Windows' clock has a tick of 15.6 ms
        assert server.stats.refused == 0


async def test_the_rate_and_the_connections_at_once_hold_together() -> None:
    limits = pe.Limits(accept_rate=pe.Rate(200, burst=1), connections=2)
    async with await pe.serve_tcp(pe.echo, limits=limits) as server, Clients(server) as to:
        # Windows fills the accepts that are outstanding in any order.
        clients = {asyncio.create_task(ask(client)): client for client in [await to.connect() for _ in range(4)]}
        await eventually(lambda: sum(answer.done() for answer in clients) == 2)
        await settled(lambda: server.stats)
        assert server.stats.open == 2
        answered = [answer for answer in clients if answer.done()]
        assert len(answered) == 2
        for answer in answered:
            clients[answer].close()
        assert await asyncio.gather(*clients) == [b"ping"] * 4


async def test_a_server_that_waits_for_its_rate_closes_at_once() -> None:
    server = await pe.serve_tcp(pe.echo, limits=pe.Limits(accept_rate=pe.Rate(0.01, burst=1)))
    async with Clients(server) as to:
        await to.served()
        waiting = await to.connect()
        report = await server.close(0)
        assert report.seconds < 5
        await is_reset(waiting)


# -- what is said ----------------------------------------------------------------------------------------------------


async def test_refusals_are_one_line_at_first_and_then_one_a_second(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "INTERVAL", 0.2)
    caplog.set_level(logging.INFO, "proactor_echo")
    limits = pe.Limits(connections_per_source=1, deny=["127.0.0.3"])
    async with await pe.serve_tcp(pe.echo, limits=limits) as server, Clients(server) as to:
        await to.served(FIRST)
        await to.served(SECOND)
        for source in (FIRST, FIRST, SECOND, FIRST):
            await to.refused(source)
        await to.refused("127.0.0.3")

        def lines() -> list[str]:
            return [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]

        assert lines() == [
            "refused a connection from 127.0.0.1: too many connections from one source",
            "refused a connection from 127.0.0.3: its network is denied",
        ]
        await eventually(lambda: len(lines()) == 3)
        assert lines()[2] == (
            "refused 3 more connections from 2 sources, one of them 127.0.0.1: too many connections from one source"
        )


async def test_what_was_counted_is_said_when_the_server_closes(caplog: pytest.LogCaptureFixture) -> None:
    async with await pe.serve_tcp(pe.echo, limits=pe.Limits(connections_per_source=1)) as server, Clients(server) as to:
        await to.served()
        await to.refused()
        await to.refused()
    said = [record.getMessage() for record in caplog.records if "refused" in record.getMessage()]
    assert said[1:] == ["refused 1 more connections from one source, 127.0.0.1: too many connections from one source"]


# -- IPv6, where there is no second address to come from ---------------------------------------------------------------


async def test_an_ipv6_source_is_refused() -> None:
    try:
        server = await pe.serve_tcp(pe.echo, "::1", limits=pe.Limits(connections_per_source=1))
    except pe.BindError:
        pytest.skip("this system has no IPv6")
    async with server, AsyncExitStack() as stack:
        first = await stack.enter_async_context(await RawClient.connect(server.address))
        assert await ask(first) == b"ping"
        with contextlib.suppress(OSError):  # reset so soon that connecting itself fails
            assert await is_reset(await stack.enter_async_context(await RawClient.connect(server.address)))
        assert server.stats.refused == 1


if sys.platform != "win32":

    async def test_the_peers_of_a_unix_socket_have_no_source() -> None:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind("")  # Linux gives it a name of its own
        if not listener.getsockname():
            listener.close()
            pytest.skip("only Linux names a Unix socket by itself")
        async with await pe.serve_tcp(pe.echo, sockets=[listener], limits=pe.Limits(connections_per_source=1)):
            name = listener.getsockname()
            for _ in range(2):
                reader, writer = await asyncio.open_unix_connection(name.decode() if isinstance(name, bytes) else name)
                writer.write(b"ping")
                assert await reader.readexactly(4) == b"ping"
                writer.close()
                await writer.wait_closed()
