"""Those who are told when something about a connection changes: its owner, and whoever waits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from proactor_echo.errors import Disconnect

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol

__all__ = ["Owner", "next_wake", "wake"]


class Owner(Protocol):
    """What a server that owns connections is told."""

    def connection_opened(self, protocol: StreamProtocol) -> None:
        """Count a connection in."""

    def connection_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Count it out."""


async def next_wake(waiters: list[asyncio.Future[None]]) -> None:
    """Wait until :func:`wake` is called for ``waiters``."""
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    finally:
        waiters.remove(waiter)


def wake(waiters: list[asyncio.Future[None]]) -> None:
    """Let everybody go on who waits."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
