"""One log line when accepting fails, not one for each try."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
from typing import Final

from proactor_echo.errors import classify
from proactor_echo.sockets import accept_errors
from proactor_echo.sockets.addresses import format_address

logger: logging.Logger = logging.getLogger("proactor_echo.net")


__all__ = ["AcceptErrorLog"]

#: Seconds by which a sleep may end before its time: Windows' clock has a tick of 15.6 ms.
_EARLY: Final = 0.02
#: Seconds without a failure after which the next pause is logged again.
LOG_INTERVAL: Final = 5.0


class AcceptErrorLog:
    """The errors of accepting on one listener: the pauses after them, and one log line for several in a row."""

    def __init__(self, listener: socket.socket) -> None:
        self.listener = listener
        self.where: str = format_address(listener.getsockname())
        self._last = -math.inf
        self._recovered = True
        self._failures = 0  # of the listener's own, since the last connection
        self._pause_ends = -math.inf

    def pause_after(self, error: BaseException) -> float:
        """Return the seconds to wait; several outstanding accepts may fail together, and share one pause."""
        if accept_errors.is_of_one_connection(error):
            return 0.0
        now = asyncio.get_running_loop().time()
        if now >= self._pause_ends - _EARLY:
            self._pause_ends = now + accept_errors.pause_after(error, self._failures)
            self._failures += 1
        return max(self._pause_ends - now, 0.0)

    def report(self, error: BaseException, pause: float) -> None:
        """Log why accepting is paused, unless that was logged and accepting has not recovered for long since."""
        if not pause:
            failed = classify(error)
            extra = {"event": "accept_failed", "reason": str(failed.reason), "number": failed.number}
            logger.info("%s: accepting a connection failed: %s", self.where, failed.text, extra=extra)
            return
        now = asyncio.get_running_loop().time()
        if self._recovered and now - self._last >= LOG_INTERVAL:
            why = getattr(error, "strerror", None) or repr(error)
            extra = {"event": "accept_paused", "reason": why}
            logger.warning("accepting on %s is paused, trying again in %.1f s: %s", self.where, pause, why, extra=extra)
        self._last = now
        self._recovered = False

    def accepted(self) -> None:
        """Note that a connection was accepted."""
        self._recovered = True
        self._failures = 0
