"""Heavy protocol use on our loop, as database drivers and servers do it: pipelines, floods, cancelling, loss."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import zlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from helpers.database import Client, Database, QueryError, row
from helpers.peers import eventually, settled
from helpers.recording import Bench
from helpers.tls import client_context, server_context


@contextlib.asynccontextmanager
async def serving(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[Database, Any]]:
    database = Database(tls)
    server = await asyncio.get_running_loop().create_server(database.session, "127.0.0.1", 0)
    async with server:
        yield database, server.sockets[0].getsockname()
    await eventually(lambda: not database.sessions, "a session is left")


def test_a_deep_pipeline_is_answered_in_order(ours: Bench) -> None:
    """Ten clients send 500 queries each before they look at an answer; the server stops reading meanwhile."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    rng = random.Random(seed)

    async def work(client: Client) -> None:
        asked = [(rng.randrange(5), rng.choice([0, 1, 100, 5000])) for _ in range(500)]
        answers = [client.query(f"rows {count} {size}") for count, size in asked]
        for (count, size), answer in zip(asked, answers, strict=True):
            rows, query = await answer
            assert query == b"rows %d %d" % (count, size)
            assert rows == [row(number, size) for number in range(count)]

    async def main() -> None:
        async with serving() as (database, address):
            clients = [await Client.connect(address) for _ in range(10)]
            await asyncio.gather(*map(work, clients))
            assert all(session.holds for session in database.sessions.values())
            for client in clients:
                await client.close()

    ours.run(main())
    assert not ours.errors


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_a_result_waits_for_a_client_that_does_not_read(ours: Bench, tls: bool) -> None:
    """Of 24 MB only what fits into buffers is made; it goes on where it stopped, three times."""
    count, size = 600, 40_000

    async def main() -> None:
        async with serving(server_context() if tls else None) as (database, address):
            client = await Client.connect(address, client_context() if tls else None)
            (session,) = database.sessions.values()
            client.pause_after = 50
            answer = client.query(f"rows {count} {size}")
            for _ in range(3):
                await settled(lambda: (len(client.rows), session.rows), looks=5)
                assert client.pause_after <= len(client.rows) <= client.pause_after + 10  # TLS hands over what it has
                assert session.rows < count
                assert not session.may_write
                client.pause_after += 50
                client.transport.resume_reading()
            await eventually(lambda: len(client.rows) >= client.pause_after)
            client.transport.resume_reading()
            assert (await answer).rows == [row(number, size) for number in range(count)]
            await client.close()

    ours.run(main())
    assert not ours.errors


def test_a_copy_waits_for_a_server_that_pauses(ours: Bench) -> None:
    """8 MB by turns in write() and writelines(), held up by both ends' flow control, are taken whole."""
    chunks = [row(number, number % 60_000) for number in range(0, 120_000, 431)]
    whole = b"".join(chunks)

    async def main() -> None:
        async with serving() as (database, address):
            client = await Client.connect(address)
            (session,) = database.sessions.values()
            summary = await client.copy(chunks)
            assert summary == b"%d %d" % (len(whole), zlib.crc32(whole))
            assert client.pauses
            assert session.holds
            assert (await client.query("rows 1 5")).rows == [row(0, 5)]
            await client.close()

    ours.run(main())
    assert not ours.errors


def test_a_query_is_cancelled_over_a_second_connection(ours: Bench) -> None:
    """One that waits, one in the middle of its rows, one whose task has a timeout; those behind them are answered."""

    async def main() -> None:
        async with serving() as (database, address):
            client = await Client.connect(address)
            (session,) = database.sessions.values()
            for query in ("sleep", "rows 100000000 1000"):
                first, second = client.query(query), client.query("rows 2 3")
                await eventually(lambda: session.running is not None)
                await client.cancel()
                with pytest.raises(QueryError, match="cancelled"):
                    await first
                assert (await second).rows == [row(0, 3), row(1, 3)]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(client.query("sleep"), 0.01)
            await client.cancel()
            assert (await client.query("rows 1 1")).rows == [row(0, 1)]
            await client.close()

    ours.run(main())
    assert not ours.errors


@pytest.mark.parametrize("who", ["server", "client"])
def test_an_abrupt_loss_fails_what_waits_and_nobody_else(ours: Bench, who: str) -> None:
    """In the middle of a large result, with more queries behind it, half of the connections are aborted."""

    async def main() -> None:
        async with serving() as (database, address):
            clients = [await Client.connect(address) for _ in range(10)]
            sessions = list(database.sessions.values())
            answers = [[client.query("rows 300 40000"), *map(client.query, ["sleep"] * 20)] for client in clients[:5]]
            others = [client.query("rows 300 40000") for client in clients[5:]]
            await eventually(lambda: all(len(client.rows) > 10 for client in clients[:5]))
            for end in clients[:5] if who == "client" else sessions[:5]:
                end.transport.abort()
            for client, waiting in zip(clients, answers, strict=False):
                results = await asyncio.gather(*waiting, return_exceptions=True)
                assert {type(result) for result in results[1:]} == {ConnectionResetError}
                await client.lost
            for other in others:
                assert len((await other).rows) == 300
            assert len(database.sessions) == 5
            for client in clients[5:]:
                await client.close()

    ours.run(main())
    assert not ours.errors


def test_a_connection_is_upgraded_before_its_first_query(ours: Bench) -> None:
    """As PostgreSQL does it: the client asks in the clear, the server says S, and TLS starts on both sides at once."""

    async def work(address: Any) -> None:
        client = await Client.connect(address, client_context())
        assert client.transport.get_extra_info("cipher")
        answers = [client.query(f"rows {number} 1000") for number in range(50)]
        for number, answer in enumerate(answers):
            assert len((await answer).rows) == number
        await client.close()

    async def main() -> None:
        async with serving(server_context()) as (_, address):
            await asyncio.gather(*(work(address) for _ in range(10)))

    ours.run(main())
    assert not ours.errors
