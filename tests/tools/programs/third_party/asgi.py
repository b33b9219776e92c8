"""An ASGI application for the servers, and an httpx client that drives it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
from tools.programs.third_party.setting import Digest, client_tls, mebibytes

SIZE = 16
"""MiB of an upload and of a download."""


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body; ``/loop`` with the loop's class; ``/download`` with many MiB; ``/upload`` with its sum."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    assert scope["type"] == "http"
    await send({"type": "http.response.start", "status": 200, "headers": []})
    digest = Digest()
    body = b""
    more = True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        more = event.get("more_body", False)
        digest.update(event["body"])
        if scope["path"] == "/echo":
            body += event["body"]
    if scope["path"] == "/loop":
        running = type(asyncio.get_running_loop())
        body = f"{running.__module__}.{running.__qualname__}".encode()
    elif scope["path"] == "/upload":
        body = b"whole" if digest.whole(SIZE) else b"only %d" % digest.size
    elif scope["path"] == "/download":
        async for chunk in mebibytes(SIZE):
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
    await send({"type": "http.response.body", "body": body})


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        event = await receive()
        await send({"type": f"{event['type']}.complete"})
        if event["type"] == "lifespan.shutdown":
            return


def client(url: str, **options: Any) -> Any:
    return httpx.AsyncClient(base_url=url, verify=client_tls(), timeout=60, trust_env=False, **options)


async def check_loop_of(url: str, loop: type[asyncio.AbstractEventLoop]) -> None:
    async with client(url) as session:
        assert (await session.get("/loop")).text == f"{loop.__module__}.{loop.__qualname__}"


async def fifty_clients(url: str) -> None:
    async def work(name: int) -> None:
        async with client(url) as session:
            for number in range(10):
                data = b"%d/%d" % (name, number) * 1000
                assert (await session.post("/echo", content=data)).content == data

    await asyncio.gather(*(work(name) for name in range(50)))


async def transfers(url: str) -> None:
    async with client(url) as session:
        assert (await session.post("/upload", content=mebibytes(SIZE))).text == "whole"
        digest = Digest()
        async with session.stream("GET", "/download") as response:
            async for chunk in response.aiter_raw():
                digest.update(chunk)
        assert digest.whole(SIZE), digest.size


async def a_client_that_leaves(url: str) -> None:
    async with client(url) as session:
        for _ in range(5):
            async with session.stream("GET", "/download") as response:
                async for _ in response.aiter_raw():
                    break
        assert (await session.post("/echo", content=b"still here")).content == b"still here"
