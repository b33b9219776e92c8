"""Two timers of a connection: the idle timeout, and a timeout for closing that makes no progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["IdleTimer", "StallTimer"]


class IdleTimer:
    """Call ``expired`` once ``timeout`` seconds pass without :meth:`touch`.

    Touching only stores the time. The one timer that is armed compares when it fires, and arms itself for the time that
    is left. So a busy connection makes no timers.

    The process may have been stopped for a while, and data that arrived meanwhile is not read yet. (A poll that is
    interrupted beyond its time limit returns without result.) So the loop polls once more before the timer expires.
    """

    __slots__ = ("_expired", "_handle", "_last", "_loop", "_timeout")

    def __init__(self, timeout: float, expired: Callable[[], None]) -> None:
        self._timeout = timeout
        self._expired = expired
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._handle = self._loop.call_later(timeout, self._check)

    def touch(self) -> None:
        """Store that data passed now."""
        self._last = self._loop.time()

    def cancel(self) -> None:
        """Never expire."""
        self._handle.cancel()

    def _check(self) -> None:
        due = self._last + self._timeout
        if due <= self._loop.time():
            # Timers that are due run after what the poll before them has found.
            self._handle = self._loop.call_later(0, self._check_again)
        else:
            self._handle = self._loop.call_at(due, self._check)

    def _check_again(self) -> None:
        if self._last + self._timeout <= self._loop.time():
            self._expired()
        else:
            self._check()


class StallTimer:
    """Call ``stalled`` once ``remaining()`` bytes did not shrink for ``timeout`` seconds."""

    __slots__ = ("_handle", "_left", "_loop", "_remaining", "_stalled", "_timeout")

    def __init__(self, timeout: float, remaining: Callable[[], int], stalled: Callable[[], None]) -> None:
        self._timeout = timeout
        self._remaining = remaining
        self._stalled = stalled
        self._left = remaining()
        self._loop = asyncio.get_running_loop()
        self._handle = self._loop.call_later(timeout, self._check)

    def cancel(self) -> None:
        """Never fire."""
        self._handle.cancel()

    def _check(self) -> None:
        left = self._remaining()
        if left >= self._left:
            self._stalled()
        else:
            self._left = left
            self._handle = self._loop.call_later(self._timeout, self._check)
