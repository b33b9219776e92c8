"""Pollers: the selector objects of the readiness loop, which also carry our transports.

A poller is a selector in every respect asyncio uses (``add_reader`` and friends register handles in it), and besides
holds *channels*: one callable for each file descriptor a transport of ours watches. :class:`EpollPoller` keeps them
out of the selector's own books, so that an event costs one dictionary look-up; :class:`SelectorPoller` does the same
through the public API of any selector (kqueue on macOS and BSD, poll elsewhere).
"""

from __future__ import annotations

import contextlib
import math
import selectors
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private

Channel = Callable[[int], object]  # called with what was seen; any bit beside WRITE means "receive now"

MAX_EVENTS = 1024  # most events taken in one turn, so that timers get their turn; the rest is reported in the next


class SelectorChannels:
    """Channels over any class of the selectors module; to be mixed in before it."""

    READ = selectors.EVENT_READ
    WRITE = selectors.EVENT_WRITE

    def watch(self: Any, fd: int, events: int, channel: Channel) -> None:
        """Call `channel` whenever `fd` is ready for one of `events`; replaces what was watched for it."""
        if fd in self.get_map():
            self.modify(fd, events, channel)
        else:
            self.register(fd, events, channel)

    def forget(self: Any, fd: int) -> None:
        """Watch `fd` no longer."""
        self.unregister(fd)

    def watches(self: Any, fd: int) -> bool:
        """Whether `fd` belongs to a channel."""
        key = self.get_map().get(fd)
        return key is not None and callable(key.data)

    def dispatch(self, events: list[Any], invoke: Callable[[Channel, int], object] | None) -> list[Any]:
        """Call the channels in `events` (from ``select``), through `invoke` if given; return the others."""
        others = []
        for key, mask in events:
            channel = key.data
            if not callable(channel):
                others.append((key, mask))
            elif invoke is None:
                channel(mask)
            else:
                invoke(channel, mask)
        return others


class SelectorPoller(SelectorChannels, selectors.DefaultSelector):
    """The system's best selector with channels."""


EpollPoller: Any

if private.EpollSelector is None and not TYPE_CHECKING:
    EpollPoller = None
else:
    from select import EPOLLIN, EPOLLOUT

    class _EpollPoller(private.EpollSelector):
        """epoll(7), level triggered, with channels beside the selector's own registrations."""

        READ = EPOLLIN
        WRITE = EPOLLOUT

        def __init__(self) -> None:
            super().__init__()
            self.channels: dict[int, Channel] = {}

        def watch(self, fd: int, events: int, channel: Channel) -> None:
            """Call `channel` whenever `fd` is ready for one of `events`; replaces what was watched for it."""
            known = fd in self.channels
            try:
                (self._selector.modify if known else self._selector.register)(fd, events)
            except FileNotFoundError:  # closed behind our back, and the number used again
                self._selector.register(fd, events)
            self.channels[fd] = channel

        def forget(self, fd: int) -> None:
            """Watch `fd` no longer."""
            if self.channels.pop(fd, None) is not None:
                with contextlib.suppress(OSError):  # closed behind our back: the kernel has forgotten it
                    self._selector.unregister(fd)

        def watches(self, fd: int) -> bool:
            """Whether `fd` belongs to a channel."""
            return fd in self.channels

        def select(self, timeout: float | None = None) -> list[Any]:
            """Wait; return what epoll_wait says, pairs of descriptor and event bits, for :meth:`dispatch`."""
            if timeout is None:
                timeout = -1
            elif timeout <= 0:
                timeout = 0
            else:  # epoll_wait counts in milliseconds: wait at least as long as asked
                timeout = math.ceil(timeout * 1e3) * 1e-3
            try:
                events: list[Any] = self._selector.poll(timeout, MAX_EVENTS)
            except InterruptedError:
                return []
            return events

        def close(self) -> None:
            """Forget everything and close the epoll descriptor."""
            self.channels.clear()
            super().close()

        def dispatch(self, events: list[Any], invoke: Callable[[Channel, int], object] | None) -> list[Any]:
            """Call the channels in `events` (from ``select``), through `invoke` if given; return the others."""
            others = []
            get = self.channels.get
            for fd, mask in events:
                channel = get(fd)
                if channel is None:
                    key = self.get_map().get(fd)
                    if key is not None:
                        ready = (mask & ~EPOLLIN and selectors.EVENT_WRITE) | (
                            mask & ~EPOLLOUT and selectors.EVENT_READ
                        )
                        others.append((key, ready & key.events))
                elif invoke is None:
                    channel(mask)
                else:
                    invoke(channel, mask)
            return others

    EpollPoller = _EpollPoller


def new_poller() -> Any:
    """Make the best poller of this system."""
    return SelectorPoller() if EpollPoller is None else EpollPoller()
