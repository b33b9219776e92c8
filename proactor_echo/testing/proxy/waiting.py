"""Waiting until a condition about a server is true."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from proactor_echo.arguments import check_callable, check_seconds

__all__ = ["Waiters"]

T = TypeVar("T")


class Waiters:
    """The tasks that wait for a condition; :meth:`notify` is called whenever something has happened."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Event] = set()

    def notify(self) -> None:
        """Let every waiting task check its condition again."""
        for event in self._waiting:
            event.set()

    async def wait_for(self, server: T, condition: Callable[[T], object], timeout: float) -> None:
        """Wait until ``condition(server)`` is true. Raises TimeoutError after ``timeout`` seconds."""
        check_callable("condition", condition)
        check_seconds("timeout", timeout, zero=True)
        event = asyncio.Event()
        self._waiting.add(event)
        try:
            async with asyncio.timeout(timeout):
                while not condition(server):
                    event.clear()
                    await event.wait()
        except TimeoutError:
            raise TimeoutError(f"{server}: what was waited for did not happen within {timeout:g} s") from None
        finally:
            self._waiting.discard(event)
