"""An error knows whose it is: what a connection raises because it has ended is no failure of its handler."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from helpers.peers import RawClient, connected, eventually
from helpers.stock import reset_by_peer

import proactor_echo as pe

Reason = pe.DisconnectReason


def events(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [r for r in caplog.records if r.levelno >= logging.WARNING]


async def receives_in_a_group(conn: pe.Connection) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(receive_all(conn))


async def receives_in_a_group_in_a_group(conn: pe.Connection) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(receives_in_a_group(conn))


async def says_good_bye_and_raises_the_first_error_again(conn: pe.Connection) -> None:
    try:
        await receive_all(conn)
    except pe.ProactorEchoError:
        with contextlib.suppress(pe.ProactorEchoError, RuntimeError):
            await conn.close()
            await conn.send(b"good bye")
        raise


async def receive_all(conn: pe.Connection) -> None:
    while True:
        await conn.receive()


@pytest.mark.parametrize(
    "handler",
    [receives_in_a_group, receives_in_a_group_in_a_group, says_good_bye_and_raises_the_first_error_again],
)
@pytest.mark.parametrize("end", ["end of file", "reset", "bad frame"])
async def test_the_end_of_its_peer_is_no_failure_of_a_handler(
    handler: Any, end: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with await pe.serve_tcp(handler, codec=pe.NetstringCodec()) as server, connected(server) as (client,):
        (connection,) = server.connections
        match end:
            case "reset":
                await reset_by_peer(connection, client)
            case "bad frame":
                await client.send(b"no netstring")
                client.send_eof()
            case _:
                client.close()
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.failed == 0
    assert [r.levelname for r in events(caplog)] == (["WARNING"] if end == "bad frame" else [])


async def test_what_else_was_in_the_group_is_the_failure(caplog: pytest.LogCaptureFixture) -> None:
    async def fails_at_the_end(conn: pe.Connection) -> None:
        with contextlib.suppress(pe.EndOfStream):
            await conn.receive()
        raise RuntimeError("the handler's own")

    waiting = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(receive_all(conn))
            waiting.set()
            await conn.state_changed()
            group.create_task(fails_at_the_end(conn))

    async with await pe.serve_tcp(handler) as server, connected(server) as (client,):
        await waiting.wait()
        client.send_eof()
        await eventually(lambda: server.stats.failed == 1)
    (record,) = events(caplog)
    assert record.exc_info is not None
    failure = record.exc_info[1]
    assert isinstance(failure, ExceptionGroup)
    assert [repr(error) for error in failure.exceptions] == ['RuntimeError("the handler\'s own")']


async def test_the_end_of_another_connection_in_a_group_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    async with await pe.serve_tcp(pe.echo) as backend:

        async def handler(conn: pe.Connection) -> None:
            async with await pe.connect_tcp(*backend.addresses[0]) as other:
                other.abort()
                async with asyncio.TaskGroup() as group:
                    group.create_task(receive_all(other))

        async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]):
            await eventually(lambda: server.stats.failed == 1)
    assert [r.levelname for r in events(caplog)] == ["ERROR"]


async def test_a_group_that_is_no_exception_ends_the_connection_too(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(conn: pe.Connection) -> None:
        raise BaseExceptionGroup("both", [asyncio.CancelledError()])

    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        assert await client.receive_all() == b""
        await eventually(lambda: server.stats.failed == 1)
    assert [r.levelname for r in events(caplog)] == ["ERROR"]


# -- a time limit of the handler -----------------------------------------------------------------------------------


async def is_patient_for_a_moment(conn: pe.Connection) -> None:
    async with asyncio.timeout(0.01):
        await conn.receive()


async def is_patient_in_a_group(conn: pe.Connection) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(is_patient_for_a_moment(conn))


@pytest.mark.parametrize("handler", [is_patient_for_a_moment, is_patient_in_a_group])
async def test_a_time_limit_of_the_handler_that_runs_out_costs_one_line_and_has_its_own_reason(
    handler: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="proactor_echo")
    async with await pe.serve_tcp(handler) as server, await RawClient.connect(server.addresses[0]) as client:
        name = pe.format_address(client.sock.getsockname())
        assert await client.receive_all() == b""
        await eventually(lambda: server.stats.disconnects)
        assert server.stats.disconnects == {Reason.HANDLER_TIMEOUT: 1}
        assert server.stats.failed == 0
    (record,) = [r for r in caplog.records if r.name.startswith("proactor_echo")]
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    message = record.getMessage()
    assert message.startswith(f"{name}: a TimeoutError left the handler ({handler.__name__}, test_whose_error.py:")
    assert message.endswith("); the connection is closed")


async def test_the_traceback_of_a_time_limit_is_there_for_whoever_debugs(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        await pe.serve_tcp(is_patient_for_a_moment) as server,
        await RawClient.connect(server.addresses[0]) as client,
    ):
        await client.receive_all()
    (record,) = events(caplog)
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], TimeoutError)
