"""Stopping and reloading a server from another process: by signals on POSIX, by named events on Windows.

A Windows process cannot be sent a signal that it could handle. So a server there waits, in a thread, for two events
with its process number in their names, and ``proactor-echo stop`` and ``reload`` set them. An event can be set by the
same user in the same session, and by administrators.

Windows also tells a console program that its window is being closed, that its user logs off, or that the system shuts
down. As soon as the handler of such an event has returned, the process is ended; so it waits until the server has
drained, for as long as Windows waits for it.

Source: "Event Objects", ``CreateEventW`` and "HandlerRoutine callback function" in Microsoft's documentation.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import Any, Final, Literal, Self

__all__ = ["ControlEvents", "Request", "send"]

Request = Literal["stop", "reload"]

_EVENT_MODIFY_STATE: Final = 0x0002
_INFINITE: Final = 0xFFFFFFFF
#: Console events after which the process is ended: closing the window, logging off, shutting down.
_ENDING_EVENTS: Final = (2, 5, 6)
#: Seconds for which such an event is held up. Windows waits 5.
CONSOLE_SECONDS: Final = 4.5


class ControlEvents:
    """Call ``asked(request)``, in a thread, for each request of another process, while a ``with`` block runs.

    Without ``ends_with_session`` the events of the console are left alone: a service is told when any user logs off.
    """

    def __init__(self, asked: Callable[[Request], object], *, ends_with_session: bool = True) -> None:
        self._asked = asked
        self._ends_with_session = ends_with_session
        self._handles: list[Any] = []
        self._ending = False
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()
        self._console_handler: Any = None

    def console_event(self, event: int) -> bool:
        """Handle an event of the console, in a thread of the system's: return whether it has been handled."""
        if event not in _ENDING_EVENTS:
            return False  # Ctrl+C and Ctrl+Break are signals
        self._asked("stop")
        self._ended.wait(CONSOLE_SECONDS)
        return True

    def __enter__(self) -> Self:
        if sys.platform == "win32":
            kernel32 = _kernel32()
            if self._ends_with_session:
                self._console_handler = _CONSOLE_HANDLER(self.console_event)
                kernel32.SetConsoleCtrlHandler(self._console_handler, True)
            names = [_name(os.getpid(), "stop"), _name(os.getpid(), "reload"), None]
            self._handles = [kernel32.CreateEventW(None, False, False, name) for name in names]
            if not all(self._handles):
                raise ctypes.WinError(ctypes.get_last_error())
            self._thread = threading.Thread(target=self._wait, name="control events", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._ended.set()
        if sys.platform == "win32" and self._thread is not None:
            kernel32 = _kernel32()
            if self._ends_with_session:
                kernel32.SetConsoleCtrlHandler(self._console_handler, False)
            self._ending = True
            kernel32.SetEvent(self._handles[-1])
            self._thread.join()
            for handle in self._handles:
                kernel32.CloseHandle(handle)

    def _wait(self) -> None:
        if sys.platform == "win32":
            handles = (ctypes.c_void_p * len(self._handles))(*self._handles)
            requests: tuple[Request, Request] = ("stop", "reload")
            while True:
                place = _kernel32().WaitForMultipleObjects(len(handles), handles, False, _INFINITE)
                if self._ending or not 0 <= place < len(requests):
                    return
                self._asked(requests[place])


def send(pid: int, request: Request) -> None:
    """Ask the server in process ``pid`` to stop, or to reload.

    Raises OSError when there is none, or it may not be asked.
    """
    if sys.platform == "win32":
        kernel32 = _kernel32()
        handle = kernel32.OpenEventW(_EVENT_MODIFY_STATE, False, _name(pid, request))
        if not handle:
            raise ctypes.WinError(ctypes.get_last_error())
        try:
            if not kernel32.SetEvent(handle):
                raise ctypes.WinError(ctypes.get_last_error())
        finally:
            kernel32.CloseHandle(handle)
    else:
        os.kill(pid, signal.SIGTERM if request == "stop" else signal.SIGHUP)


def _name(pid: int, request: Request) -> str:
    return f"proactor_echo-{request}-{pid}"


if sys.platform == "win32":
    from ctypes import wintypes

    _CONSOLE_HANDLER = ctypes.WINFUNCTYPE(wintypes.BOOL, wintypes.DWORD)

    def _kernel32() -> Any:
        library = ctypes.WinDLL("kernel32", use_last_error=True)
        library.CreateEventW.argtypes = wintypes.LPVOID, wintypes.BOOL, wintypes.BOOL, wintypes.LPCWSTR
        library.CreateEventW.restype = wintypes.HANDLE
        library.OpenEventW.argtypes = wintypes.DWORD, wintypes.BOOL, wintypes.LPCWSTR
        library.OpenEventW.restype = wintypes.HANDLE
        library.SetEvent.argtypes = (wintypes.HANDLE,)
        library.SetEvent.restype = wintypes.BOOL
        library.SetConsoleCtrlHandler.argtypes = _CONSOLE_HANDLER, wintypes.BOOL
        library.SetConsoleCtrlHandler.restype = wintypes.BOOL
        library.CloseHandle.argtypes = (wintypes.HANDLE,)
        library.CloseHandle.restype = wintypes.BOOL
        library.WaitForMultipleObjects.argtypes = wintypes.DWORD, wintypes.LPVOID, wintypes.BOOL, wintypes.DWORD
        library.WaitForMultipleObjects.restype = wintypes.DWORD
        return library
