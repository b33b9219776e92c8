"""asyncssh, its server and client: a protocol with its own encryption, windows and channels over asyncio.Protocol."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncssh
from tools.programs.third_party.setting import MEBIBYTE, Setting


async def commands(setting: Setting) -> None:
    """8 connections, 5 channels in each at once."""

    async def run(conn: Any, name: int) -> None:
        done = await conn.run("shout", input=f"hello {name}\n" * 1000)
        assert done.stdout == f"HELLO {name}\n" * 1000
        assert done.exit_status == 3

    async def client(address: Any) -> None:
        async with connected(address) as conn:
            await asyncio.gather(*(run(conn, name) for name in range(5)))

    async with serving(setting) as address:
        await asyncio.gather(*(client(address) for _ in range(8)))


async def files(setting: Setting) -> None:
    async with serving(setting) as address, connected(address) as conn, conn.start_sftp_client() as sftp:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "file").as_posix()
            async with sftp.open(path, "wb") as file:
                await file.write(MEBIBYTE * 16)
            async with sftp.open(path, "rb") as file:
                assert await file.read() == MEBIBYTE * 16


def connected(address: Any) -> Any:
    return asyncssh.connect(*address, known_hosts=None, username="tester", client_keys=None, config=None)


@contextlib.asynccontextmanager
async def serving(setting: Setting) -> AsyncIterator[Any]:
    class Open(asyncssh.SSHServer):
        def begin_auth(self, username: str) -> bool:
            return False  # nobody is asked who he is

    async def shout(process: Any) -> None:
        setting.check_loop()
        async for line in process.stdin:
            process.stdout.write(line.upper())
        process.exit(3)

    key = asyncssh.generate_private_key("ssh-ed25519")
    server = await asyncssh.create_server(
        Open, "127.0.0.1", 0, server_host_keys=[key], process_factory=shout, sftp_factory=True
    )
    async with server:
        yield server.sockets[0].getsockname()


PARTS = {"8 connections with 5 channels each": commands, "SFTP of 16 MiB each way": files}
