"""The servers `windows_echo.py` measures; run by Windows Python: ``windows_server.py ours|stock|winloop``.

Prints ``listening PORT`` and serves until it is ended.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from typing import Any


class Echo(asyncio.Protocol):
    """Echo, the shortest way."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0, backlog=1024)
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(kind: str) -> None:
    factory: Any = None  # the stock ProactorEventLoop
    if kind == "ours":
        factory = importlib.import_module("proactor_echo.loops").new_event_loop
    elif kind == "winloop":
        factory = importlib.import_module("winloop").new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(serve())


if __name__ == "__main__":
    main(sys.argv[1])
