"""Why a connection ended: one cause out of everything that is reported when it breaks."""

from __future__ import annotations

import logging

from ..errors import Disconnect, Disconnected, DisconnectReason, classify

__all__ = ["Ending", "log_level", "lost_error"]


class Ending:
    """Keeps the first cause: what follows from it (a reset after our abort, an error while closing) is not the reason.

    There is one exception. A wish to close that could not be carried out in good order gives way to what was in the
    way.
    """

    __slots__ = ("_error", "_reason", "peer_ended")

    def __init__(self) -> None:
        #: Whether the peer's end of file has come.
        self.peer_ended = False
        self._reason: DisconnectReason | None = None
        self._error: BaseException | None = None

    @property
    def is_forced(self) -> bool:
        """Whether the connection has ended, or is about to, otherwise than by our wish to close it."""
        return self._reason not in (None, DisconnectReason.LOCAL_CLOSE)

    def note(self, reason: DisconnectReason, error: BaseException | None = None, *, forced: bool = False) -> None:
        """Note that the connection is about to end for ``reason``; ``forced`` when not all that is owed is sent."""
        if self._reason is None or (forced and self._reason is DisconnectReason.LOCAL_CLOSE):
            self._reason, self._error = reason, error

    def disconnect(self, exc: BaseException | None) -> Disconnect:
        """Judge by what was noted and by what ``connection_lost`` was given."""
        reason = self._reason
        if reason is not None and reason is not DisconnectReason.LOCAL_CLOSE:
            return Disconnect(reason, None, f"{reason}: {self._error}" if self._error else str(reason))
        if exc is not None:
            return classify(exc)
        return _END_OF_FILE if self.peer_ended else _LOCAL_CLOSE


_END_OF_FILE, _LOCAL_CLOSE = (
    Disconnect(reason, None, str(reason)) for reason in (DisconnectReason.END_OF_FILE, DisconnectReason.LOCAL_CLOSE)
)


def lost_error(peer: str, disconnect: Disconnect) -> Disconnected:
    """Return the exception for whoever still wants to use the connection."""
    return Disconnected(f"{peer}: {disconnect.text}", reason=disconnect.reason, number=disconnect.number)


def log_level(disconnect: Disconnect) -> int:
    """How loudly an end is logged: a hostile peer costs one line, a normal end none unless asked for."""
    return _LEVELS.get(disconnect.reason, logging.INFO)


_LEVELS = {
    DisconnectReason.END_OF_FILE: logging.DEBUG,
    DisconnectReason.LOCAL_CLOSE: logging.DEBUG,
    DisconnectReason.HANDLER_FAILED: logging.DEBUG,  # logged with its traceback when it happened
    DisconnectReason.FRAMING: logging.WARNING,
}
