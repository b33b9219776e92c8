"""tornado, which does its own socket calls and has the loop watch descriptors (on Windows, in a thread of its own)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import tornado.httpclient
import tornado.httpserver
import tornado.web
import tornado.websocket
from tools.programs.third_party.setting import Setting

MOST = 1 << 30


async def requests(setting: Setting) -> None:
    """500 over 50 connections."""

    async def ask(client: Any, address: str, number: int) -> None:
        body = b"%d" % number * 20_000
        response = await client.fetch(f"http://{address}/echo", method="POST", body=body)
        assert response.body == body

    async with serving(setting) as address:
        client = tornado.httpclient.AsyncHTTPClient(force_instance=True, max_clients=50)
        await asyncio.gather(*(ask(client, address, number) for number in range(500)))
        client.close()


async def websocket(setting: Setting) -> None:
    async with serving(setting) as address:
        ws = await tornado.websocket.websocket_connect(f"ws://{address}/websocket", max_message_size=MOST)
        for size in (0, 1, 70_000, 4 << 20):
            await ws.write_message(bytes(size), binary=True)
            assert await ws.read_message() == bytes(size)
        ws.close()
        assert await ws.read_message() is None


@contextlib.asynccontextmanager
async def serving(setting: Setting) -> AsyncIterator[str]:
    class Echo(tornado.web.RequestHandler):
        def post(self) -> None:
            setting.check_loop()
            self.write(self.request.body)

    class WebSocketEcho(tornado.websocket.WebSocketHandler):
        def on_message(self, data: Any) -> None:
            setting.check_loop()
            self.write_message(data, binary=isinstance(data, bytes))

    handlers = [("/echo", Echo), ("/websocket", WebSocketEcho)]
    app = tornado.web.Application(handlers, websocket_max_message_size=MOST, log_function=lambda _: None)
    server = tornado.httpserver.HTTPServer(app)
    (sock,) = tornado.netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([sock])
    try:
        yield f"127.0.0.1:{sock.getsockname()[1]}"
    finally:
        server.stop()
        await server.close_all_connections()


PARTS = {"500 requests over 50 connections": requests, "WebSocket": websocket}
