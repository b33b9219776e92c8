"""The connections of a server without a handler, on event loops that give a socket its transport at once.

Nothing waits and nothing runs beside such a connection, so there is no task and no object for it but its protocol. Any
other connection of a server is a :class:`~proactor_echo.net.tcp.served.ServedConnection`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from proactor_echo.errors import Disconnect, DisconnectReason
from proactor_echo.net.proxy_protocol import Proxied
from proactor_echo.net.stats import ServerStats
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.served import Service, log_not_made
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.options import ACCEPTED_INHERIT

__all__ = ["UnhandledConnections", "count_out"]

HANDLER_FAILED: Final = DisconnectReason.HANDLER_FAILED


class UnhandledConnections:
    """Open what is accepted, as ``service`` says, keep it in ``protocols`` until it ends, and count it in ``total``.

    ``ended`` is called then: the connection's slot is free.
    """

    __slots__ = ("_ended", "_make", "_open", "_service", "_total", "protocols")

    observes_opening = False

    def __init__(
        self,
        service: Service,
        protocols: set[StreamProtocol],
        open_accepted: Callable[[StreamProtocol, socket.socket, Address], object],
        total: ServerStats,
        ended: Callable[[object, DisconnectReason | None], None],
    ) -> None:
        #: Those that are open, or being opened.
        self.protocols: set[StreamProtocol] = protocols
        self._service = service
        self._make = service.factory
        self._open = open_accepted
        self._total = total
        self._ended = ended

    def accepted(self, sock: socket.socket, address: Address, proxied: Proxied | None = None, /) -> None:
        """Make the connection of ``sock``. What the protocol's factory raises is logged, and the socket closed."""
        self._total.accepted += 1
        protocol = None
        try:
            if not ACCEPTED_INHERIT:
                self._service.options.apply_stream(sock)
            protocol = self._make()
            if TYPE_CHECKING:
                assert isinstance(protocol, StreamProtocol)  # there is no handler, which would want a Connection
            protocol.attach(self, None, address)
            self.protocols.add(protocol)
            if proxied is None:
                self._open(protocol, sock, address)
            else:
                protocol.handed_on(proxied)
                self._open(protocol, sock, proxied.proxy)
        except BaseException as error:
            if protocol is not None:
                self.protocols.discard(protocol)
            if not isinstance(error, Exception):
                raise  # the accept pipeline closes the socket, and frees the slot
            log_not_made(address, error)
            sock.close()
            self._total.refused += 1
            self._ended(address, None)

    def protocol_opened(self, protocol: StreamProtocol) -> None:
        """Nothing: it is known already."""

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Count a connection out."""
        count_out(self._total, protocol, disconnect)
        self.protocols.discard(protocol)
        self._ended(protocol.address, disconnect.reason)

    def handshake_failed(self, error: BaseException) -> None:
        """Nothing: there was no handshake."""


def count_out(total: ServerStats, protocol: StreamProtocol, disconnect: Disconnect) -> None:
    """Add a connection that has ended to the counters of its server."""
    protocol.add_stats_to(total)
    reason = disconnect.reason
    total.disconnects[reason] += 1
    if total.durations is not None:
        total.durations.observe(protocol.age)
    if reason is HANDLER_FAILED:
        total.failed += 1
