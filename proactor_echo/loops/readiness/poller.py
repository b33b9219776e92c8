"""Pollers: the selector objects of the readiness loop, which also carry our transports.

A poller is a selector in every respect asyncio uses (``add_reader`` and friends register handles in it), and besides
holds *channels*: one callable for each file descriptor a transport of ours watches. :class:`EpollPoller` keeps them
out of the selector's own books, so that an event costs one dictionary look-up; :class:`SelectorPoller` does the same
through the public API of any selector (kqueue on macOS and BSD, poll elsewhere).
"""

from __future__ import annotations

import selectors
from collections.abc import Callable
from typing import Any

Invoke = Callable[["Channel", int], object]
Failed = Callable[["Channel", BaseException], object]  # told what a channel let out, so that the others are called
Channel = Callable[[int], object]  # called with what was seen; any bit beside WRITE means "receive now"


class SelectorChannels:
    """Channels over any class of the selectors module; to be mixed in before it."""

    READ = selectors.EVENT_READ
    WRITE = selectors.EVENT_WRITE
    # The loop's, kept here: see TurnLoop for why the loop has few attributes.
    batch: Any = None
    woken = False  # a byte is in the self-pipe, or about to be

    def watch(self: Any, fd: int, events: int, channel: Channel) -> None:
        """Call `channel` whenever `fd` is ready for one of `events`; replaces what was watched for it."""
        if fd in self.get_map():
            self.modify(fd, events, channel)
        else:
            self.register(fd, events, channel)

    def redirect(self: Any, fd: int, channel: Channel) -> None:
        """Call `channel` from now on for what `fd` is watched for; costs no system call."""
        key = self.get_map().get(fd)
        if key is not None:  # modify() unregisters what the system then refuses
            self.modify(fd, key.events, channel)

    def forget(self: Any, fd: int) -> None:
        """Watch `fd` no longer."""
        if fd in self.get_map():
            self.unregister(fd)

    def watcher(self: Any, fd: int) -> object | None:
        """Return whose channel watches `fd`, None if none does."""
        key = self.get_map().get(fd)
        return getattr(key.data, "__self__", key.data) if key is not None and callable(key.data) else None

    def others(self, events: list[Any]) -> list[Any]:
        """Return those of `events` that are no channel's, as asyncio wants them: pairs of key and mask."""
        return [(key, mask) for key, mask in events if not callable(key.data)]

    def alone(self) -> int | None:
        """Return None: telling would cost as much as it spares."""
        return None

    def dispatch(self: Any, events: list[Any], failed: Failed) -> list[Any]:
        """Call the channels in `events` (from ``select``); :meth:`others` has told of the others, so return none."""
        for key, mask in events:
            channel = key.data
            if callable(channel) and self.get_map().get(key.fd) is key:  # not forgotten meanwhile
                try:
                    channel(mask)
                except (SystemExit, KeyboardInterrupt):
                    raise  # what is left of the events comes again: the poller is level triggered
                except BaseException as exc:
                    failed(channel, exc)
        return []

    def pin(self: Any, events: list[Any]) -> list[tuple[Any, int, Channel]]:
        """Note what is to be told to which channel later, by :meth:`dispatch_pinned`."""
        return [(key, mask, key.data) for key, mask in events if callable(key.data)]

    def dispatch_pinned(self: Any, pinned: list[tuple[Any, int, Channel]], invoke: Invoke, failed: Failed) -> None:
        """Call the channels that :meth:`pin` found through `invoke`, if they still watch the same descriptor."""
        for key, mask, channel in pinned:
            if self.get_map().get(key.fd) is key:
                try:
                    invoke(channel, mask)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    failed(channel, exc)


class SelectorPoller(SelectorChannels, selectors.DefaultSelector):
    """The system's best selector with channels."""
