"""``Server.close()``, however and however often it is called, by whomever it is cancelled."""

import asyncio
import logging
import socket
from contextlib import suppress
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import TICK, RawClient, connected, eventually, never_ends, settled

import proactor_echo as pe


@pytest.mark.parametrize("form", [*FORMS, pytest.param({"handler": never_ends}, id="never-ends")])
async def test_drain_0_aborts_at_once(form: dict[str, Any]) -> None:
    server = await pe.serve_tcp(**form)
    async with connected(server, 5):
        report = await server.close(drain=0)
    assert (report.finished, report.aborted) == (0, 5)
    assert report.seconds < 0.5


async def test_drain_0_before_anything_has_run_leaves_nothing_open() -> None:
    for iterations in range(6):
        server = await pe.serve_tcp(pe.echo)
        clients = [await RawClient.connect(server.addresses[0]) for _ in range(5)]
        for _ in range(iterations):
            await asyncio.sleep(0)
        report = await server.close(drain=0)
        assert report.finished == 0
        stats = server.stats
        assert stats.open == 0
        assert stats.accepted == stats.refused + sum(stats.disconnects.values())
        for client in clients:
            client.close()


async def test_a_second_close_may_shorten_the_first_and_gets_the_same_report() -> None:
    server = await pe.serve_tcp(never_ends)
    async with connected(server):
        first = asyncio.create_task(server.close(drain=30))
        await settled(lambda: server.stats, looks=3)
        second = await server.close(drain=0.05)
        assert await first is second
        assert second.aborted == 1
        assert second.seconds < 5
    assert await server.close() is second


async def test_a_second_close_does_not_lengthen_the_first() -> None:
    server = await pe.serve_tcp(never_ends)
    async with connected(server):
        first = asyncio.create_task(server.close(drain=0.1))
        await asyncio.sleep(0)
        report = await server.close(drain=30)
        assert await first is report
        assert report.seconds < 5


async def test_cancelling_close_closes_at_once() -> None:
    server = await pe.serve_tcp(never_ends)
    async with connected(server):
        closing = asyncio.create_task(server.close(drain=30))
        await settled(lambda: server.stats, looks=3)
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert not server.connections
        assert (await server.close()).aborted == 1


async def test_a_timeout_around_close_closes_at_once() -> None:
    server = await pe.serve_tcp(never_ends)
    async with connected(server):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await server.close(drain=30)
        assert not server.connections


async def test_a_handler_that_ignores_its_cancellation_does_not_hold_up_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = asyncio.Event()

    async def stubborn(conn: pe.Connection) -> None:
        while not release.is_set():
            with suppress(asyncio.CancelledError):
                await release.wait()

    monkeypatch.setattr("proactor_echo.net.tcp.server.CANCEL_GRACE", 0.2)
    server = await pe.serve_tcp(stubborn)
    async with connected(server):
        report = await server.close(drain=0)
        assert report.aborted == 1
        assert 0.2 - TICK <= report.seconds < 2
        assert not server.connections
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["1 handlers did not end when cancelled; the server closed without them"]
    release.set()
    await eventually(lambda: not any("serve" in task.get_name() for task in asyncio.all_tasks()))


async def test_a_listener_that_somebody_else_closed_is_no_obstacle() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    server = await pe.serve_tcp(pe.echo, sockets=[listener])
    async with connected(server) as (client,):
        await asyncio.sleep(0)
        listener.close()
        await client.send(b"ping")
        assert await client.receive() == b"ping"
        report = await server.close()
    assert (report.finished, report.aborted) == (1, 0)


async def test_the_port_is_closed_as_soon_as_closing_begins() -> None:
    server = await pe.serve_tcp(never_ends)
    async with connected(server):
        closing = asyncio.create_task(server.close(drain=10))
        await settled(lambda: server.stats, looks=3)
        with pytest.raises(OSError):
            await RawClient.connect(server.addresses[0])
        await server.close(drain=0)
        await closing


async def test_leaving_the_context_drains_for_as_long_as_serve_tcp_was_told() -> None:
    async with await pe.serve_tcp(never_ends, drain=0.1) as server:
        client = await RawClient.connect(server.addresses[0])
        await eventually(lambda: server.connections)
    report = await server.close()
    assert report.aborted == 1
    assert 0.1 - TICK <= report.seconds < 1
    client.close()


async def test_serve_forever_ends_when_the_server_has_closed() -> None:
    server = await pe.serve_tcp(pe.echo)
    serving = asyncio.create_task(server.serve_forever())
    async with connected(server):
        await server.close()
        await serving
    await server.serve_forever()


async def test_cancelling_serve_forever_leaves_the_server_running() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        serving = asyncio.create_task(server.serve_forever())
        await asyncio.sleep(0)
        serving.cancel()
        await asyncio.wait([serving])
        async with connected(server) as (client,):
            await client.send(b"ping")
            assert await client.receive() == b"ping"


async def test_a_handler_that_closes_its_own_server_is_told_that_it_cannot(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(conn: pe.Connection) -> None:
        await server.close()

    async with await pe.serve_tcp(handler) as server:
        async with await RawClient.connect(server.addresses[0]) as client:
            assert not await client.receive_all()
        (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert record.exc_info
        assert isinstance(record.exc_info[1], pe.ProtocolStateError)


async def test_a_handler_may_start_the_closing_of_its_own_server() -> None:
    closing: list[asyncio.Task[pe.DrainReport]] = []

    async def handler(conn: pe.Connection) -> None:
        closing.append(asyncio.create_task(server.close()))
        await conn.send(b"good bye")

    server = await pe.serve_tcp(handler)
    async with await RawClient.connect(server.addresses[0]) as client:
        assert await client.receive_all() == b"good bye"
    await server.serve_forever()
    assert (await closing[0]).finished == 1
