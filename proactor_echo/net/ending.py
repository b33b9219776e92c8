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
        if self._reason not in (None, DisconnectReason.LOCAL_CLOSE):
            said = f"{self._reason}: {self._error}" if self._error else str(self._reason)
            return Disconnect(self._reason, None, said)
        if exc is not None:
            return classify(exc)
        reason = DisconnectReason.END_OF_FILE if self.peer_ended else DisconnectReason.LOCAL_CLOSE
        return Disconnect(reason, None, str(reason))


def lost_error(peer: str, disconnect: Disconnect) -> Disconnected:
    """Return the exception for whoever still wants to use the connection."""
    return Disconnected(f"{peer}: {disconnect.text}", reason=disconnect.reason, number=disconnect.number)


def log_level(disconnect: Disconnect) -> int:
    """How loudly an end is logged: a hostile peer costs one line, a normal end none unless asked for."""
    match disconnect.reason:
        case DisconnectReason.END_OF_FILE | DisconnectReason.LOCAL_CLOSE:
            return logging.DEBUG
        case DisconnectReason.HANDLER_FAILED:
            return logging.DEBUG  # logged with its traceback when it happened
        case DisconnectReason.FRAMING:
            return logging.WARNING
    return logging.INFO
