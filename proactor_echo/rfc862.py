"""Echo, RFC 862: what came back is what was sent.

Three forms of the same application: :class:`EchoProtocol` (callbacks, the fastest), :func:`echo` (a coroutine handler
for :func:`~proactor_echo.serve_tcp`) and :class:`EchoDatagramProtocol` (UDP).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from proactor_echo.net.loop_api import BatchTransport
from proactor_echo.net.stats import ConnectionStats
from proactor_echo.net.stock.datagram import MAX_DATAGRAM
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.protocol import FRAMES_AT_ONCE, FramedProtocol
from proactor_echo.net.udp.guard import UdpGuard
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.sockets.addresses import Address
from proactor_echo.wire import RawCodec

__all__ = ["EchoDatagramProtocol", "EchoProtocol", "echo"]


class EchoProtocol(FramedProtocol):
    """Send every frame back. After the peer's end of file the pending output is sent, then our own end of file."""

    _sends_all_back = True
    _portion = _at_once = 1024  # sending back many in one step costs less for each than a callback

    def __init_subclass__(cls, **options: object) -> None:
        super().__init_subclass__(**options)
        # A subclass that overrides receiving or sending frames must get them.
        cls._sends_all_back = (cls.frames_received, cls.send_frames) == (
            EchoProtocol.frames_received,
            EchoProtocol.send_frames,
        )
        cls._portion = cls._at_once = EchoProtocol._portion if cls._sends_all_back else FRAMES_AT_ONCE

    _verbatim = False  # whether the bytes of whole frames are their own answer, while the connection is open
    _skim: Callable[[bytes], tuple[int, int]] | None = None  # counts the frames; None where any bytes are one
    _echoed_bytes = 0  # sent back verbatim, and not counted by the stream: half the work of counting each way
    _echoed_frames = 0

    @property
    def stats(self) -> ConnectionStats:
        """The counters of the connection."""
        stats = ConnectionStats()
        self.add_stats_to(stats)
        return stats

    def add_stats_to(self, total: ConnectionStats) -> None:
        """Add the counters of the connection to those of a server."""
        stream = self._stream
        total.bytes_in += stream.bytes_in + self._echoed_bytes
        total.bytes_out += stream.bytes_out + self._echoed_bytes
        total.frames_in += stream.frames_in + self._echoed_frames
        total.frames_out += stream.frames_out + self._echoed_frames

    @property
    def received_bytes(self) -> int:
        """Bytes received so far."""
        return self._stream.bytes_in + self._echoed_bytes

    @property
    def sent_bytes(self) -> int:
        """Bytes given to the transport so far."""
        return self._stream.bytes_out + self._echoed_bytes

    def _begin(self) -> None:
        self._verbatim = self.codec.canonical and self._sends_all_back
        FramedProtocol._begin(self)
        # Set here even if it is None: it is read with every message, and quicker from the object than from the class.
        self._skim = None if type(self.codec) is RawCodec else self._stream.decoder.skim

    def _set_waiting(self, waits: bool) -> None:
        super()._set_waiting(waits)
        self._verbatim = not waits and self.codec.canonical and self._sends_all_back

    def data_received(self, data: bytes) -> None:
        """Answer whole frames with the bytes they came in, which saves decoding and encoding them."""
        stream = self._stream
        if not (self._verbatim and stream.can_receive and stream.can_send):
            super().data_received(data)
            return
        count, skim = 1, self._skim
        if skim is not None:
            count, end = skim(data)
            if end != len(data):
                if end:
                    self._echoed_bytes += end
                    self._echoed_frames += count
                    self._transport.write(data[:end])
                super().data_received(data[end:])
                return
        self._echoed_bytes += len(data)
        self._echoed_frames += count
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

    #: Takes a whole batch where the transport sends one, as those of our own loops do. ``None``: one call for each.
    datagrams_received: Callable[[Sequence[tuple[bytes, Address]]], None] | None = None
    _batches: BatchTransport

    guard: UdpGuard | None = UdpGuard()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, and take batches where it does."""
        super().connection_made(transport)
        # A subclass that overrides a method gets the datagrams one by one.
        as_it_is = all(getattr(type(self), name) is getattr(EchoDatagramProtocol, name) for name in _ONE_BY_ONE)
        as_it_is = as_it_is and self._unwrap is None
        if as_it_is and self.max_datagram == MAX_DATAGRAM and isinstance(transport, BatchTransport):
            self._batches = transport
            self.datagrams_received = self._answer_all

    def handle(self, data: bytes, addr: Address) -> None:
        """Send it back to where it came from."""
        self.send(data, addr)

    def _answer_all(self, datagrams: Sequence[tuple[bytes, Address]]) -> None:
        count = len(datagrams)
        size = sum([len(data) for data, _ in datagrams])
        stats = self.stats
        stats.datagrams_in += count
        stats.bytes_in += size
        if self._guard is not None:
            answered = self._guard.filter(datagrams, self._time())
            if answered is not datagrams:
                datagrams, count = answered, len(answered)
                size = sum([len(data) for data, _ in answered])
        if self._blocked:
            stats.dropped += count
            return
        before = tuple(self._refused)
        self._batches.sendto_many(datagrams)
        stats.datagrams_out += count - (self._refused[0] - before[0])
        stats.bytes_out += size - (self._refused[1] - before[1])


_ONE_BY_ONE: Final = ("datagram_received", "handle", "send", "count_out")
