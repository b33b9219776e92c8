"""redis-py's asyncio client, which is made of streams, against a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import redis.asyncio
from tools.programs.third_party.servers import redis as server
from tools.programs.third_party.setting import MEBIBYTE, Setting


async def pipelines(setting: Setting) -> None:
    async with connected(setting) as client:
        async with client.pipeline(transaction=False) as pipe:
            for number in range(20_000):
                pipe.set(f"key {number}", bytes([number % 256]) * (number % 300))
                pipe.get(f"key {number}")
            answers = await pipe.execute()
        assert answers[1::2] == [bytes([number % 256]) * (number % 300) for number in range(20_000)]


async def fifty_clients(setting: Setting) -> None:
    async def work(client: Any, name: int) -> None:
        for _ in range(100):
            await client.incr("counter")
            await client.hincrby("names", str(name), 1)

    async with connected(setting, max_connections=50) as client:
        await asyncio.gather(*(work(client, name) for name in range(50)))
        assert await client.get("counter") == b"5000"
        assert set(await client.hvals("names")) == {b"100"}


async def large_values(setting: Setting) -> None:
    async with connected(setting) as client:
        await client.set("large", MEBIBYTE * 16)
        assert await client.get("large") == MEBIBYTE * 16


async def subscriptions(setting: Setting) -> None:
    async with connected(setting) as client, client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        assert (await pubsub.get_message(timeout=5))["type"] == "subscribe"
        for number in range(1000):
            await client.publish("news", str(number))
        for number in range(1000):
            message = await pubsub.get_message(timeout=5)
            assert message is not None
            assert message["data"] == str(number).encode()


async def waiting_and_cancelled(setting: Setting) -> None:
    """BLPOP that times out, that is cancelled, and that gets something."""
    async with connected(setting) as client:
        assert await client.blpop("empty", timeout=0.05) is None
        for _ in range(20):
            task = asyncio.ensure_future(client.blpop("empty"))
            while not (await client.info("clients"))["blocked_clients"]:
                pass  # Python 3.11's wait_for, in which the command is sent, may lose a cancellation as it ends
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            assert await client.ping()
        task = asyncio.ensure_future(client.blpop("filled"))
        await client.rpush("filled", "value")
        assert await task == (b"filled", b"value")


@contextlib.asynccontextmanager
async def connected(setting: Setting, **options: Any) -> AsyncIterator[Any]:
    setting.check_loop()
    client = redis.asyncio.from_url(setting.service, **options)
    try:
        await client.flushdb()
        yield client
    finally:
        await client.aclose()


SERVICE = server
PARTS = {
    "pipelines of 40,000 commands": pipelines,
    "50 connections": fifty_clients,
    "16 MiB values": large_values,
    "subscriptions": subscriptions,
    "waiting, timed out and cancelled": waiting_and_cancelled,
}
