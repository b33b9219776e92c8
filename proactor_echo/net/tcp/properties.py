"""What can be asked of a connection at any time."""

from __future__ import annotations

import asyncio

from proactor_echo.errors import Disconnect
from proactor_echo.net.tcp.tls.protocol import TlsProtocol
from proactor_echo.sockets.addresses import format_address
from proactor_echo.wire.connection import ConnectionStats
from proactor_echo.wire.lifecycle import ConnectionState

__all__ = ["ConnectionProperties"]


class ConnectionProperties(TlsProtocol):
    """The part of :class:`~proactor_echo.net.tcp.core.StreamProtocol` that tells of the connection."""

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._stream.state

    @property
    def disconnect(self) -> Disconnect | None:
        """Why the connection ended; ``None`` while it is open."""
        return self._stream.disconnect

    @property
    def stats(self) -> ConnectionStats:
        """The counters of the connection."""
        return self._stream.stats

    def add_stats_to(self, total: ConnectionStats) -> None:
        """Add the counters of the connection to those of a server."""
        total.add(self._stream)

    @property
    def peer(self) -> str:
        """The peer's address as text: ``127.0.0.1:50001``, ``[::1]:50001``."""
        return self._stream.peer_name()

    @property
    def address(self) -> object:
        """The peer's address, as the socket module gives it; None before the connection is made."""
        return self._stream.peer

    @property
    def local(self) -> str:
        """Our own address as text."""
        address = self._transport.get_extra_info("sockname") if self._transport else None
        return format_address(address) if address else ""

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport below."""
        return self._transport

    @property
    def held_bytes(self) -> int:
        """How many bytes are held, of an unfinished frame and of unsent output."""
        transport = self._transport
        return self._stream.buffered + (0 if transport is None else transport.get_write_buffer_size())
