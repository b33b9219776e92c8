"""Looking at all connections of a server, again and again, without delaying any of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol

__all__ = ["Sweep"]

#: Connections that are looked at in one iteration of the loop: some 0.5 ms of work.
PORTION: Final = 500


class Sweep:
    """Look at connections, ``interval`` seconds after the last of them was looked at before.

    Each time ``begin()`` returns those to look at, ``look(protocol)`` gets them, a portion in each iteration of the
    loop, and ``end()`` is called. ``loop`` needs ``call_later()`` and ``call_soon()`` only.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        interval: float,
        begin: Callable[[], Iterable[StreamProtocol]],
        look: Callable[[StreamProtocol], None],
        end: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop = loop
        self._interval = interval
        self._begin = begin
        self._look = look
        self._end = end
        self._rest: list[StreamProtocol] = []
        self._handle: asyncio.Handle = loop.call_later(interval, self._start)

    def cancel(self) -> None:
        """Look no more."""
        self._handle.cancel()
        self._rest.clear()

    def _start(self) -> None:
        self._rest = list(self._begin())
        self._go_on()

    def _go_on(self) -> None:
        portion, self._rest = self._rest[:PORTION], self._rest[PORTION:]
        for protocol in portion:
            self._look(protocol)
        if self._rest:
            self._handle = self._loop.call_soon(self._go_on)
        else:
            self._handle = self._loop.call_later(self._interval, self._start)
            self._end()
