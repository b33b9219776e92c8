"""What our own event loops offer beyond asyncio's interface, as types; and which kind of loop one is.

``net`` runs over any asyncio loop. Where ours can do more it asks :func:`native`, once for each server or endpoint, and
a type checker compares these types with the loops themselves.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from proactor_echo.sockets.addresses import Address

__all__ = [
    "AcceptPipeline",
    "BatchTransport",
    "NativeLoop",
    "NotSentProtocol",
    "TlsLoop",
    "UdpTransport",
    "is_proactor",
    "iteration_end_of",
    "native",
    "tls_loop",
]


class AcceptPipeline(Protocol):
    """Accepts on one listener, from when it is made."""

    def start(self) -> None:
        """Accept again after ``stop``."""

    def stop(self) -> None:
        """Stop accepting; connections that have arrived may still be delivered."""

    def close(self) -> None:
        """Stop accepting, and deliver nothing more."""


@runtime_checkable
class BatchTransport(Protocol):
    """A datagram transport that sends many in one call."""

    def sendto_many(self, datagrams: Sequence[tuple[bytes, Address]], /) -> None:
        """Send pairs of data and address."""


class UdpTransport(Protocol):
    """What ``net`` asks of a datagram transport, of our loops or of its own for others."""

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return information about the transport or its socket, as asyncio's transports do."""

    def is_closing(self) -> bool:
        """Whether it is closing or closed."""

    def try_send(self, data: bytes, addr: Address | None = None) -> bool:
        """Send one datagram now; ``False`` when it would block. Raises the system's error about this datagram."""

    async def wait_writable(self) -> None:
        """Wait until :meth:`try_send` is worth another try, or the transport is closing."""

    def close(self) -> None:
        """Send what is queued, then end."""

    def abort(self) -> None:
        """End at once."""

    async def wait_closed(self) -> None:
        """Wait until it has ended."""


@runtime_checkable
class NotSentProtocol(Protocol):
    """A datagram protocol that wants to know which datagrams the system refused to send."""

    def datagram_not_sent(self, data: bytes, addr: Address | None, /) -> None:
        """Handle a datagram that was not sent; called before ``error_received``."""


@runtime_checkable
class NativeLoop(Protocol):
    """An event loop of ours: accepting and opening without tasks, in callbacks only."""

    def accept_connections(
        self,
        listener: socket.socket,
        deliver: Callable[[socket.socket, Address], object],
        report: Callable[[BaseException, float], None],
        *,
        most: int | None = None,
        shared: bool = False,
    ) -> AcceptPipeline:
        """Accept, whatever goes wrong; ``report`` gets each error with the seconds until the next try.

        ``shared``: with other processes, each of which is to get its part.
        """

    @property
    def call_at_iteration_end(self) -> Callable[[Callable[[], object]], object]:
        """Call it when this iteration is over, without a handle."""

    def open_accepted(self, protocol: asyncio.BaseProtocol, sock: socket.socket, peer: Address | None = None) -> object:
        """Give an accepted socket a transport; ``connection_made`` has been called when it returns."""

    def open_datagrams(self, protocol: asyncio.DatagramProtocol, sock: socket.socket) -> UdpTransport:
        """Give a bound datagram socket a transport; ``connection_made`` is called in the next iteration."""


@runtime_checkable
class TlsLoop(Protocol):
    """An event loop of ours whose transports speak TLS themselves."""

    def open_accepted(self, protocol: Any, sock: socket.socket, peer: Any = None, tls: Any = None) -> asyncio.Transport:
        """Give a connected socket a transport: with ``tls``, when the handshake is done."""

    def begin_tls(self, transport: Any, protocol: Any, settings: Any, *, early: bytes = b"") -> object:
        """Go on with TLS on a transport in clear text; ``early`` is what has been received of it already."""


def tls_loop(loop: asyncio.AbstractEventLoop) -> TlsLoop | None:
    """Return ``loop`` if its transports speak TLS; ``None`` when TLS is asyncio's."""
    return loop if isinstance(loop, TlsLoop) else None


def native(loop: asyncio.AbstractEventLoop) -> NativeLoop | None:
    """Return ``loop`` as one of ours; ``None`` when it is any other."""
    return loop if isinstance(loop, NativeLoop) else None


def iteration_end_of(loop: asyncio.AbstractEventLoop) -> Callable[[Callable[[], object]], object]:
    """Return a function that has another called: on our loops at the end of this iteration, else early in the next."""
    # Not isinstance(), which takes far longer, for each connection.
    at_iteration_end: Callable[[Callable[[], object]], object] = getattr(loop, "call_at_iteration_end", loop.call_soon)
    return at_iteration_end


def is_proactor(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether operations are completions of the kernel on this loop, so that it has no ``add_reader``."""
    return sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop)
