"""Closing is bounded and reported: connections finish if they can, and are aborted at the deadline if they cannot."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import TICK, Pattern, connected, eventually, never_ends, settled
from helpers.stock import reset_by_peer

import proactor_echo as pe


def in_both_forms(test: Callable[[dict[str, Any]], Coroutine[Any, Any, None]]) -> Callable[[], Awaitable[None]]:
    """Run a test that waits for time to pass on a server of either form at the same time."""

    async def both() -> None:
        async with asyncio.TaskGroup() as tests:
            for form in FORMS:
                tests.create_task(test(*form.values))

    both.__name__ = test.__name__
    return both


@pytest.fixture
def short_quiet_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactor_echo.net.tcp.server.QUIET_TIME", 0.1)


@pytest.mark.parametrize("form", FORMS)
async def test_idle_clients_finish_at_once_with_an_end_of_file(form: dict[str, Any]) -> None:
    server = await pe.serve_tcp(**form)
    async with connected(server, 20) as clients:
        for client in clients[10:]:
            await client.send(b"ping")
            assert await client.receive_exactly(4) == b"ping"
        report = await server.close(drain=10)
        assert (report.finished, report.aborted) == (20, 0)
        assert report.seconds < 1
        for client in clients:
            assert await client.receive() == b""
    assert server.stats.disconnects == {pe.DisconnectReason.LOCAL_CLOSE: 20}
    assert server.stats.open == 0


async def test_a_handler_in_the_middle_of_an_answer_finishes_it() -> None:
    asked, answer = asyncio.Event(), asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        async for _ in conn:
            asked.set()
            await answer.wait()
            await conn.send(b"the answer")

    server = await pe.serve_tcp(handler)
    async with connected(server) as (client,):
        await client.send(b"?")
        await asked.wait()
        closing = asyncio.create_task(server.close(drain=10))
        await settled(lambda: server.stats)
        assert not closing.done()
        answer.set()
        report = await closing
        assert await client.receive_all() == b"the answer"
    assert (report.finished, report.aborted) == (1, 0)


async def test_a_handler_may_say_good_bye() -> None:
    async def handler(conn: pe.Connection) -> None:
        async for _ in conn:
            pass
        await conn.send(b"bye")

    server = await pe.serve_tcp(handler)
    async with connected(server) as (client,):
        await server.close(drain=10)
        assert await client.receive_all() == b"bye"


@in_both_forms
async def test_a_client_in_the_middle_of_a_frame_has_until_the_deadline(form: dict[str, Any]) -> None:
    server = await pe.serve_tcp(**form, codec=pe.LineCodec())
    async with connected(server, 2) as (quick, slow):
        await quick.send(b"half a li")
        await slow.send(b"half a li")
        await eventually(lambda: server.stats.bytes_in == 18)
        closing = asyncio.create_task(server.close(drain=0.25))
        await settled(lambda: server.stats, looks=5)
        await quick.send(b"ne\n")
        assert await quick.receive_all() == b"half a line\n"
        report = await closing
    assert (report.finished, report.aborted) == (1, 1)
    assert 0.25 - TICK <= report.seconds < 1.5
    assert server.stats.disconnects[pe.DisconnectReason.DRAIN_DEADLINE] == 1


@in_both_forms
async def test_a_client_that_does_not_read_is_aborted_at_the_deadline(form: dict[str, Any]) -> None:
    server = await pe.serve_tcp(**form, options=pe.SocketOptions(send_buffer=32768, receive_buffer=32768))
    async with connected(server, receive_buffer=32768) as (client,):
        sending = asyncio.create_task(client.send(Pattern().take(1 << 20) * 4))
        # Longer than TCP waits before it asks a full receiver again, or the rest might just go into its buffers.
        await settled(lambda: server.stats.bytes_in, looks=40)
        report = await server.close(drain=0.2)
        assert (report.finished, report.aborted) == (0, 1)
        assert 0.19 < report.seconds < 1
        with pytest.raises(OSError):
            await sending


async def test_idle_busy_and_stuck_ones_are_told_apart() -> None:
    release = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        kind = await conn.receive()
        if kind == b"busy":
            await release.wait()
            await conn.send(b"done")
        elif kind == b"stuck":
            await never_ends(conn)
        await pe.echo(conn)

    server = await pe.serve_tcp(handler)
    async with connected(server, 3) as idle, connected(server, 4) as busy, connected(server, 5) as stuck:
        for clients, kind in ((idle, b"idle"), (busy, b"busy"), (stuck, b"stuck")):
            for client in clients:
                await client.send(kind)
        await eventually(lambda: server.stats.frames_in == 12)
        closing = asyncio.create_task(server.close(drain=0.2))
        for client in idle:
            assert await client.receive() == b""
        release.set()
        for client in busy:
            assert await client.receive_all() == b"done"
        report = await closing
    assert (report.finished, report.aborted) == (7, 5)
    assert str(report).startswith("7 finished, 5 aborted in 0.2")


@pytest.mark.usefixtures("short_quiet_time")
@in_both_forms
async def test_a_client_that_goes_on_talking_is_answered_until_it_stops(form: dict[str, Any]) -> None:
    server = await pe.serve_tcp(**form)
    async with connected(server) as (client,):
        closing = asyncio.create_task(server.close(drain=10))
        start = asyncio.get_running_loop().time()
        while asyncio.get_running_loop().time() - start < 0.25:
            await client.send(b"and")
            assert await client.receive_exactly(3) == b"and"
        assert not closing.done()
        report = await closing
        assert await client.receive() == b""
    assert (report.finished, report.aborted) == (1, 0)


async def test_others_that_leave_do_not_make_a_client_look_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactor_echo.net.tcp.server.QUIET_TIME", 10.0)
    server = await pe.serve_tcp(pe.echo)
    async with connected(server) as (client,), connected(server, 20) as others:
        closing = asyncio.create_task(server.close(drain=20))
        for left, other in enumerate(others, 1):
            other.close()
            await eventually(lambda left=left: len(server.connections) == 21 - left)  # type: ignore[misc]
        await client.send(b"still here")
        assert await client.receive() == b"still here"
        client.close()
        assert (await closing).finished == 21


async def test_a_cancelled_handler_may_clean_up() -> None:
    cleaned = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        try:
            await never_ends(conn)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    server = await pe.serve_tcp(handler)
    async with connected(server):
        await server.close(drain=0)
        assert cleaned.is_set()


async def test_a_client_that_leaves_while_the_server_drains_has_finished() -> None:
    done = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        await conn.wait_closed()
        done.set()

    server = await pe.serve_tcp(handler)
    async with connected(server) as (client,):
        (connection,) = server.connections
        closing = asyncio.create_task(server.close(drain=10))
        await settled(lambda: server.stats, looks=3)
        await reset_by_peer(connection, client)
        report = await closing
    assert (report.finished, report.aborted) == (1, 0)
    assert done.is_set()


async def test_a_protocol_hears_of_its_end_once() -> None:
    ends: list[str] = []

    class Patient(pe.FramedProtocol):
        def end_received(self) -> None:
            ends.append("end")

        def connection_closed(self, disconnect: pe.Disconnect) -> None:
            ends.append(disconnect.reason)

    server = await pe.serve_tcp(protocol_factory=Patient)
    async with connected(server) as (client,):
        closing = asyncio.create_task(server.close(drain=0.3))
        await eventually(lambda: ends)
        client.send_eof()
        report = await closing
    assert ends == ["end", pe.DisconnectReason.DRAIN_DEADLINE]
    assert report.aborted == 1


async def test_closing_300_idle_connections_takes_little_time() -> None:
    server = await pe.serve_tcp(protocol_factory=pe.EchoProtocol)
    async with connected(server, 300):
        report = await server.close()
    assert (report.finished, report.aborted) == (300, 0)
    assert report.seconds < 2


@pytest.mark.parametrize("drain", [0, 30], ids=["aborted", "finished"])
async def test_no_iteration_of_the_loop_ends_more_than_a_part_of_many_connections(drain: float) -> None:
    ended = [0]

    class Counted(pe.EchoProtocol):
        def connection_closed(self, disconnect: pe.Disconnect) -> None:
            ended[-1] += 1

    loop = asyncio.get_running_loop()

    def next_iteration() -> None:
        if ended[-1]:
            ended.append(0)
        if not closing.done():
            loop.call_soon(next_iteration)

    server = await pe.serve_tcp(protocol_factory=Counted, backlog=128)
    async with connected(server, 600):
        closing = asyncio.create_task(server.close(drain))
        loop.call_soon(next_iteration)
        report = await closing
    assert report.finished + report.aborted == sum(ended) == 600
    assert report.aborted == (600 if drain == 0 else 0)
    assert max(ended) <= 300
