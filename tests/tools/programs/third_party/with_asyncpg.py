"""asyncpg against a real PostgreSQL: a binary protocol, pipelined, over asyncio.Protocol."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
from tools.programs.third_party.servers import postgresql
from tools.programs.third_party.setting import MEBIBYTE, Digest, Setting, client_tls, mebibytes


async def twenty_connections(setting: Setting) -> None:
    """A pool under load: queries of all sizes, in transactions, some of them rolled back."""

    async def work(pool: Any, name: int) -> int:
        total = 0
        for number in range(30):
            async with pool.acquire() as conn:
                rows = await conn.fetch("SELECT i, repeat('x', i) FROM generate_series(1, $1::int) AS i", number * 10)
                assert [len(text) for _, text in rows] == list(range(1, number * 10 + 1))
                with contextlib.suppress(asyncpg.UniqueViolationError):
                    async with conn.transaction():
                        await conn.execute("INSERT INTO counted VALUES ($1, $2)", name, number)
                        if number % 3 == 0:
                            await conn.execute("INSERT INTO counted VALUES ($1, $2)", name, number)
                total += number % 3 != 0
        return total

    async with connected(setting, "counted (a int, b int, UNIQUE (a, b))") as conn:
        async with asyncpg.create_pool(setting.service, min_size=20, max_size=20, ssl=False) as pool:
            total = sum(await asyncio.gather(*(work(pool, name) for name in range(40))))
        assert await conn.fetchval("SELECT count(*) FROM counted") == total


async def pipelined(setting: Setting) -> None:
    rows = [(number, "text " * (number % 100), bytes(number % 1000)) for number in range(30_000)]
    async with connected(setting, "filled (a int PRIMARY KEY, b text, c bytea)") as conn:
        await conn.executemany("INSERT INTO filled VALUES ($1, $2, $3)", rows)
        assert [tuple(row) for row in await conn.fetch("SELECT * FROM filled ORDER BY a")] == rows
        try:
            await conn.executemany("INSERT INTO filled VALUES ($1, $2, $3)", [(-n, "", b"") for n in range(20_000)])
        except asyncpg.UniqueViolationError:
            assert await conn.fetchval("SELECT count(*) FROM filled") == 30_000
        else:
            raise AssertionError("0 was there twice")


async def copy(setting: Setting) -> None:
    """16 MiB in and out by COPY, and as one value each way."""
    async with connected(setting, "copied (line text)") as conn:
        line = b"x" * 1023 + b"\n"

        async def lines() -> AsyncIterator[bytes]:
            for _ in range(256):
                yield line * 64

        assert await conn.copy_to_table("copied", source=lines()) == "COPY 16384"
        received = hashlib.sha256()

        async def take(data: bytes) -> None:
            received.update(data)
            await asyncio.sleep(0)

        assert await conn.copy_from_query("SELECT * FROM copied", output=take) == "COPY 16384"
        assert received.digest() == hashlib.sha256(line * 16384).digest()
        digest = Digest()
        value = b"".join([chunk async for chunk in mebibytes(16)])
        digest.update(await conn.fetchval("SELECT $1::bytea", value))
        assert digest.whole(16)


async def cancelled(setting: Setting) -> None:
    """A query that takes too long, or whose task is cancelled, ends on the server; the connection goes on."""
    async with connected(setting) as conn:
        for number in range(5):
            try:
                await conn.fetchval("SELECT pg_sleep(60)", timeout=0.1)
            except TimeoutError:
                assert await conn.fetchval("SELECT $1::int", number) == number
            else:
                raise AssertionError("it slept")
        for delay in (0, 0.001, 0.01, 0.05):
            task = asyncio.ensure_future(conn.fetch("SELECT repeat('x', 1000) FROM generate_series(1, 100000)"))
            await asyncio.sleep(delay)
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await conn.fetchval("SELECT 1") == 1


async def killed(setting: Setting) -> None:
    """A connection that the server ends in mid-query fails that query; the others go on."""
    async with connected(setting) as conn:
        victims = [await asyncpg.connect(setting.service, ssl=False) for _ in range(5)]
        tasks = [asyncio.ensure_future(victim.fetchval("SELECT pg_sleep(60)")) for victim in victims]
        asleep: list[Any] = []
        while len(asleep) < 5:
            asleep = await conn.fetch("SELECT pid FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        for (pid,) in asleep:
            await conn.execute(f"SELECT pg_terminate_backend({pid})")
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(result, (asyncpg.PostgresError, asyncpg.InterfaceError, ConnectionError)), result
        for victim in victims:
            victim.terminate()
        assert await conn.fetchval("SELECT 2") == 2


async def notified(setting: Setting) -> None:
    heard: asyncio.Queue[str] = asyncio.Queue()

    def hear(_conn: Any, _pid: int, _channel: str, payload: str) -> None:
        setting.check_loop()
        heard.put_nowait(payload)

    async with connected(setting) as speaker, connected(setting) as listener:
        await listener.add_listener("news", hear)
        for number in range(500):
            await speaker.execute("SELECT pg_notify('news', $1)", str(number) + "x" * (number * 10))
        assert [await heard.get() for _ in range(500)] == [str(n) + "x" * (n * 10) for n in range(500)]
        await listener.remove_listener("news", hear)


async def tls(setting: Setting) -> None:
    """The connection is upgraded in the middle, as PostgreSQL wants it."""

    async def client() -> None:
        conn = await asyncpg.connect(setting.service.replace("127.0.0.1", "localhost"), ssl=client_tls())
        try:
            assert await conn.fetchval("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
            assert await conn.fetchval("SELECT $1::bytea", MEBIBYTE * 4) == MEBIBYTE * 4
        finally:
            await conn.close()

    await asyncio.gather(*(client() for _ in range(5)))


@contextlib.asynccontextmanager
async def connected(setting: Setting, table: str | None = None) -> AsyncIterator[Any]:
    """Connect, with an empty table for the time being."""
    setting.check_loop()
    conn = await asyncpg.connect(setting.service, ssl=False)
    try:
        if table:
            await conn.execute(f"DROP TABLE IF EXISTS {table.split()[0]}; CREATE TABLE {table}")
        yield conn
        if table:
            await conn.execute(f"DROP TABLE {table.split()[0]}")
    finally:
        await conn.close()


SERVICE = postgresql
PARTS = {
    "20 connections": twenty_connections,
    "executemany of 30,000 rows": pipelined,
    "COPY of 16 MiB each way": copy,
    "queries that are cancelled": cancelled,
    "connections killed by the server": killed,
    "LISTEN and NOTIFY": notified,
    "TLS by upgrade": tls,
}
