"""What a program asks of its loop most often, in fewer steps than asyncio takes.

asyncio's ``call_soon`` goes through five functions and its ``call_later`` through seven, each of which is a call in the
interpreter. Outside debug mode they check that the loop is open, fill in a handle and queue it: that is done here in
two. What comes of it is the same: the queues, the order, and handles that are asyncio's own by class.
"""

from __future__ import annotations

import asyncio
import socket
from contextvars import Context, copy_context
from heapq import heappush
from typing import TYPE_CHECKING, Any, TypeVar, TypeVarTuple

from proactor_echo.loops import private

if TYPE_CHECKING:
    from collections.abc import Callable

Ts = TypeVarTuple("Ts")
AnyHandle = TypeVar("AnyHandle", bound=asyncio.Handle)


class Handle(asyncio.Handle):
    """A callback that is queued; made with one call."""

    __slots__ = ()

    def __init__(self, callback: Any, args: Any, loop: Any, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None


class TimerHandle(asyncio.TimerHandle):
    """A callback with a time; made, compared and cancelled with one call each."""

    __slots__ = ()

    def __init__(self, when: float, callback: Any, args: Any, loop: Any, context: Context | None) -> None:
        self._context = copy_context() if context is None else context
        self._loop = loop
        self._callback = callback
        self._args = args
        self._cancelled = False
        self._repr = None
        self._source_traceback = None
        self._when = when
        self._scheduled = True  # the caller puts it into the loop's heap

    def __lt__(self, other: Any) -> bool:
        when: float = other._when  # the loop's heap holds nothing but timers
        return self._when < when

    def cancel(self) -> None:
        """Cancel the callback."""
        if self._cancelled:
            return
        loop = self._loop
        if loop._debug:
            super().cancel()
            return
        self._cancelled = True
        self._callback = None
        self._args = None  # type: ignore[assignment]  # as asyncio does
        if self._scheduled:
            loop._timer_cancelled_count += 1  # the loop sweeps its heap when they are many


class SchedulingLoop(private.StockLoop):
    """The stock loop of the platform with faster scheduling. In debug mode asyncio's own code runs, with its checks."""

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call ``callback(*args)`` in the next iteration of the loop."""
        if self._debug or self._closed:
            return _without_our_frame(super().call_soon(callback, *args, context=context))
        handle = Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call ``callback(*args)`` after ``delay`` seconds."""
        if self._debug or self._closed or delay is None:
            return _without_our_frame(super().call_later(delay, callback, *args, context=context))
        timer = TimerHandle(self.time() + delay, callback, args, self, context)
        heappush(self._scheduled, timer)
        return timer

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call ``callback(*args)`` when :meth:`time` says ``when``."""
        if self._debug or self._closed or when is None:
            return _without_our_frame(super().call_at(when, callback, *args, context=context))
        timer = TimerHandle(when, callback, args, self, context)
        heappush(self._scheduled, timer)
        return timer

    async def getaddrinfo(
        self,
        host: Any,
        port: Any,
        *,
        family: int = 0,
        type: int = 0,  # noqa: A002 (asyncio's own word)
        proto: int = 0,
        flags: int = 0,
    ) -> list[Any]:
        """Look a name up in a thread; an address needs no look-up, and is parsed at once."""
        if _may_be_literal(host) and not (isinstance(port, str) and not port.isdigit()):
            numeric = flags | socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
            try:
                return socket.getaddrinfo(host, port, family, type, proto, numeric)
            except OSError:
                pass  # a name, or of another family: the system's own error says which
        return await super().getaddrinfo(host, port, family=family, type=type, proto=proto, flags=flags)


def _may_be_literal(host: Any) -> bool:
    """Whether it may be an address: those end with a digit or have a colon. A name that does is looked up after all."""
    return isinstance(host, str) and (":" in host or host[-1:].isdigit())


def _without_our_frame(handle: AnyHandle) -> AnyHandle:
    """Debug mode: remove the frame of our own function from where a handle says it was made."""
    frames: Any = getattr(handle, "_source_traceback", None)
    if frames:
        del frames[-1]
    return handle
