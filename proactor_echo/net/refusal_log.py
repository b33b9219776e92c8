"""One log line a second, at most, for each reason why connections are refused or datagrams not answered."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from typing import Final

__all__ = ["RefusalLog"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Seconds between two lines about one reason.
INTERVAL: Final = 1.0
#: Sources that are told apart within one interval.
MOST_SOURCES: Final = 1024


class RefusalLog:
    """Log the first refusal for a reason at once, and those of the second that follows in one line, with how many.

    ``one`` and ``more`` begin the lines: ``"refused a connection"`` and ``"refused %d more connections"``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, one: str, more: str) -> None:
        self._loop = loop
        self._one = one
        self._more = more
        self._pending: dict[Hashable, _Interval] = {}

    def note(self, reason: Hashable, source: object) -> None:
        """Count a refusal, or log it."""
        interval = self._pending.get(reason)
        if interval is None:
            extra = {"event": "refused", "peer": str(source), "reason": str(reason), "count": 1}
            logger.warning("%s from %s: %s", self._one, source, reason, extra=extra)
            self._begin(reason)
        else:
            interval.count += 1
            interval.example = source
            if len(interval.sources) < MOST_SOURCES:
                interval.sources.add(source)

    def close(self) -> None:
        """Log what has been counted."""
        for reason in list(self._pending):
            self._say(reason)

    def _begin(self, reason: Hashable) -> None:
        self._pending[reason] = _Interval(self._loop.call_later(INTERVAL, self._over, reason))

    def _over(self, reason: Hashable) -> None:
        if self._say(reason):
            self._begin(reason)

    def _say(self, reason: Hashable) -> bool:
        """Log one interval; return whether there was anything in it."""
        interval = self._pending.pop(reason)
        interval.timer.cancel()
        if not interval.count:
            return False
        number = len(interval.sources)
        many = f"{number} sources, one of them" if number > 1 else "one source,"
        if number >= MOST_SOURCES:
            many = f"{number} sources and more, one of them"
        more = self._more % interval.count
        extra = {"event": "refused", "reason": str(reason), "count": interval.count, "sources": number}
        logger.warning("%s from %s %s: %s", more, many, interval.example, reason, extra=extra)
        return True


class _Interval:
    """The refusals since the last line."""

    __slots__ = ("count", "example", "sources", "timer")

    def __init__(self, timer: asyncio.TimerHandle) -> None:
        self.timer = timer
        self.count = 0
        self.example: object = None
        self.sources: set[object] = set()
