"""Whatever happens in the code that serves one connection costs that connection, one log record, and nothing else."""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

import pytest
from helpers.peers import RawClient, connected, echoes, eventually
from helpers.stock import reset_by_peer

import proactor_echo as pe
from proactor_echo.net.loop_api import native


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.levelno >= logging.ERROR]


def one_after_another(*factories: Callable[[], Any]) -> Callable[[], Any]:
    """Return a factory that asks one after the other."""
    iterations = iter(factories)

    def make() -> Any:
        return next(iterations)()

    return make


async def fails_in_code(conn: pe.Connection) -> None:
    raise RuntimeError("the handler's own")


async def fails_with_a_group(conn: pe.Connection) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(fails_in_code(conn))


async def waits_for_something_cancelled(conn: pe.Connection) -> None:
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    await future


async def loses_another_connection(conn: pe.Connection) -> None:
    raise pe.Disconnected("the database: reset by peer", reason=pe.DisconnectReason.PEER_RESET)


async def meets_the_end_of_another(conn: pe.Connection) -> None:
    raise pe.EndOfStream("the database: no more frames")


async def sends_what_the_codec_cannot_carry(conn: pe.Connection) -> None:
    await conn.send(b"x" * 100_000)


def returns_nothing_to_await(conn: pe.Connection) -> Any:
    return None


def fails_before_the_first_await(conn: pe.Connection) -> Any:
    raise RuntimeError("the handler's own")


@pytest.mark.parametrize(
    "handler",
    [
        fails_in_code,
        fails_with_a_group,
        waits_for_something_cancelled,
        loses_another_connection,
        meets_the_end_of_another,
        sends_what_the_codec_cannot_carry,
        returns_nothing_to_await,
        fails_before_the_first_await,
    ],
)
async def test_a_handler_that_fails_costs_its_connection_and_one_record(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    fail = True

    async def sometimes(conn: pe.Connection) -> None:
        await (handler if fail else pe.echo)(conn)

    async with await pe.serve_tcp(sometimes, codec=pe.LineCodec()) as server:
        async with await RawClient.connect(server.addresses[0]) as client:
            name = pe.format_address(client.sock.getsockname())
            assert await client.receive_all() == b""
        await eventually(lambda: server.stats.failed == 1)
        (record,) = errors(caplog)
        assert record.getMessage() == f"{name}: serving the connection failed; it is closed"
        assert record.exc_info
        assert server.stats.disconnects == {pe.DisconnectReason.HANDLER_FAILED: 1}
        fail = False
        assert await echoes(server.addresses[0], b"ping\n")


async def test_a_handler_that_fails_leaves_the_others_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(conn: pe.Connection) -> None:
        async for frame in conn:
            await conn.send(frame)
            if frame == b"crash":
                raise RuntimeError("asked to")

    async with await pe.serve_tcp(handler) as server, connected(server, 10) as clients:
        for client in clients[::2]:
            await client.send(b"crash")
        for client in clients[1::2]:
            await client.send(b"ping")
            assert await client.receive_exactly(4) == b"ping"
        await eventually(lambda: server.stats.open == 5)
        assert server.stats.failed == len(errors(caplog)) == 5


async def test_what_a_failing_handler_did_not_send_yet_is_dropped_and_the_client_is_not_kept_waiting() -> None:
    async def handler(conn: pe.Connection) -> None:
        await conn.send(b"x" * 1_000_000)
        raise RuntimeError("after all")

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        try:
            received = len(await client.receive_all())
        except OSError:
            received = 0
        assert received < 1_000_000
        await eventually(lambda: not server.connections)


@pytest.mark.parametrize("read", [False, True])
async def test_a_client_that_resets_is_no_failure_of_the_handler(read: bool, caplog: pytest.LogCaptureFixture) -> None:
    done = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        try:
            if read:
                await conn.receive()
            else:
                await conn.wait_closed()
                await conn.send(b"too late")
        finally:
            done.set()

    async with await pe.serve_tcp(handler) as server, connected(server) as (client,):
        (connection,) = server.connections
        await reset_by_peer(connection, client)
        await done.wait()
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.failed == 0
    assert errors(caplog) == []


async def test_a_frame_that_is_none_is_no_failure_of_the_handler(caplog: pytest.LogCaptureFixture) -> None:
    async with await pe.serve_tcp(pe.echo, codec=pe.NetstringCodec()) as server, connected(server) as (client,):
        await client.send(b"4:ping,not a netstring")
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {pe.DisconnectReason.FRAMING: 1}
    assert errors(caplog) == []
    assert len([r for r in caplog.records if r.levelno == logging.WARNING]) == 1


async def test_the_connection_is_closed_when_the_handler_returns() -> None:
    async def handler(conn: pe.Connection) -> None:
        await conn.send(b"once")

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        assert await client.receive_all() == b"once"
        await eventually(lambda: server.stats.disconnects == {pe.DisconnectReason.LOCAL_CLOSE: 1})


async def test_a_handler_may_go_on_after_its_connection_has_ended() -> None:
    release, done = asyncio.Event(), asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        await conn.close()
        await release.wait()
        done.set()

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        assert await client.receive_all() == b""
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.open == 0
        release.set()
        await done.wait()


# -- protocols -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failing",
    ["connection_opened", "frame_received", "frames_received", "end_received", "connection_closed"],
)
async def test_a_protocol_that_fails_costs_its_connection_and_one_record(
    failing: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(self: Any, *args: Any) -> None:
        raise RuntimeError(failing)

    factory = one_after_another(type("Bad", (pe.FramedProtocol,), {failing: fail}), pe.EchoProtocol)
    async with await pe.serve_tcp(protocol_factory=factory, codec=pe.LineCodec()) as server:
        async with await RawClient.connect(server.addresses[0]) as client:
            with contextlib.suppress(OSError):
                await client.send(b"x\n")
                client.send_eof()
                assert not await client.receive_all()
        await eventually(lambda: server.stats.disconnects and not server.stats.open)
        (record,) = errors(caplog)
        assert record.exc_info
        assert str(record.exc_info[1]) == failing
        if failing != "connection_closed":
            assert server.stats.failed == 1
        assert await echoes(server.addresses[0], b"ping\n")


@pytest.mark.parametrize("made", [asyncio.Protocol, lambda: None, lambda: 1 / 0])
async def test_a_factory_that_makes_no_protocol_costs_a_connection_and_one_record(
    made: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """gh-156365: the stock server stops accepting and leaks the socket."""
    factory = one_after_another(made, made, made, pe.EchoProtocol)
    async with await pe.serve_tcp(protocol_factory=factory, max_connections=1) as server:
        for _ in range(3):
            async with await RawClient.connect(server.addresses[0]) as client:
                with contextlib.suppress(OSError):
                    assert await client.receive_all() == b""
        await eventually(lambda: server.stats.refused == 3)
        assert len(errors(caplog)) == 3
        assert await echoes(server.addresses[0], b"ping\n")


async def test_a_codec_that_makes_no_decoder_costs_a_connection_and_one_record(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Broken(pe.RawCodec):
        def decoder(self) -> pe.Decoder:
            raise RuntimeError("no decoder")

    async with await pe.serve_tcp(pe.echo, codec=Broken()) as server:
        async with await RawClient.connect(server.addresses[0]) as client:
            assert await client.receive_all() == b""
        await eventually(lambda: server.stats.failed == 1)
    assert len(errors(caplog)) == 1


async def test_a_connection_whose_setting_up_fails_is_closed_and_counted(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    loop: Any = asyncio.get_running_loop()
    answers: list[Exception] = [ConnectionResetError("while being set up"), ValueError("not this one")]
    real: Any = loop.connect_accepted_socket, getattr(loop, "open_accepted", None)

    async def connect_accepted_socket(*args: Any, **options: Any) -> Any:
        if answers:
            raise answers.pop(0)
        return await real[0](*args, **options)

    def open_accepted(*args: Any) -> Any:
        if answers:
            raise answers.pop(0)
        return real[1](*args)

    monkeypatch.setattr(loop, "connect_accepted_socket", connect_accepted_socket)
    if native(loop):  # ours opens without it
        monkeypatch.setattr(loop, "open_accepted", open_accepted)
    async with await pe.serve_tcp(pe.echo, max_connections=1) as server:
        for _ in range(2):
            async with await RawClient.connect(server.addresses[0]) as client:
                assert not await client.receive_all()
        assert await echoes(server.addresses[0], b"ping\n")
        assert (server.stats.accepted, server.stats.refused) == (3, 2)
    (record,) = errors(caplog)
    assert record.exc_info
    assert isinstance(record.exc_info[1], ValueError)
