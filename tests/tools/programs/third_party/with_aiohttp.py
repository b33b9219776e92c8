"""aiohttp, its server and its client in one loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web
from tools.programs.third_party.setting import MEBIBYTE, Digest, Setting, client_tls, mebibytes, server_tls

logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)  # tells of what is provoked here

SIZE = 32
"""MiB of an upload and of a download."""


async def plain(setting: Setting) -> None:
    async with serving(setting) as url, aiohttp.ClientSession(url) as session:
        async with session.post("/echo", json={"name": "plain"}) as response:
            assert response.status == 200
            assert await response.json() == {"name": "plain"}
        async with session.get("/fails") as response:
            assert response.status == 500
        async with session.get("/missing") as response:
            assert response.status == 404


async def tls(setting: Setting) -> None:
    async with serving(setting, ssl_context=server_tls()) as url, tls_session(url) as session:
        answers = await asyncio.gather(*(_echo(session, b"%d" % n * 10_000) for n in range(20)))
    assert answers == [b"%d" % n * 10_000 for n in range(20)]


async def websocket(setting: Setting) -> None:
    async with (
        serving(setting) as url,
        aiohttp.ClientSession(url) as session,
        session.ws_connect("/websocket", max_msg_size=0, compress=15) as ws,
    ):
        await ws.send_str("text")
        assert await ws.receive_str() == "text"
        for size in (0, 125, 126, 65_535, 65_536, 4 << 20):
            await ws.send_bytes(bytes(size))
            assert await ws.receive_bytes() == bytes(size)
        await ws.ping()
        await ws.send_str("bye")
        assert (await ws.receive()).type is aiohttp.WSMsgType.CLOSE
        assert ws.close_code == 4000


async def transfers(setting: Setting) -> None:
    async with serving(setting) as url, aiohttp.ClientSession(url) as session:
        await _transfer(session)
    async with serving(setting, ssl_context=server_tls()) as url, tls_session(url) as session:
        await _transfer(session)


async def _transfer(session: Any) -> None:
    async with session.post("/upload", data=mebibytes(SIZE)) as response:
        assert await response.text() == "whole"
    for path in ("/download", "/file"):
        digest = Digest()
        async with session.get(path) as response:
            async for chunk in response.content.iter_any():
                digest.update(chunk)
        assert digest.whole(SIZE), (path, digest.size)


async def keep_alive(setting: Setting) -> None:
    """50 clients at once, 40 requests over one connection each."""

    async def client(url: str, name: int) -> set[str]:
        async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=1)) as session:
            peers = set()
            for number in range(40):
                data = b"%d/%d" % (name, number) * (1 + number * 20)
                async with session.post("/echo", data=data) as response:
                    assert await response.read() == data
                    peers.add(response.headers["peer"])
            return peers

    async with serving(setting) as url:
        peers = await asyncio.gather(*(client(url, name) for name in range(50)))
    assert [len(ports) for ports in peers] == [1] * 50
    assert len(set.union(*peers)) == 50


async def a_client_that_leaves(setting: Setting) -> None:
    async with serving(setting) as url, aiohttp.ClientSession(url) as session:
        for path in ("/download", "/file"):
            async with session.get(path) as response:
                await response.content.readexactly(100_000)
                response.close()
        assert await _echo(session, b"still here") == b"still here"


def tls_session(url: str) -> Any:
    return aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(ssl=client_tls()))


async def _echo(session: Any, data: bytes) -> bytes:
    async with session.post("/echo", data=data) as response:
        answer: bytes = await response.read()
        return answer


@contextlib.asynccontextmanager
async def serving(setting: Setting, **options: Any) -> AsyncIterator[str]:
    """Serve on a free port; yield the URL; close gracefully."""

    async def echo(request: Any) -> Any:
        setting.check_loop()
        peer = str(request.transport.get_extra_info("peername")[1])
        return web.Response(body=await request.read(), content_type=request.content_type, headers={"peer": peer})

    async def fails(request: Any) -> Any:
        raise web.HTTPInternalServerError

    async def upload(request: Any) -> Any:
        digest = Digest()
        async for chunk in request.content.iter_any():
            digest.update(chunk)
        return web.Response(text="whole" if digest.whole(SIZE) else f"only {digest.size}")

    async def download(request: Any) -> Any:
        response = web.StreamResponse()
        await response.prepare(request)
        async for chunk in mebibytes(SIZE):
            await response.write(chunk)
        await response.write_eof()
        return response

    async def websocket_echo(request: Any) -> Any:
        ws = web.WebSocketResponse(max_msg_size=0)
        await ws.prepare(request)
        async for message in ws:
            if message.data == "bye":
                await ws.close(code=4000)
            elif message.type is aiohttp.WSMsgType.TEXT:
                await ws.send_str(message.data)
            else:
                await ws.send_bytes(message.data)
        return ws

    async def file(request: Any) -> Any:
        return web.FileResponse(setting.service)

    app = web.Application(client_max_size=1 << 30)
    app.router.add_post("/echo", echo)
    app.router.add_post("/upload", upload)
    for name, handler in {"fails": fails, "download": download, "file": file, "websocket": websocket_echo}.items():
        app.router.add_get(f"/{name}", handler)
    runner = web.AppRunner(app, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, **options).start()
        scheme = "https" if options else "http"
        yield f"{scheme}://{'localhost' if options else '127.0.0.1'}:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.contextmanager
def file_to_serve(_given: str | None) -> Iterator[str]:
    """Make a file for all the parts: aiohttp closes it in a thread that may outlast the server, but not the loop."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"".join(bytes([number]) + MEBIBYTE[1:] for number in range(SIZE)))
        yield str(path)


SERVICE = file_to_serve
PARTS = {
    "plain requests": plain,
    "TLS": tls,
    "WebSocket": websocket,
    f"{SIZE} MiB up, down and from a file, plain and TLS": transfers,
    "50 keep-alive clients": keep_alive,
    "clients that leave in mid-response": a_client_that_leaves,
}
