"""Pollers: the selector objects of the readiness loop, with handlers for our transports.

What a poller must do is in :class:`~proactor_echo.loops.engine.Poller`. ``loops/readiness/epoll.py`` keeps handlers
outside the selector's own registry, so that an event costs one dictionary look-up; :class:`SelectorPoller` does the
same through the public API of any selector (kqueue on macOS and BSD, poll elsewhere).
"""

from __future__ import annotations

import selectors
from typing import Any, ClassVar

from proactor_echo.loops.engine import Failed, Handler, Invoke, Poller


class SelectorHandlers(Poller):
    """Handlers over any class of the selectors module; to be mixed in before it."""

    READ: ClassVar[int] = selectors.EVENT_READ
    WRITE: ClassVar[int] = selectors.EVENT_WRITE

    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler`` whenever ``fd`` is ready for one of ``events``; replaces what was watched for it."""
        if fd in self.get_map():
            self.modify(fd, events, handler)
        else:
            self.register(fd, events, handler)

    def watch_shared(self, fd: int, handler: Handler) -> None:
        """As :meth:`watch`, for reading, where other processes do so too: all wake, and the first gets it."""
        self.watch(fd, self.READ, handler)

    def redirect(self, fd: int, handler: Handler) -> None:
        """Call ``handler`` from now on for what ``fd`` is watched for; costs no system call."""
        key = self.get_map().get(fd)
        if key is not None:  # modify() unregisters what the system then refuses
            self.modify(fd, key.events, handler)

    def forget(self, fd: int) -> None:
        """Watch ``fd`` no longer."""
        if fd in self.get_map():
            self.unregister(fd)

    def watcher(self, fd: int) -> object | None:
        """Return the transport whose handler watches ``fd``, None if none does."""
        key = self.get_map().get(fd)
        return getattr(key.data, "__self__", key.data) if key is not None and callable(key.data) else None

    def others(self, events: list[Any]) -> list[Any]:
        """Return those of ``events`` that are no handler's, as asyncio wants them: pairs of key and mask."""
        return [(key, mask) for key, mask in events if not callable(key.data)]

    def alone(self) -> int | None:
        """Return None: finding out would cost as much as it saves."""
        return None

    def dispatch(self, events: list[Any], failed: Failed) -> list[Any]:
        """Call the handlers in ``events`` (from ``select``); :meth:`others` has returned the others, so return none."""
        for key, mask in events:
            handler = key.data
            if callable(handler) and self.get_map().get(key.fd) is key:  # not forgotten meanwhile
                try:
                    handler(mask)
                except (SystemExit, KeyboardInterrupt):
                    raise  # what is left of the events comes again: the poller is level triggered
                except BaseException as exc:
                    failed(handler, exc)
        return []

    def pin(self, events: list[Any]) -> list[tuple[Any, int, Handler]]:
        """Keep events and their handlers for :meth:`dispatch_pinned`."""
        return [(key, mask, key.data) for key, mask in events if callable(key.data)]

    def dispatch_pinned(self, pinned: list[tuple[Any, int, Handler]], invoke: Invoke, failed: Failed) -> None:
        """Call the handlers that :meth:`pin` found through ``invoke``, if they still watch the same descriptor."""
        for key, mask, handler in pinned:
            if self.get_map().get(key.fd) is key:
                try:
                    invoke(handler, mask)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    failed(handler, exc)


class SelectorPoller(SelectorHandlers, selectors.DefaultSelector):
    """The system's best selector with handlers."""
