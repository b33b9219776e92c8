"""A poller on epoll that hands events over without an object for each."""

from __future__ import annotations

import selectors
import sys
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private
from proactor_echo.loops.readiness.poller import Channel, Failed, Invoke, SelectorPoller

MAX_EVENTS = 1024  # most events taken in one turn, so that timers get their turn; the rest is reported in the next
FIRST_EVENTS = 64  # asked for at first, since each call takes memory for as many; doubled whenever all of them came


EpollPoller: Any = None

if sys.platform == "linux" and (TYPE_CHECKING or private.EpollSelector is not None):
    from select import EPOLLIN, EPOLLOUT

    class _EpollPoller(private.EpollSelector):
        """epoll(7), level triggered, with channels beside the selector's own registrations."""

        READ = EPOLLIN
        WRITE = EPOLLOUT

        def __init__(self) -> None:
            super().__init__()
            self.channels: dict[int, Channel] = {}
            self._most = FIRST_EVENTS
            # The loop's, kept here: see TurnLoop for why the loop has few attributes.
            self.batch: Any = None
            self.woken = False  # a byte is in the self-pipe, or about to be

        def watch(self, fd: int, events: int, channel: Channel) -> None:
            """Call `channel` whenever `fd` is ready for one of `events`; replaces what was watched for it."""
            known = fd in self.channels
            try:
                (self._selector.modify if known else self._selector.register)(fd, events)
            except FileNotFoundError:  # closed behind our back, and the number used again
                self._selector.register(fd, events)
            self.channels[fd] = channel

        def redirect(self, fd: int, channel: Channel) -> None:
            """Call `channel` from now on for what `fd` is watched for; costs no system call."""
            self.channels[fd] = channel

        def forget(self, fd: int) -> None:
            """Watch `fd` no longer."""
            if self.channels.pop(fd, None) is not None:
                try:  # noqa: SIM105  # each connection comes by here, and a context manager costs more than the call
                    self._selector.unregister(fd)
                except OSError:
                    pass  # closed behind our back: the kernel has forgotten it

        def watcher(self, fd: int) -> object | None:
            """Return whose channel watches `fd`, None if none does."""
            channel = self.channels.get(fd)
            return getattr(channel, "__self__", channel)

        def select(self, timeout: float | None = None) -> list[Any]:
            """Wait; return what epoll_wait says, pairs of descriptor and event bits, for :meth:`dispatch`."""
            if timeout is None:
                timeout = -1
            elif timeout < 0:
                timeout = 0
            try:
                events: list[Any] = self._selector.poll(timeout, self._most)
            except InterruptedError:
                return []
            if len(events) == self._most < MAX_EVENTS:
                self._most *= 2
            return events

        def close(self) -> None:
            """Forget everything and close the epoll descriptor."""
            self.channels.clear()
            super().close()

        def others(self, events: list[Any]) -> list[Any]:
            """Return those of `events` that are no channel's, as asyncio wants them: pairs of key and mask."""
            known = self._fd_to_key
            return [
                (known[fd], (mask & ~EPOLLIN and selectors.EVENT_WRITE) | (mask & ~EPOLLOUT and selectors.EVENT_READ))
                for fd, mask in events
                if fd in known
            ]

        def alone(self) -> int | None:
            """Return the one descriptor that is no channel's, the loop's self-pipe; None when there are more."""
            known = self._fd_to_key
            return next(iter(known)) if len(known) == 1 else None

        def dispatch(self, events: list[Any], failed: Failed) -> list[Any]:
            """Call the channels in `events` (from ``select``); return the others."""
            get = self.channels.get
            others = []
            for fd, mask in events:
                channel = get(fd)
                if channel is not None:
                    try:
                        channel(mask)
                    except (SystemExit, KeyboardInterrupt):
                        raise  # what is left of the events comes again: the poller is level triggered
                    except BaseException as exc:
                        failed(channel, exc)
                else:
                    others.append((fd, mask))
            return others

        def pin(self, events: list[Any]) -> list[tuple[Any, int, Channel]]:
            """Note what is to be told to which channel later, by :meth:`dispatch_pinned`."""
            channels = self.channels
            return [(fd, mask, channels[fd]) for fd, mask in events if fd in channels]

        def dispatch_pinned(self, pinned: list[tuple[Any, int, Channel]], invoke: Invoke, failed: Failed) -> None:
            """Call the channels that :meth:`pin` found through `invoke`, if they still watch the same descriptor."""
            get = self.channels.get
            for fd, mask, channel in pinned:
                if get(fd) is channel:
                    try:
                        invoke(channel, mask)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as exc:
                        failed(channel, exc)

    EpollPoller = _EpollPoller


def new_poller() -> Any:
    """Make the best poller of this system."""
    return SelectorPoller() if EpollPoller is None else EpollPoller()
