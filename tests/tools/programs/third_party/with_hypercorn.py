"""hypercorn in our own loop, with HTTP/1.1 over streams; httpx is the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from hypercorn.asyncio import serve
from hypercorn.config import Config
from tools.programs.third_party import asgi
from tools.programs.third_party.setting import CERTIFICATE, KEY, Setting, free_port


async def many_clients(setting: Setting) -> None:
    async with serving(setting) as url:
        await asgi.fifty_clients(url)


async def transfers(setting: Setting) -> None:
    async with serving(setting) as url:
        await asgi.transfers(url)


async def tls(setting: Setting) -> None:
    async with serving(setting, tls=True) as url:
        await asgi.transfers(url)


async def leaving(setting: Setting) -> None:
    async with serving(setting) as url:
        await asgi.a_client_that_leaves(url)


@contextlib.asynccontextmanager
async def serving(setting: Setting, tls: bool = False) -> AsyncIterator[str]:
    """Serve in the running loop; yield the URL; close gracefully."""
    config = Config()
    port = free_port()
    config.bind = [f"127.0.0.1:{port}"]
    config.errorlog = config.accesslog = None
    config.graceful_timeout = 5
    config.keep_alive_timeout = 60  # on a slow machine 5 s can end just as the client sends its next request
    if tls:
        config.certfile, config.keyfile = str(CERTIFICATE), str(KEY)
    stop = asyncio.Event()
    task = asyncio.ensure_future(serve(asgi.app, config, shutdown_trigger=stop.wait))
    try:
        await _answering(port, task)
        url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
        await asgi.check_loop_of(url, setting.loop)
        yield url
    finally:
        stop.set()
        await task


async def _answering(port: int, task: asyncio.Task[None]) -> None:
    while True:
        assert not task.done()
        with contextlib.suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            await writer.wait_closed()
            return
        await asyncio.sleep(0.01)


PARTS = {
    "50 clients": many_clients,
    f"{asgi.SIZE} MiB up and down": transfers,
    "TLS": tls,
    "clients that leave in mid-response": leaving,
}
