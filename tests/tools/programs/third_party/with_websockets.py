"""websockets, its asyncio server and client in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator
from typing import Any

from tools.programs.third_party.setting import MEBIBYTE, Setting, client_tls, server_tls
from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed

CLIENTS = 60


async def many_clients(setting: Setting) -> None:
    async def client(url: str, name: int) -> None:
        async with connect(url) as ws:
            for number in range(30):
                await ws.send(f"{name}/{number}" * 50)
                assert await ws.recv() == f"{name}/{number}" * 50
            sent = [bytes([number]) * 1000 for number in range(100)]
            for message in sent:
                await ws.send(message)
            assert [await ws.recv() for _ in sent] == sent

    async with serving(setting) as url:
        await asyncio.gather(*(client(url, name) for name in range(CLIENTS)))


async def fragments(setting: Setting) -> None:
    pieces = [MEBIBYTE[: size % 70_000] for size in range(0, 500_000, 9_973)]
    async with serving(setting) as url, connect(url, max_size=None) as ws:
        for _ in range(5):
            await ws.send(iter(pieces))
            assert await ws.recv() == b"".join(pieces)
        await ws.send(["one", "two", "three"])
        received = [fragment async for fragment in ws.recv_streaming()]
        assert "".join(received) == "onetwothree"


async def pings(setting: Setting) -> None:
    async with serving(setting) as url, connect(url, ping_interval=0.01, ping_timeout=10) as ws:
        for _ in range(200):
            assert await (await ws.ping()) >= 0  # seconds
        await ws.send("after")
        assert await ws.recv() == "after"


async def large_messages(setting: Setting) -> None:
    message = MEBIBYTE * 8
    async with serving(setting) as url:
        for compression in (None, "deflate"):
            async with connect(url, max_size=None, compression=compression) as ws:
                await asyncio.gather(ws.send(message), _expect(ws, message))


async def over_tls(setting: Setting) -> None:
    async def client(url: str) -> None:
        async with connect(url, ssl=client_tls(), max_size=None, server_hostname="localhost") as ws:
            await ws.send(MEBIBYTE)
            await _expect(ws, MEBIBYTE)

    async with serving(setting, ssl=server_tls()) as url:
        await asyncio.gather(*(client(url) for _ in range(10)))


async def broadcasts(setting: Setting) -> None:
    """One message in, to all out; some of them leave in the middle."""
    members: set[Any] = set()
    complete = asyncio.Event()

    async def member(ws: Any) -> None:
        setting.check_loop()
        members.add(ws)
        if len(members) == CLIENTS:
            complete.set()
        with contextlib.suppress(ConnectionClosed):
            async for message in ws:
                broadcast(members, message)
        members.discard(ws)

    async with serve(member, "127.0.0.1", 0) as server:
        url = _url(server, "ws")
        clients = [await connect(url, max_queue=None) for _ in range(CLIENTS)]
        await complete.wait()
        for number in range(100):
            await clients[0].send(f"news {number}")
            if number == 50:
                for leaving in clients[40:]:
                    leaving.transport.abort()
        for ws in clients[:40]:
            assert [await ws.recv() for _ in range(100)] == [f"news {number}" for number in range(100)]
            await ws.close()


async def a_slow_reader(setting: Setting) -> None:
    """A client that does not read makes the server's send() wait, and gets everything later."""
    sent = 0
    total = 300

    async def pour(ws: Any) -> None:
        nonlocal sent
        for number in range(total):
            await ws.send(bytes([number % 256]) * 100_000)
            sent += 1
        await ws.close()

    async with serve(pour, "127.0.0.1", 0) as server, connect(_url(server, "ws"), compression=None) as ws:
        before = -1
        while sent != before:
            before = sent
            await asyncio.sleep(0.2)  # nothing tells that nothing more will be sent
        assert sent < total, "nobody waited"
        for number in itertools.count():
            try:
                assert await ws.recv() == bytes([number % 256]) * 100_000
            except ConnectionClosed:
                break
        assert number == total


async def _expect(ws: Any, message: bytes) -> None:
    assert await ws.recv() == message


def _url(server: Any, scheme: str) -> str:
    return f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@contextlib.asynccontextmanager
async def serving(setting: Setting, **options: Any) -> AsyncIterator[str]:
    """An echo server."""

    async def echo(ws: Any) -> None:
        setting.check_loop()
        async for message in ws:
            await ws.send(message)

    async with serve(echo, "127.0.0.1", 0, max_size=None, **options) as server:
        yield _url(server, "wss" if options else "ws")


PARTS = {
    f"{CLIENTS} clients": many_clients,
    "fragments": fragments,
    "pings": pings,
    "8 MiB messages": large_messages,
    "TLS": over_tls,
    "broadcasts while members leave": broadcasts,
    "a slow reader": a_slow_reader,
}
