"""SocketStream: what a connection is whose peer has a socket address, and at which level its end is logged."""

from __future__ import annotations

import logging
from typing import Final

from proactor_echo.errors import DisconnectReason
from proactor_echo.sockets.addresses import format_address
from proactor_echo.wire.connection import FramedStream

__all__ = ["LEVELS", "SocketStream", "logger"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")


class SocketStream(FramedStream):
    """A stream whose peer is a socket address, written as text only when somebody asks."""

    __slots__ = ()

    def peer_name(self) -> str:
        """Return the address as text: ``127.0.0.1:50001``, ``[::1]:50001``."""
        return format_address(self.peer) if self.peer else ""


#: The levels at which the ends of connections are logged; every other reason has INFO.
LEVELS: Final = {
    DisconnectReason.END_OF_FILE: logging.DEBUG,
    DisconnectReason.LOCAL_CLOSE: logging.DEBUG,
    DisconnectReason.HANDLER_FAILED: logging.DEBUG,  # logged when it happened
    DisconnectReason.HANDLER_TIMEOUT: logging.DEBUG,
    DisconnectReason.FRAMING: logging.WARNING,
}
