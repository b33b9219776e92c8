"""close() and send_eof() begin when they are called, on every kind of connection; nobody has to wait for them."""

import asyncio
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import connected, eventually
from helpers.stock import connection, stock_server

import proactor_echo as pe


@pytest.mark.parametrize("form", FORMS)
async def test_the_connections_of_a_server_can_be_closed_without_waiting(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form) as server, connected(server, 3) as clients:
        for conn in server.connections:
            conn.close()
        for client in clients:
            assert await client.receive_all() == b""
        await eventually(lambda: not server.connections)
        assert server.stats.disconnects == {pe.DisconnectReason.LOCAL_CLOSE: 3}


@pytest.mark.parametrize("form", FORMS)
async def test_the_connections_of_a_server_can_be_closed_and_waited_for(form: dict[str, Any]) -> None:
    async with await pe.serve_tcp(**form) as server, connected(server, 3):
        for conn in server.connections:
            await conn.close()
            assert conn.disconnect is not None
        assert not server.connections


async def test_closing_begins_with_the_call() -> None:
    async with connection() as (conn, _):
        closing = conn.close()
        assert conn.state is pe.ConnectionState.CLOSING
        await closing


async def test_closing_can_be_waited_for_in_every_way() -> None:
    async with connection() as (conn, _):
        await asyncio.wait_for(conn.close(), 10)
        await asyncio.gather(conn.close(), conn.close())
        await asyncio.create_task(conn.close())
        async with asyncio.TaskGroup() as group:
            group.create_task(conn.close())


async def test_a_cancelled_wait_leaves_the_closing_going_on() -> None:
    async with connection() as (conn, _):
        waiting = asyncio.create_task(conn.close())
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert (await conn.wait_closed()).reason is pe.DisconnectReason.LOCAL_CLOSE


async def test_a_task_that_waits_for_the_closing_is_told_of_an_exception_thrown_in() -> None:
    async with connection() as (conn, _):
        closing = conn.close()
        with pytest.raises(KeyError):
            closing.throw(KeyError("thrown"))
        closing.close()
        await conn.close()


@pytest.mark.parametrize("wait", [False, True])
async def test_an_end_of_file_is_sent_with_the_call(wait: bool) -> None:
    async with connection() as (conn, client):
        sent = conn.send_eof()
        assert conn.state is pe.ConnectionState.OUR_EOF
        if wait:
            await sent
        assert await client.receive_all() == b""


async def test_the_closing_of_a_protocol_can_be_waited_for() -> None:
    async with stock_server(pe.EchoProtocol) as serving:
        reader, writer = await asyncio.open_connection(*serving.address)
        protocol = await serving.opened()
        closing = asyncio.gather(protocol.close(), protocol.wait_closed())
        assert await reader.read() == b""
        writer.close()
        await closing
        await writer.wait_closed()
