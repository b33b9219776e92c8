"""Stop signals as something to await: Ctrl+C, Ctrl+Break, SIGTERM and SIGHUP, on every event loop.

The handlers are set with :func:`signal.signal`, and not with the loop's ``add_signal_handler``. The proactor loops have
none (gh-137863). The others have one, but taking a handler away, as closing such a loop does too, leaves the system's
default action for a moment: a signal in that moment ends the process. ``signal.signal`` puts the next handler straight
in the place of the last.

A loop that sleeps is woken by the interpreter's wakeup descriptor (:func:`signal.set_wakeup_fd`): a proactor loop has
its self-pipe there, and for the others this module makes one.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Final, Self

from proactor_echo.cli.control_events import ControlEvents, Request

__all__ = ["STOP_SIGNALS", "StopSignals"]

#: SIGINT (Ctrl+C), SIGBREAK (Ctrl+Break; Windows alone), SIGTERM, and SIGHUP (the terminal was closed; not on Windows).
#:
#: A Windows process cannot be sent SIGTERM from outside: ``os.kill`` ends it at once. An event stands for it there
#: (:mod:`~proactor_echo.cli.control_events`).
STOP_SIGNALS: Final = tuple(
    signal.Signals[name] for name in ("SIGINT", "SIGBREAK", "SIGTERM", "SIGHUP") if name in signal.Signals.__members__
)


class StopSignals:
    """Collect stop signals while a ``with`` block runs, for :meth:`next`.

    At its end what was there before comes back. That includes the handler for SIGINT of :class:`asyncio.Runner`, which
    would cancel the main task and so cut every connection off. With ``ignore_afterwards`` the signals are ignored from
    then on instead: for a process that is about to end, and wants to end with its own status.

    SIGHUP is left alone where it is ignored, since that is how ``nohup`` starts a program. With ``hung_up`` it is no
    stop signal: that function is called in the loop instead, as daemons read their configuration again.
    ``ends_with_session`` is for Windows: stop when the console is closed, the user logs off or the system shuts down.

    Enter it in a coroutine, in the main thread: only there does Python let signal handlers be set. Otherwise entering
    raises ValueError.
    """

    def __init__(
        self,
        *,
        ignore_afterwards: bool = False,
        hung_up: Callable[[], object] | None = None,
        ends_with_session: bool = True,
    ) -> None:
        self._ignore_afterwards = ignore_afterwards
        self._ends_with_session = ends_with_session
        self._hung_up = hung_up
        self._arrived: asyncio.Queue[signal.Signals] = asyncio.Queue()
        self._before: dict[signal.Signals, Any] = {}
        self._wakeup = contextlib.ExitStack()

    async def next(self) -> signal.Signals:
        """Wait for the next signal. Those that came earlier wait in a queue; cancelling loses none."""
        return await self._arrived.get()

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        for number in STOP_SIGNALS:
            if number.name == "SIGHUP" and self._hung_up is None and signal.getsignal(number) is signal.SIG_IGN:
                continue
            self._before[number] = signal.signal(number, self._handle)
        self._wakeup.enter_context(_waking(self._loop))
        self._wakeup.enter_context(ControlEvents(self._asked, ends_with_session=self._ends_with_session))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, before in self._before.items():
            if self._ignore_afterwards:
                signal.signal(number, signal.SIG_IGN)
            else:
                # None: a handler that was not set from Python, and which Python cannot set again.
                signal.signal(number, signal.SIG_DFL if before is None else before)
        self._before.clear()
        self._wakeup.close()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._hung_up is not None and signal.Signals(number).name == "SIGHUP":
            self._loop.call_soon_threadsafe(self._hung_up)
        else:
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, signal.Signals(number))

    def _asked(self, request: Request) -> None:
        """Note what another process asks for on Windows, where it cannot send a signal."""
        if request == "stop":
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, signal.SIGTERM)
        elif self._hung_up is not None:
            self._loop.call_soon_threadsafe(self._hung_up)


@contextlib.contextmanager
def _waking(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Have a signal wake the loop, in whichever thread of the process the system delivers it."""
    descriptor = signal.set_wakeup_fd(-1)
    if descriptor != -1:
        # The loop's own. It reads nothing but "wake up" from the bytes, and those that fill the pipe say that already.
        # Python warns unless told not to; under Wine it does for most signals of another thread, though the loop wakes.
        signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
        yield
        return
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        far.setblocking(False)
        loop.add_reader(near, _drain, near)
        signal.set_wakeup_fd(far.fileno(), warn_on_full_buffer=False)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            loop.remove_reader(near)


def _drain(sock: socket.socket) -> None:
    with contextlib.suppress(BlockingIOError):
        while sock.recv(4096):
            pass
