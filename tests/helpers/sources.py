"""Clients from the sources that a test wants, and what becomes of them."""

import asyncio
import contextlib
from contextlib import AsyncExitStack

from helpers.peers import WINE_VERSION, RawClient

import proactor_echo as pe

FIRST, SECOND = "127.0.0.1", "127.0.0.2"


async def ask(client: RawClient) -> bytes:
    await client.send(b"ping")
    return await client.receive_exactly(4)


async def is_reset(client: RawClient) -> bool:
    """Read to the end: whether that is a reset. Wine 8 shows some as an end of file."""
    try:
        return await client.receive_all() == b"" and WINE_VERSION == 8
    except OSError:
        return True


class Clients(AsyncExitStack):
    """Connects from the sources that it is told, and closes everything."""

    def __init__(self, server: pe.Server) -> None:
        super().__init__()
        self.server = server

    async def connect(self, source: str = FIRST) -> RawClient:
        return await self.enter_async_context(await RawClient.connect(self.server.address, source=source))

    async def served(self, source: str = FIRST) -> RawClient:
        client = await self.connect(source)
        assert await ask(client) == b"ping"
        return client

    async def refused(self, source: str = FIRST) -> None:
        """Connect, and be reset; that may be so soon that connecting itself fails."""
        try:
            client = await self.connect(source)
        except OSError:
            return
        assert await is_reset(client)


async def eventually_served(to: Clients) -> RawClient:
    """Connect until that is not refused any more."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                return await to.served()
            await asyncio.sleep(0)
