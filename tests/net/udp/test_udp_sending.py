"""Sending of an endpoint when the system has no room, or tells of another datagram; on every loop the same."""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.network import FaultySocket
from helpers.peers import iterations

import proactor_echo as pe
from proactor_echo.net.loop_api import native


@pytest.fixture
def peer() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(20)
        yield sock


def faulty() -> FaultySocket:
    sock = FaultySocket()
    sock.bind(("127.0.0.1", 0))
    return sock


async def received(peer: socket.socket) -> bytes:
    return await asyncio.to_thread(peer.recv, 100)


async def test_sending_waits_while_the_socket_is_not_writable(peer: socket.socket) -> None:
    sock = faulty()
    async with await pe.bind_udp(sockets=[sock]) as endpoint:
        sock.blocked = 3
        await endpoint.send(b"patience", peer.getsockname())
        assert sock.blocked == 0
        assert await received(peer) == b"patience"
        assert endpoint.stats.datagrams_out == 1


async def test_a_send_that_is_cancelled_while_it_waits_sent_nothing(peer: socket.socket) -> None:
    sock = faulty()
    async with await pe.bind_udp(sockets=[sock]) as endpoint:
        sock.blocked = 1_000_000
        task = asyncio.create_task(endpoint.send(b"never", peer.getsockname()))
        await iterations(20)
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        sock.blocked = 0
        await endpoint.send(b"the next", peer.getsockname())
        assert await received(peer) == b"the next"


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_a_send_that_waits_ends_with_the_endpoint(how: str, peer: socket.socket) -> None:
    sock = faulty()
    async with await pe.bind_udp(sockets=[sock]) as endpoint:
        sock.blocked = 1_000_000
        task = asyncio.create_task(endpoint.send(b"never", peer.getsockname()))
        await iterations(20)
        if how == "close":
            await endpoint.close()
        else:
            endpoint.abort()
        with pytest.raises(pe.ProtocolStateError, match="closed"):
            await task


@pytest.mark.parametrize("errors", [1, 2])
async def test_an_error_of_another_datagram_is_counted_and_does_not_cost_this_one(
    errors: int, peer: socket.socket
) -> None:
    sock = faulty()
    async with await pe.bind_udp(sockets=[sock]) as endpoint:
        sock.errors = [ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused") for _ in range(errors)]
        await endpoint.send(b"all the same", peer.getsockname())
        assert await received(peer) == b"all the same"
        assert (endpoint.stats.unreachable, endpoint.stats.datagrams_out) == (errors, 1)


async def test_an_error_that_does_not_go_away_is_raised(peer: socket.socket) -> None:
    sock = faulty()
    async with await pe.bind_udp(sockets=[sock]) as endpoint:
        sock.errors = [ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused") for _ in range(3)]
        with pytest.raises(ConnectionRefusedError):
            await endpoint.send(b"lost", peer.getsockname())
        assert endpoint.stats.datagrams_out == 0


async def test_an_endpoint_uses_the_transport_of_our_loop_where_it_runs_on_it() -> None:
    loop = native(asyncio.get_running_loop())
    opened: list[Any] = []
    if loop is not None:
        real = loop.open_datagrams

        def open_datagrams(protocol: asyncio.DatagramProtocol, sock: socket.socket) -> Any:
            opened.append(sock)
            return real(protocol, sock)

        loop.open_datagrams = open_datagrams  # type: ignore[method-assign]
    async with await pe.bind_udp() as endpoint, await pe.connect_udp(*endpoint.address):
        assert len(opened) == (0 if loop is None else 2)
