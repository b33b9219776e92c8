"""Why a connection ended: one cause out of everything that is reported when it breaks."""

from __future__ import annotations

import logging
from typing import TypeVar

from proactor_echo.errors import Disconnect, Disconnected, DisconnectReason, ProactorEchoError, classify
from proactor_echo.escaping import escaped

__all__ = ["Ending", "log_level", "lost_error"]

E = TypeVar("E", bound=ProactorEchoError)


class Ending:
    """Keeps the first cause: what follows from it (a reset after our abort, an error while closing) is not the reason.

    There is one exception. A wish to close that could not be carried out in good order gives way to what was in the
    way.

    Of an error only its words are kept. The error itself leads, by its traceback, to the frames of whoever raised it
    and so to the connection: a cycle, which would keep all that the connection has received from being freed.
    """

    __slots__ = ("_reason", "_words", "peer_ended")

    def __init__(self) -> None:
        #: Whether the peer's end of file has come.
        self.peer_ended: bool = False
        self._reason: DisconnectReason | None = None
        self._words = ""

    @property
    def is_forced(self) -> bool:
        """Whether the connection has ended, or is about to, otherwise than by our wish to close it."""
        return self._reason not in (None, DisconnectReason.LOCAL_CLOSE)

    def note(self, reason: DisconnectReason, error: BaseException | None = None, *, forced: bool = False) -> None:
        """Note that the connection is about to end for ``reason``; ``forced`` when not all that is owed is sent."""
        if self._reason is None or (forced and self._reason is DisconnectReason.LOCAL_CLOSE):
            self._reason = reason
            self._words = f"{reason}: {escaped(str(error))}" if error is not None else str(reason)

    def disconnect(self, exc: BaseException | None) -> Disconnect:
        """Judge by what was noted and by what ``connection_lost`` was given."""
        reason = self._reason
        if reason is not None and reason is not DisconnectReason.LOCAL_CLOSE:
            return Disconnect(reason, None, self._words)
        if exc is not None:
            return classify(exc)
        return _END_OF_FILE if self.peer_ended else _LOCAL_CLOSE

    # -- whose error is it? --------------------------------------------------------------------------------------

    def sign(self, error: E) -> E:
        """Mark ``error`` as raised because this connection has ended, and return it."""
        error.ending = self
        return error

    def without_own(self, error: BaseException) -> BaseException | None:
        """Return what is left of ``error`` when what :meth:`sign` has marked is taken out; None when that is all.

        Out of a group, as :class:`asyncio.TaskGroup` raises it, only the marked errors are taken, however deep.
        """
        if isinstance(error, BaseExceptionGroup):
            return error.split(lambda each: self._is_own(each))[1]  # noqa: PLW0108 - split() refuses a bound method
        return None if self._is_own(error) else error

    def _is_own(self, error: BaseException) -> bool:
        return isinstance(error, ProactorEchoError) and error.ending is self


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
    DisconnectReason.HANDLER_FAILED: logging.DEBUG,  # logged when it happened
    DisconnectReason.HANDLER_TIMEOUT: logging.DEBUG,
    DisconnectReason.FRAMING: logging.WARNING,
}
