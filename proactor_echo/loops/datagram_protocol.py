"""What a datagram protocol may have beyond asyncio's ``DatagramProtocol``, as types."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class BatchProtocol(Protocol):
    """Takes what arrived together in one call. Whether it does is asked after ``connection_made``."""

    def datagrams_received(self, datagrams: Sequence[tuple[bytes, Any]], /) -> None:
        """Handle pairs of data and the address they came from."""


@runtime_checkable
class NotSentProtocol(Protocol):
    """Wants to know which datagrams the system refused to send."""

    def datagram_not_sent(self, data: bytes, addr: Any, /) -> None:
        """Note it; ``error_received`` follows."""
