"""uvicorn, in our own loop and as a command that is told which loop to use; httpx is the client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn
from tools.programs.third_party import asgi
from tools.programs.third_party.setting import CERTIFICATE, KEY, Setting, free_port


async def many_clients(setting: Setting) -> None:
    async with serving(setting) as url:
        await asgi.fifty_clients(url)


async def transfers(setting: Setting) -> None:
    async with serving(setting) as url:
        await asgi.transfers(url)


async def tls(setting: Setting) -> None:
    async with serving(setting, ssl_certfile=CERTIFICATE, ssl_keyfile=KEY) as url:
        await asgi.transfers(url)


async def leaving(setting: Setting) -> None:
    async with serving(setting) as url:
        await asgi.a_client_that_leaves(url)


async def command(setting: Setting) -> None:
    """``python -m uvicorn --loop proactor_echo:new_event_loop``, ended by SIGTERM."""
    port = free_port()
    root = Path(__file__).resolve().parents[4]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "--loop", setting.factory, "--port", str(port)),
        *("--no-access-log", f"{asgi.__name__}:app"),
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(root), str(root / "tests")))},
    )
    assert process.stderr is not None
    try:
        while b"running on" not in (line := await process.stderr.readline()):
            assert line, "it ended"
        url = f"http://127.0.0.1:{port}"
        await asgi.check_loop_of(url, setting.loop)
        await asgi.fifty_clients(url)
        process.send_signal(signal.SIGTERM)
        rest = await process.stderr.read()
        assert b"Finished server process" in rest, rest
        assert b"Traceback" not in rest, rest
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@contextlib.asynccontextmanager
async def serving(setting: Setting, **options: Any) -> AsyncIterator[str]:
    """Serve in the running loop; yield the URL; close gracefully."""
    # On a slow machine the usual 5 s of keep-alive can end just as the client sends its next request.
    options |= {"loop": "none", "log_level": "error", "timeout_keep_alive": 60}
    server = uvicorn.Server(uvicorn.Config(asgi.app, port=0, **options))
    task = asyncio.ensure_future(server.serve())
    try:
        while not server.started:
            assert not task.done()
            await asyncio.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        url = f"https://localhost:{port}" if "ssl_certfile" in options else f"http://127.0.0.1:{port}"
        await asgi.check_loop_of(url, setting.loop)
        yield url
    finally:
        server.should_exit = True
        await task


PARTS = {
    "50 clients": many_clients,
    f"{asgi.SIZE} MiB up and down": transfers,
    "TLS": tls,
    "clients that leave in mid-response": leaving,
}
if sys.platform != "win32":  # where nobody can send a signal to a process
    PARTS["as a command with --loop, ended by SIGTERM"] = command
