"""In somebody else's program: beside their servers, on their event loop, in whatever state that is."""

import asyncio
import contextvars
import logging
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from helpers.peers import RawClient

import proactor_echo as pe


def loops() -> list[Any]:
    """Return the event loops that this system and this Python have."""
    kinds: list[Any] = [
        pytest.param(asyncio.new_event_loop, id="default"),
        pytest.param(asyncio.SelectorEventLoop, id="selector"),
    ]
    if sys.version_info >= (3, 12):

        def eager() -> asyncio.AbstractEventLoop:
            loop = asyncio.new_event_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            return loop

        kinds.append(pytest.param(eager, id="eager"))
    return kinds


on_every_loop = pytest.mark.parametrize("factory", loops())


def run(main: Callable[[], Awaitable[None]], factory: Callable[[], asyncio.AbstractEventLoop], **options: Any) -> None:
    async def until_done() -> None:
        async with asyncio.timeout(20):
            await main()

    with asyncio.Runner(loop_factory=factory, **options) as runner:
        runner.run(until_done())


async def ask(address: tuple[Any, ...], question: bytes = b"ping\n") -> bytes:
    async with await RawClient.connect(address) as client:
        await client.send(question)
        return await client.receive_exactly(len(question))


@on_every_loop
def test_it_serves_throttles_and_drains_on_every_loop(factory: Any) -> None:
    async def main() -> None:
        async with await pe.serve_tcp(pe.echo, max_connections=3) as server:
            answers = await asyncio.gather(*(ask(server.addresses[0]) for _ in range(20)))
            assert answers == [b"ping\n"] * 20
            async with await RawClient.connect(server.addresses[0]) as client:
                await client.send(b"stays")
                assert await client.receive() == b"stays"
                report = await server.close()
                assert await client.receive() == b""
        assert (report.finished, report.aborted) == (1, 0)

    run(main, factory)


@on_every_loop
def test_clients_that_reset_do_no_harm_on_every_loop(factory: Any) -> None:
    async def main() -> None:
        async with await pe.serve_tcp(protocol_factory=pe.EchoProtocol) as server:
            for _ in range(50):
                client = await RawClient.connect(server.addresses[0])
                await client.send(b"x")
                client.reset()
            assert await ask(server.addresses[0]) == b"ping\n"

    run(main, factory)


@on_every_loop
def test_a_program_that_forgets_to_close_ends_all_the_same(factory: Any) -> None:
    """asyncio.run() cancels every task at the end; none of them may hang or complain."""
    listener = socket.create_server(("127.0.0.1", 0))

    async def main() -> None:
        await pe.serve_tcp(pe.echo, sockets=[listener])
        assert await ask(listener.getsockname()) == b"ping\n"

    with listener:
        run(main, factory)


def test_debug_mode_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with await pe.serve_tcp(pe.echo, accepts=1) as server:
            assert await ask(server.addresses[0]) == b"ping\n"

    run(main, asyncio.new_event_loop, debug=True)
    said = [r.getMessage() for r in caplog.records if r.name == "asyncio" and r.levelno >= logging.WARNING]
    assert [text for text in said if not text.startswith("Executing")] == []


async def test_it_runs_beside_the_programs_own_servers_and_streams() -> None:
    async def theirs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        upstream_reader, upstream_writer = await asyncio.open_connection(*ours.addresses[0])
        upstream_writer.write(line)
        writer.write(await upstream_reader.readline())
        for each in (upstream_writer, writer):
            each.close()
            await each.wait_closed()

    loop = asyncio.get_running_loop()
    callbacks = await loop.create_server(pe.EchoProtocol, "127.0.0.1", 0)
    streams = await asyncio.start_server(theirs, "127.0.0.1", 0)
    async with await pe.serve_tcp(pe.echo, codec=pe.LineCodec()) as ours, callbacks, streams:
        addresses = [ours.addresses[0], callbacks.sockets[0].getsockname(), streams.sockets[0].getsockname()]
        answers = await asyncio.gather(*(ask(address) for address in addresses * 10))
        assert answers == [b"ping\n"] * 30


async def test_several_servers_in_one_program_know_nothing_of_each_other() -> None:
    async with (
        await pe.serve_tcp(pe.echo) as one,
        await pe.serve_tcp(pe.echo, max_connections=1) as other,
        await RawClient.connect(one.addresses[0]) as client,
    ):
        await client.send(b"one")
        assert await client.receive() == b"one"
        assert await ask(other.addresses[0]) == b"ping\n"
        assert len(one.connections) == 1
        await other.close(drain=0)
        await client.send(b"still one")
        assert await client.receive() == b"still one"


async def test_a_handler_runs_in_the_context_in_which_the_server_was_made() -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="nobody")

    async def handler(conn: pe.Connection) -> None:
        await conn.send(name.get().encode())
        name.set("changed by a handler")

    name.set("the program")
    async with await pe.serve_tcp(handler) as server:
        for _ in range(2):
            async with await RawClient.connect(server.addresses[0]) as client:
                assert await client.receive_all() == b"the program"


async def test_the_programs_task_factory_is_used_and_left_in_place() -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **options: Any) -> Any:
        task = asyncio.Task(coro, loop=loop, **options)
        made.append(task.get_name())
        return task

    loop = asyncio.get_running_loop()
    loop.set_task_factory(factory)
    try:
        async with await pe.serve_tcp(pe.echo) as server:
            assert await ask(server.addresses[0]) == b"ping\n"
            assert loop.get_task_factory() is factory
        assert made
    finally:
        loop.set_task_factory(None)
