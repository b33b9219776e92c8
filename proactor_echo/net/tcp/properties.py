"""What can be asked of a connection at any time."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from proactor_echo.errors import Disconnect
from proactor_echo.net.tcp.tls.protocol import TlsProtocol
from proactor_echo.sockets.addresses import format_address
from proactor_echo.wire.connection import ConnectionStats
from proactor_echo.wire.lifecycle import ConnectionState

if TYPE_CHECKING:
    from proactor_echo.net.proxy_protocol import Proxied
    from proactor_echo.wire.proxy_header import ProxyHeader

__all__ = ["ConnectionProperties"]


_IDS: Iterator[int] = itertools.count(1)


class ConnectionProperties(TlsProtocol):
    """The part of :class:`~proactor_echo.net.tcp.core.StreamProtocol` that tells of the connection."""

    _id = 0  # given when it is first asked for
    _opened_at = 0.0
    _proxied: Proxied | None = None

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
    def transport_peer(self) -> str:
        """The address of the other end of the transport: :attr:`peer`, or the load balancer that told of it."""
        return self.peer if self._proxied is None else format_address(self._proxied.proxy)

    @property
    def proxied(self) -> ProxyHeader | None:
        """What a load balancer said in its PROXY header; None without one."""
        return None if self._proxied is None else self._proxied.header

    def handed_on(self, proxied: Proxied) -> None:
        """Note what a load balancer said."""
        self._proxied = proxied

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
    def id(self) -> int:
        """A number that no other connection of this process has, by which log records name it."""
        if not self._id:
            self._id = next(_IDS)
        return self._id

    @property
    def _log_name(self) -> str:
        if self._proxied is not None:
            return f"{self.peer} via {self.transport_peer}"
        return self.peer or "connection"

    def _log_attributes(self) -> dict[str, object]:
        attributes: dict[str, object] = {"connection": self.id, "peer": self.peer or None}
        if self._proxied is not None:
            attributes["via"] = self.transport_peer
        return attributes

    # -- for the limits, deadlines and metrics of a server -------------------------------------------------------

    @property
    def age(self) -> float:
        """Seconds since the connection was made."""
        return time.monotonic() - self._opened_at

    @property
    def can_end(self) -> bool:
        """Whether the connection has been made, and is not closing yet."""
        return self._transport is not None and not self._stream.is_closing

    @property
    def activity(self) -> int:
        """A number that is another one after anything was received or sent."""
        return self.received_bytes + self.sent_bytes

    @property
    def received_bytes(self) -> int:
        """Bytes received so far."""
        return self._stream.bytes_in

    @property
    def sent_bytes(self) -> int:
        """Bytes given to the transport so far."""
        return self._stream.bytes_out

    @property
    def received_frames(self) -> int:
        """Frames received so far."""
        return self._stream.frames_in

    @property
    def unfinished_bytes(self) -> int:
        """Bytes that are held of an unfinished frame."""
        return self._stream.buffered

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the system has not taken yet."""
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def is_reading(self) -> bool:
        """Whether this side takes what the peer sends."""
        return self._transport is not None and self._transport.is_reading()

    @property
    def held_bytes(self) -> int:
        """How many bytes are held, of an unfinished frame and of unsent output."""
        return self.unfinished_bytes + self.unsent_bytes
