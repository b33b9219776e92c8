"""What observes a connection: an object that gets its beginning and end, and futures that wait for a change."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from proactor_echo.errors import Disconnect

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol

__all__ = ["ConnectionObserver", "next_wake", "wake"]


class ConnectionObserver(Protocol):
    """Gets the beginning and the end of a connection."""

    #: Whether :meth:`protocol_opened` is to be called.
    observes_opening: bool

    def protocol_opened(self, protocol: StreamProtocol) -> None:
        """Handle that a connection has been made."""

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Handle that it has ended."""

    def handshake_failed(self, error: BaseException) -> None:
        """Note that there is no connection, because of its TLS handshake."""


async def next_wake(waiters: list[asyncio.Future[None]]) -> None:
    """Wait until :func:`wake` is called for ``waiters``."""
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    finally:
        waiters.remove(waiter)


def wake(waiters: list[asyncio.Future[None]]) -> None:
    """Wake every task that waits in :func:`next_wake`."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)
