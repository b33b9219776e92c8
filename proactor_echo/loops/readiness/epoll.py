"""A poller on epoll that returns events without making an object for each."""

from __future__ import annotations

import selectors
import sys
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.engine import Failed, Handler, Invoke, Poller
from proactor_echo.loops.readiness.poller import SelectorPoller

#: Events taken in one iteration, at most, so that timers are not late; the rest comes in the next.
MAX_EVENTS: Final = 1024
#: Asked for at first, since each call allocates memory for as many; doubled when as many came.
FIRST_EVENTS: Final = 64


EpollPoller: type[Poller] | None = None

if sys.platform == "linux" and (TYPE_CHECKING or private.EpollSelector is not None):
    from select import EPOLLIN, EPOLLOUT

    #: From Linux' eventpoll.h: the select module of PyPy has no name for it.
    EPOLLEXCLUSIVE: Final = 1 << 28

    class _EpollPoller(private.EpollSelector, Poller):
        """epoll(7), level triggered, with handlers beside the selector's own registrations."""

        READ = EPOLLIN
        WRITE = EPOLLOUT

        def __init__(self) -> None:
            super().__init__()
            self.handlers: dict[int, Handler] = {}
            self._most = FIRST_EVENTS

        def watch(self, fd: int, events: int, handler: Handler) -> None:
            """Call ``handler`` whenever ``fd`` is ready for one of ``events``; replaces what was watched for it."""
            known = fd in self.handlers
            try:
                (self._selector.modify if known else self._selector.register)(fd, events)
            except FileNotFoundError:  # closed behind our back, and the number used again
                self._selector.register(fd, events)
            self.handlers[fd] = handler

        def watch_shared(self, fd: int, handler: Handler) -> None:
            """As :meth:`watch`, for reading, where other processes do so too: a few of those that wait longest wake."""
            self.forget(fd)  # what is exclusive cannot be modified, and the newest is woken last
            self._selector.register(fd, EPOLLIN | EPOLLEXCLUSIVE)
            self.handlers[fd] = handler

        def redirect(self, fd: int, handler: Handler) -> None:
            """Call ``handler`` from now on for what ``fd`` is watched for; costs no system call."""
            self.handlers[fd] = handler

        def forget(self, fd: int) -> None:
            """Watch ``fd`` no longer."""
            if self.handlers.pop(fd, None) is not None:
                try:  # noqa: SIM105  # each connection comes by here, and a context manager costs more than the call
                    self._selector.unregister(fd)
                except OSError:
                    pass  # closed behind our back: the kernel has forgotten it

        def watcher(self, fd: int) -> object | None:
            """Return the transport whose handler watches ``fd``, None if none does."""
            handler = self.handlers.get(fd)
            return getattr(handler, "__self__", handler)

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
            self.handlers.clear()
            super().close()

        def others(self, events: list[Any]) -> list[Any]:
            """Return those of ``events`` that are no handler's, as asyncio wants them: pairs of key and mask."""
            known = self._fd_to_key
            return [
                (known[fd], (mask & ~EPOLLIN and selectors.EVENT_WRITE) | (mask & ~EPOLLOUT and selectors.EVENT_READ))
                for fd, mask in events
                if fd in known
            ]

        def alone(self) -> int | None:
            """Return the one descriptor that is no handler's, the loop's self-pipe; None when there are more."""
            known = self._fd_to_key
            return next(iter(known)) if len(known) == 1 else None

        def dispatch(self, events: list[Any], failed: Failed) -> list[Any]:
            """Call the handlers in ``events`` (from ``select``); return the others."""
            get = self.handlers.get
            others = []
            for fd, mask in events:
                handler = get(fd)
                if handler is not None:
                    try:
                        handler(mask)
                    except (SystemExit, KeyboardInterrupt):
                        raise  # what is left of the events comes again: the poller is level triggered
                    except BaseException as exc:
                        failed(handler, exc)
                else:
                    others.append((fd, mask))
            return others

        def pin(self, events: list[Any]) -> list[tuple[Any, int, Handler]]:
            """Keep events and their handlers for :meth:`dispatch_pinned`."""
            handlers = self.handlers
            return [(fd, mask, handlers[fd]) for fd, mask in events if fd in handlers]

        def dispatch_pinned(self, pinned: list[tuple[Any, int, Handler]], invoke: Invoke, failed: Failed) -> None:
            """Call the handlers that :meth:`pin` found through ``invoke``, if they still watch the same descriptor."""
            get = self.handlers.get
            for fd, mask, handler in pinned:
                if get(fd) is handler:
                    try:
                        invoke(handler, mask)
                    except (SystemExit, KeyboardInterrupt):
                        raise
                    except BaseException as exc:
                        failed(handler, exc)

    EpollPoller = _EpollPoller


def new_poller() -> Poller:
    """Make the best poller of this system."""
    return SelectorPoller() if EpollPoller is None else EpollPoller()
