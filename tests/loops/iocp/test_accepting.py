"""Rows of the defect table: what the stock ProactorEventLoop does while it accepts, and ours does not."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

from helpers.recording import Bench, Echo, listen, reset
from helpers.windows_rows import bench, on_each, run, within

from proactor_echo.loops.iocp import accept as iocp_accept
from proactor_echo.loops.iocp import operations as overlapped


async def is_echoed(address: Any, data: bytes = b"hello") -> bool:
    """Whether a new client gets its bytes back; False when it is refused, closed, or not answered in a second."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(1):
            with socket.socket() as client:
                client.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_connect(client, address)
                await loop.sock_sendall(client, data)
                return await loop.sock_recv(client, 100) == data
    return False


def send_and_reset(address: Any, count: int) -> None:
    for _ in range(count):
        client = socket.create_connection(address)
        client.sendall(b"x")
        reset(client)


# -- rows 1 and 3 --------------------------------------------------------------------------------------------------


@on_each
def test_clients_that_reset_leave_the_listener_alive_and_the_log_quiet(kind: str) -> None:
    async def main() -> bool:
        server, address = await listen()
        alive = True
        for _ in range(10):
            if alive:
                send_and_reset(address, 30)  # while the loop does not run: each is gone before it is accepted
                alive = await is_echoed(address)
        server.close()
        return alive

    here = bench(kind)
    alive = run(here, main())
    messages = [context["message"] for context in here.errors]
    if kind == "ours":
        assert alive
        assert messages == []
    else:
        assert not alive
        assert "Accept failed on a socket" in messages
        assert any("was never retrieved" in message for message in messages)


# -- row 2 -----------------------------------------------------------------------------------------------------------


@on_each
def test_a_factory_that_raises_costs_one_connection_and_closes_its_socket(kind: str) -> None:
    async def main() -> tuple[bool, bool]:
        failures = iter([True])

        def factory() -> Echo:
            if next(failures, False):
                raise ValueError("no protocol for the first")
            return Echo()

        server, address = await listen(factory)
        loop = asyncio.get_running_loop()
        with socket.socket() as first:
            first.setblocking(False)
            await loop.sock_connect(first, address)
            closed = await within(0.3, loop.sock_recv(first, 1)) == b""
            alive = await is_echoed(address)
        server.close()
        return closed, alive

    here = bench(kind)
    closed, alive = run(here, main())
    assert alive == (kind == "ours")
    assert closed or kind == "stock"  # the stock loop leaves it to the garbage collector
    assert any(isinstance(context.get("exception"), ValueError) for context in here.errors)


# -- errors that only an injected one can show -----------------------------------------------------------------------


@pytest.mark.parametrize("number", [64, 121, 995, 1236, 10053, 10054, 59, 10050])
def test_every_error_of_an_accept_is_survived_in_silence(
    ours: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    calls = 0
    submit = overlapped.Accept.submit

    def failing(self: overlapped.Accept, proactor: Any) -> None:
        nonlocal calls
        calls += 1
        if calls % 2:
            self.conn.close()
            raise overlapped.error_from(number)
        submit(self, proactor)

    monkeypatch.setattr(overlapped.Accept, "submit", failing)

    async def main() -> None:
        server, address = await listen()
        for _ in range(5):
            assert await is_echoed(address)
        server.close()

    ours.run(main())
    assert calls > 5
    assert ours.errors == []


@pytest.mark.parametrize("number", [10024, 10055, 1450, 8, 6, 87, 10009, 10022, 10038])
def test_an_exhausted_system_pauses_accepting_and_is_reported_once(
    ours: Bench, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    refusals = 3
    submit = overlapped.Accept.submit

    def failing(self: overlapped.Accept, proactor: Any) -> None:
        nonlocal refusals
        if refusals:
            refusals -= 1
            self.conn.close()
            raise overlapped.error_from(number)
        submit(self, proactor)

    monkeypatch.setattr(overlapped.Accept, "submit", failing)
    monkeypatch.setattr("proactor_echo.sockets.accept_errors.FIRST_PAUSE", 0.01)

    async def main() -> None:
        server, address = await listen()
        assert await is_echoed(address)
        server.close()

    ours.run(main())
    assert refusals == 0
    assert ["paused" in context["message"] for context in ours.errors] == [True]


def test_a_listener_that_always_fails_does_not_keep_the_loop_busy(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    def failing(self: overlapped.Accept, proactor: Any) -> None:
        nonlocal calls
        calls += 1
        self.conn.close()
        raise overlapped.error_from(10050)

    monkeypatch.setattr(overlapped.Accept, "submit", failing)

    async def main() -> None:
        server, _ = await listen()
        async with asyncio.timeout(5):
            while not ours.errors:
                await asyncio.sleep(0)
            tries = calls
            for _ in range(10):
                await asyncio.sleep(0)
            assert calls == tries  # paused
        server.close()

    ours.run(main())


# -- row 15 ----------------------------------------------------------------------------------------------------------


def test_several_accepts_wait_and_their_number_follows_the_rate(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server, address = await listen(backlog=512)
        (acceptor,) = loop._state.acceptors.values()
        assert len(acceptor._accepts) == iocp_accept.FLOOR
        clients = [socket.create_connection(address) for _ in range(200)]  # the loop does not run meanwhile
        while acceptor._depth < iocp_accept.CEILING:
            await asyncio.sleep(0.001)
        for client in clients:
            client.close()
        while acceptor._depth > iocp_accept.FLOOR:
            assert await is_echoed(address)
            acceptor._quiet = iocp_accept.QUIET_ITERATIONS  # as if it had been calm for long
        server.close()

    ours.run(main())


@pytest.mark.parametrize("most", [1, 2, 8])
def test_no_more_accepts_wait_than_asked_for(ours: Bench, most: int) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        taken: list[socket.socket] = []
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            acceptor = loop.accept_connections(listener, lambda conn, peer: taken.append(conn), print, most=most)
            assert len(acceptor._accepts) == min(most, iocp_accept.FLOOR)
            clients = [socket.create_connection(listener.getsockname()) for _ in range(40)]
            while len(taken) < len(clients):
                assert len(acceptor._accepts) <= most
                await asyncio.sleep(0.001)
            acceptor.close()
            for sock in (*clients, *taken):
                sock.close()
            async with asyncio.timeout(5):
                while loop._proactor.pending:
                    await asyncio.sleep(0.001)

    ours.run(main())


def test_closing_the_server_gives_every_accept_socket_back(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server, _ = await listen()
        (acceptor,) = loop._state.acceptors.values()
        conns = [accept.conn for accept in acceptor._accepts]
        server.close()
        async with asyncio.timeout(5):
            while any(conn.fileno() != -1 for conn in conns):
                await asyncio.sleep(0)
        assert loop._proactor.pending == 0

    ours.run(main())


# -- row 16 ----------------------------------------------------------------------------------------------------------


@on_each
def test_a_cancelled_sock_accept_loses_no_client(kind: str) -> None:
    async def main() -> bool:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0)
            client = socket.create_connection(listener.getsockname())
            address = client.getsockname()
            task.cancel()  # the kernel has accepted the client already, and nobody has looked
            await asyncio.wait([task])
            accepted = await within(0.5, loop.sock_accept(listener))
            if accepted is not None:
                accepted[0].close()
            client.close()
        return accepted is not None and accepted[1] == address

    assert run(bench(kind), main()) == (kind == "ours")


def test_what_a_cancelled_accept_took_is_closed_with_its_listener(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            task = asyncio.ensure_future(loop.sock_accept(listener))
            await asyncio.sleep(0)
            client = socket.create_connection(listener.getsockname())
            client.setblocking(False)
            task.cancel()  # the kernel has accepted the client already, and nobody has looked
            await asyncio.wait([task])
            while loop._proactor.pending:
                await asyncio.sleep(0.001)
        assert await loop.sock_recv(client, 1) == b""
        client.close()

    run(ours, main())


def test_many_waiting_accepts_each_get_a_client(ours: Bench) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
            listener.setblocking(False)
            tasks = [asyncio.ensure_future(loop.sock_accept(listener)) for _ in range(20)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            clients = [socket.create_connection(listener.getsockname()) for _ in range(20)]
            accepted = [await task for task in tasks[1::2]] + [await loop.sock_accept(listener) for _ in range(10)]
            assert {peer for _, peer in accepted} == {client.getsockname() for client in clients}
            for conn in [conn for conn, _ in accepted] + clients:
                conn.close()

    ours.run(main())
