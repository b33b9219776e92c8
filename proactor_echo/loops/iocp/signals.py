"""``loop.add_signal_handler`` on Windows, where asyncio's own raises NotImplementedError (gh-137863).

Windows has no signals between processes; Ctrl+C, Ctrl+Break and ``raise_signal`` run a C handler, on a thread of the
system's for the first two, which writes to the loop's wake-up socket (``signal.set_wakeup_fd``). So a loop that waits
for completions wakes, Python runs the handler installed here in the main thread, and it schedules the callback.

Source: CPython's ``Lib/asyncio/unix_events.py``, whose promises these are, and ``Modules/signalmodule.c``.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import signal
import threading
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: What can be handled: the signals that somebody else than this program's own code raises.
SIGNALS: Final = frozenset(
    int(getattr(signal, name)) for name in ("SIGINT", "SIGBREAK", "SIGTERM") if hasattr(signal, name)
)


class SignalHandlers:
    """The handlers of one loop, and what stood in their place before."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._callbacks: dict[int, Callable[[], object]] = {}
        self._previous: dict[int, Any] = {}

    def add(self, sig: int, callback: Callable[..., object], *args: Any) -> None:
        """Call ``callback`` in the loop when ``sig`` comes.

        Raises TypeError for a coroutine function, ValueError for what is no signal, RuntimeError for a signal that
        cannot be handled and outside the main thread.
        """
        if asyncio.iscoroutine(callback) or inspect.iscoroutinefunction(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check(sig)
        previous = signal.getsignal(sig)
        try:
            signal.signal(sig, self._arrived)
        except ValueError as exc:  # not the main thread
            raise RuntimeError(str(exc)) from exc
        self._previous.setdefault(sig, previous)
        self._callbacks[sig] = functools.partial(self._loop.call_soon_threadsafe, callback, *args)

    def _arrived(self, number: int, frame: Any) -> None:
        callback = self._callbacks.get(number)
        if callback is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed
                callback()

    def remove(self, sig: int) -> bool:
        """Put back what handled ``sig`` before; False when no handler was added. Raises as :meth:`add`."""
        _check(sig)
        if self._callbacks.pop(sig, None) is None:
            return False
        previous = self._previous.pop(sig)
        try:
            signal.signal(sig, signal.SIG_DFL if previous is None else previous)
        except ValueError as exc:
            raise RuntimeError(str(exc)) from exc
        return True

    def close(self) -> None:
        """Remove every handler: the loop is closing. From another thread, which cannot, they do nothing from now on."""
        if threading.current_thread() is not threading.main_thread():
            self._callbacks.clear()
            return
        for sig in list(self._callbacks):
            if _is_of_runner(self._previous[sig]):
                # asyncio.Runner.run is over by now, and did not take its handler away because it found ours.
                self._previous[sig] = signal.default_int_handler
            self.remove(sig)


def _check(sig: int) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")
    if sig not in SIGNALS:
        raise RuntimeError(f"sig {sig} cannot be caught")


def _is_of_runner(handler: Any) -> bool:
    function = getattr(handler, "func", None)
    return isinstance(getattr(function, "__self__", None), asyncio.Runner)
