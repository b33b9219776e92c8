"""Echo, RFC 862: what came back is what was sent.

Three forms of the same application: :class:`EchoProtocol` (callbacks, the fastest), :func:`echo` (a coroutine handler
for :func:`~proactor_echo.serve_tcp`) and :class:`EchoDatagramProtocol` (UDP).
"""

from __future__ import annotations

from typing import Any

from .net.connection import Connection
from .net.datagram_protocol import DatagramHandler
from .net.protocol import FramedProtocol
from .wire.framing import RawCodec
from .wire.state import ConnectionState

__all__ = ["EchoDatagramProtocol", "EchoProtocol", "echo"]


class EchoProtocol(FramedProtocol):
    """Send every frame back. After the peer's end of file, everything still owed is sent, then our own end."""

    _sends_all_back = True

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # A subclass that wants to see or send the frames itself must not be passed over.
        cls._sends_all_back = (cls.frames_received, cls.send_frames) == (
            EchoProtocol.frames_received,
            EchoProtocol.send_frames,
        )

    def data_received(self, data: bytes) -> None:
        """Answer a read that holds whole frames and nothing else with its own bytes, which spares encoding them."""
        codec, decoder, stats = self.codec, self._decoder, self.stats
        is_open = self._lifecycle.state is ConnectionState.OPEN
        if not (codec.canonical and self._sends_all_back and is_open) or decoder.buffered:
            super().data_received(data)
            return
        size = len(data)
        stats.bytes_in += size
        if type(codec) is RawCodec:
            count = 1
        else:
            try:
                frames = decoder.feed(data)
            except Exception as error:
                self._decoding_failed(error)
                return
            if decoder.buffered:
                if frames:
                    self._deliver(frames)
                return
            count = len(frames)
        stats.frames_in += count
        stats.frames_out += count
        stats.bytes_out += size
        if self._idle is not None:
            self._idle.touch()
        self._transport.write(data)

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
