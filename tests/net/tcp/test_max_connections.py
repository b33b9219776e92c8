"""Throttling: with ``max_connections`` served, more clients wait, none is dropped, and the next is taken in turn."""

import asyncio
import gc
import socket
from typing import Any

import pytest
from helpers.peers import WINE, RawClient, eventually, lowest_free_handle, settled
from helpers.stock import reset_by_peer

import proactor_echo as pe


def two_listeners() -> list[socket.socket]:
    return [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]


async def serve_one_at_a_time_on_two() -> pe.Server:
    """Serve with an accept outstanding on each of two listeners, and one place for both."""
    server = await pe.serve_tcp(pe.echo, sockets=two_listeners(), max_connections=1)
    await asyncio.sleep(0)
    return server


async def ask(client: RawClient, question: bytes = b"ping") -> bytes:
    await client.send(question)
    return await client.receive_exactly(len(question))


async def end_of(client: RawClient) -> bytes | None:
    """Read to the end; None when it was a reset."""
    try:
        return await client.receive_all()
    except OSError:
        return None


async def test_a_client_too_many_waits_and_is_served_when_one_leaves() -> None:
    async with await pe.serve_tcp(pe.echo, max_connections=2) as server:
        address = server.addresses[0]
        async with await RawClient.connect(address) as first, await RawClient.connect(address) as second:
            assert await ask(first) == await ask(second) == b"ping"
            async with await RawClient.connect(address) as third:
                answer = asyncio.create_task(ask(third))
                await settled(lambda: server.stats)
                assert server.stats.open == 2
                assert not answer.done()
                first.close()
                assert await answer == b"ping"
                assert await ask(second) == b"ping"
                assert server.stats.open == 2


async def test_never_more_than_the_maximum_are_served_and_all_of_them_are() -> None:
    serving = peak = 0

    async def handler(conn: pe.Connection) -> None:
        nonlocal serving, peak
        serving += 1
        peak = max(peak, serving)
        await pe.echo(conn)
        serving -= 1

    async def client(address: tuple[Any, ...], number: int) -> None:
        async with await RawClient.connect(address) as raw:
            assert await ask(raw, b"%5d" % number) == b"%5d" % number

    async with await pe.serve_tcp(handler, max_connections=7) as server:
        await asyncio.gather(*(client(server.addresses[0], number) for number in range(200)))
        assert peak == 7
        await eventually(lambda: server.stats.open == 0)
        assert server.stats.accepted == sum(server.stats.disconnects.values()) == 200


async def test_clients_are_served_in_the_order_in_which_they_came() -> None:
    served: list[bytes] = []

    async def handler(conn: pe.Connection) -> None:
        served.append(await conn.receive())

    async with await pe.serve_tcp(handler, max_connections=1) as server:
        clients = []
        for number in range(10):
            client = await RawClient.connect(server.addresses[0])
            await client.send(b"%d" % number)
            clients.append(client)
        for client in clients:
            assert await client.receive_all() == b""
            client.close()
    assert served == [b"%d" % number for number in range(10)]


async def test_an_idle_listener_does_not_hold_the_last_place() -> None:
    async with await serve_one_at_a_time_on_two() as server:
        for address in server.addresses * 3:
            async with await RawClient.connect(address) as client:
                assert await ask(client) == b"ping"


async def test_two_listeners_share_the_places_fairly() -> None:
    served: list[bytes] = []

    async def handler(conn: pe.Connection) -> None:
        served.append(await conn.receive())

    async with await pe.serve_tcp(handler, sockets=two_listeners(), max_connections=1) as server:
        clients = []
        for name, address in zip("ab", server.addresses, strict=True):
            for _ in range(10):
                client = await RawClient.connect(address)
                await client.send(name.encode())
                clients.append(client)
        await eventually(lambda: len(served) == 20)
        for client in clients:
            client.close()
    assert 3 <= served[:10].count(b"a") <= 7


async def test_a_connection_accepted_over_the_limit_waits_and_is_served() -> None:
    """Both listeners have an accept outstanding when the only place goes."""
    async with await serve_one_at_a_time_on_two() as server, await RawClient.connect(server.addresses[0]) as first:
        assert await ask(first) == b"ping"
        async with await RawClient.connect(server.addresses[1]) as second:
            answer = asyncio.create_task(ask(second))
            await settled(lambda: server.stats)
            assert not answer.done()
            first.close()
            assert await answer == b"ping"


async def test_a_connection_that_waits_for_a_slot_is_closed_when_the_server_closes() -> None:
    server = await serve_one_at_a_time_on_two()
    async with await RawClient.connect(server.addresses[0]) as first:
        assert await ask(first) == b"ping"
        async with await RawClient.connect(server.addresses[1]) as second:
            await second.send(b"never read")
            await settled(lambda: server.stats)
            report = await server.close()
            assert not await end_of(second)
        assert await first.receive() == b""
    assert (report.finished, report.aborted) == (1, 0)
    # Ours leaves it in the backlog, where it is not counted.
    assert server.stats.accepted - server.stats.refused == 1


async def test_a_client_that_gives_up_waiting_does_not_keep_its_place() -> None:
    async with await serve_one_at_a_time_on_two() as server:
        async with await RawClient.connect(server.addresses[0]) as first:
            assert await ask(first) == b"ping"
            for address in server.addresses * 2:
                hasty = await RawClient.connect(address)
                await hasty.send(b"x")
                hasty.reset()
            first.close()
        async with await RawClient.connect(server.addresses[1]) as late:
            assert await ask(late) == b"ping"


async def test_a_slot_is_taken_as_long_as_the_handler_runs() -> None:
    """Else handlers that go on working for clients which have left would pile up without a limit."""
    gone, release = asyncio.Event(), asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        await conn.receive()
        await conn.wait_closed()
        gone.set()
        await release.wait()

    async with await pe.serve_tcp(handler, max_connections=1, drain=0) as server:
        first = await RawClient.connect(server.addresses[0])
        await first.send(b"x")
        await eventually(lambda: server.stats.frames_in)
        (connection,) = server.connections
        await reset_by_peer(connection, first)
        await gone.wait()
        async with await RawClient.connect(server.addresses[0]) as second:
            await second.send(b"x")
            await settled(lambda: server.stats)
            assert server.stats.open == 0
            release.set()
            await eventually(lambda: server.stats.open == 1)


async def test_a_place_is_given_back_by_whatever_ends_badly(caplog: pytest.LogCaptureFixture) -> None:
    turn = 0

    def factory() -> pe.FramedProtocol:
        nonlocal turn
        turn += 1
        if turn % 2:
            raise RuntimeError("no protocol today")
        return pe.EchoProtocol()

    async with await pe.serve_tcp(protocol_factory=factory, max_connections=1) as server:
        for _ in range(5):
            async with await RawClient.connect(server.addresses[0]) as refused:
                assert not await end_of(refused)
            async with await RawClient.connect(server.addresses[0]) as served:
                assert await ask(served) == b"ping"
        await eventually(lambda: server.stats.open == 0)
        assert (server.stats.accepted, server.stats.refused) == (10, 5)


@pytest.mark.parametrize("iterations", range(8))
async def test_a_connection_that_arrives_while_the_server_closes_is_closed(iterations: int) -> None:
    """gh-77875: cancelling a task that is in sock_accept loses a connection which has arrived, and leaks its socket."""
    for count in range(6):
        server = await pe.serve_tcp(pe.echo, accepts=4)
        clients = [socket.create_connection(server.addresses[0]) for _ in range(count)]
        for _ in range(iterations):
            await asyncio.sleep(0)
        await server.close(drain=0)
        for client in clients:
            client.setblocking(False)
            assert not await end_of(RawClient(client))
            client.close()
        assert server.stats.accepted == server.stats.refused + sum(server.stats.disconnects.values())


def objects_of_ours() -> int:
    return sum(type(thing).__module__.startswith("proactor_echo") for thing in gc.get_objects())


async def test_nothing_is_left_of_thousands_of_connections() -> None:
    async with await pe.serve_tcp(pe.echo, accepts=4) as server:

        async def visits(count: int) -> None:
            for _ in range(count):
                async with await RawClient.connect(server.addresses[0]) as client:
                    assert await ask(client) == b"ping"
            await eventually(lambda: server.stats.open == 0)

        await visits(10)
        await settled(lambda: len(asyncio.all_tasks()))
        gc.collect()
        before, handle, objects = len(asyncio.all_tasks()), lowest_free_handle(), objects_of_ours()
        await asyncio.gather(*(visits(6 if WINE else 40) for _ in range(50)))
        await eventually(lambda: len(asyncio.all_tasks()) == before)
        gc.collect()
        # The loop's pipeline and pools may have grown; what 300 connections or more leave behind would be more.
        assert lowest_free_handle() < handle + 150
        assert objects_of_ours() < objects + 150
