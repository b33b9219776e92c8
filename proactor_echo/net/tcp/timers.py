"""A timer of a connection that is closing: it ends it when that makes no progress."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

__all__ = ["StallTimer"]


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
