"""Who asks for Nagle's algorithm gets it: ``SocketOptions`` alone says what TCP_NODELAY a connection has."""

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import connected
from helpers.tls import client_context, server_context

import proactor_echo as pe

on_and_off = pytest.mark.parametrize("nodelay", [True, False])


def has_nodelay(connection: pe.FramedProtocol | pe.Connection) -> bool:
    sock = connection.transport.get_extra_info("socket")
    return bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))


def listener(nodelay: bool) -> socket.socket:
    """A listener as servers of other frameworks make it: of protocol TCP by name, and with TCP_NODELAY of its own."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, nodelay)
    sock.bind(("127.0.0.1", 0))
    return sock


@on_and_off
@pytest.mark.parametrize("form", FORMS)
async def test_a_servers_connections_have_the_nodelay_that_was_asked_for(form: dict[str, Any], nodelay: bool) -> None:
    options = pe.SocketOptions(nodelay=nodelay)
    async with await pe.serve_tcp(**form, options=options) as server, connected(server):
        (connection,) = server.connections
        assert has_nodelay(connection) is nodelay


@on_and_off
async def test_so_have_those_of_a_listener_that_was_handed_in(nodelay: bool) -> None:
    options = pe.SocketOptions(nodelay=nodelay)
    async with (
        await pe.serve_tcp(pe.echo, sockets=[listener(not nodelay)], options=options) as server,
        connected(server),
    ):
        (connection,) = server.connections
        assert has_nodelay(connection) is nodelay


@on_and_off
async def test_so_have_those_with_tls(nodelay: bool) -> None:
    options = pe.SocketOptions(nodelay=nodelay)
    async with await pe.serve_tcp(pe.echo, ssl=server_context(), options=options) as server:
        reader, writer = await asyncio.open_connection(*server.addresses[0][:2], ssl=client_context())
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        (connection,) = server.connections
        assert has_nodelay(connection) is nodelay
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@on_and_off
async def test_a_clients_connection_has_the_nodelay_that_was_asked_for(nodelay: bool) -> None:
    options = pe.SocketOptions(nodelay=nodelay)
    async with (
        await pe.serve_tcp(pe.echo) as server,
        await pe.connect_tcp(*server.addresses[0][:2], options=options) as conn,
    ):
        assert has_nodelay(conn) is nodelay
