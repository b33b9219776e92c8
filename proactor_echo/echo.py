"""Echo, RFC 862: what came back is what was sent.

Three forms of the same application: :class:`EchoProtocol` (callbacks, the fastest), :func:`echo` (a coroutine handler
for :func:`~proactor_echo.serve_tcp`) and :class:`EchoDatagramProtocol` (UDP).
"""

from __future__ import annotations

from typing import Any

from .net.connection import Connection
from .net.datagram_protocol import DatagramHandler
from .net.protocol import FramedProtocol

__all__ = ["EchoDatagramProtocol", "EchoProtocol", "echo"]


class EchoProtocol(FramedProtocol):
    """Send every frame back. After the peer's end of file, everything still owed is sent, then our own end."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Send the frames of one read back in one write."""
        self.send_frames(frames)


async def echo(conn: Connection) -> None:
    """Send every frame back until the peer ends; a handler for :func:`~proactor_echo.serve_tcp`."""
    async for frame in conn:
        await conn.send(frame)


class EchoDatagramProtocol(DatagramHandler):
    """Answer every datagram, an empty one too, with one datagram of the same bytes."""

    def handle(self, data: bytes, addr: Any) -> None:
        """Send it back to where it came from."""
        self.send(data, addr)
