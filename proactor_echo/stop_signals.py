"""Stop signals as something to await: Ctrl+C, Ctrl+Break and SIGTERM, on every event loop.

Where the loop has ``add_signal_handler`` it is used: it also makes the signal wake a loop that sleeps in ``select``.
The proactor loops have none (gh-137863). There :func:`signal.signal` does, because such a loop has its self-pipe as the
interpreter's wakeup descriptor (:func:`signal.set_wakeup_fd`), so that the completion port wakes up, Python runs the
handler and the handler calls the loop.

What was there before comes back at the end. That includes the handler for SIGINT of :class:`asyncio.Runner`, which
would cancel the main task and so cut every connection off.
"""

import asyncio
import signal
from types import FrameType, TracebackType
from typing import Any, Final, Self

__all__ = ["STOP_SIGNALS", "StopSignals"]

STOP_SIGNALS: Final = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGBREAK", "SIGTERM") if name in signal.Signals.__members__
)
"""SIGINT (Ctrl+C), SIGBREAK (Ctrl+Break; Windows alone) and SIGTERM.

A Windows process cannot be sent SIGTERM from outside: ``os.kill`` ends it at once.
"""


class StopSignals:
    """Collect stop signals while a ``with`` block runs, for :meth:`next`.

    Enter it in a coroutine, in the main thread: only there does Python let signal handlers be set. Otherwise entering
    raises ValueError.
    """

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._before: dict[signal.Signals, Any] = {}
        self._in_loop: list[signal.Signals] = []

    async def next(self) -> signal.Signals:
        """Wait for the next signal. Those that came earlier wait in a queue; cancelling loses none."""
        return await self._arrived.get()

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            self._before[number] = signal.getsignal(number)
            try:
                self._loop.add_signal_handler(number, self._arrived.put_nowait, number)
            except NotImplementedError:
                signal.signal(number, self._handle)
            else:
                self._in_loop.append(number)
        if not self._in_loop:
            _accept_full_buffer()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number in self._in_loop:
            self._loop.remove_signal_handler(number)
        for number, before in self._before.items():
            # None: a handler that was not set from Python, and which Python cannot set again.
            signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()
        self._in_loop.clear()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._loop.call_soon_threadsafe(self._arrived.put_nowait, signal.Signals(number))


def _accept_full_buffer() -> None:
    """Tell Python not to complain when a signal's byte finds no room in the loop's self-pipe.

    A proactor loop reads nothing but "wake up" from the bytes, and those that fill the pipe say that already. Python
    warns unless told not to; under Wine it does for most signals of another thread, though the loop does wake.
    """
    descriptor = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
