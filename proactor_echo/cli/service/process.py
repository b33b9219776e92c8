"""The process that runs as a service.

The service control manager (SCM) starts it, and three threads of it do the work:

- the main thread serves, since Python runs signal handlers there alone;
- the dispatcher thread is in ``StartServiceCtrlDispatcherW`` from begin to end. The SCM's controls are handled there;
- a thread of Windows' runs ServiceMain. It says what the service does, every second while that changes, and returns
  when the service has stopped: under Wine the dispatcher returns when this thread does, on Windows at SERVICE_STOPPED.

A control to stop takes the way of ``proactor-echo stop``, and PARAMCHANGE (``sc control NAME paramchange``) that of
``proactor-echo reload``.

::

    START_PENDING ── it listens ──▶ RUNNING ── STOP, SHUTDOWN, PRESHUTDOWN ──▶ STOP_PENDING
          │                            │                                             │
          └───────── failed ───────────┴─────────────────── ended ──────────────────┴──▶ STOPPED

Controls are taken in RUNNING alone: before, nobody waits for them yet, and after, a second request to stop would cut
the connections off.

Source: "Service Control Handler Function", "Service ServiceMain Function", "Service State Transitions" and
``SetServiceStatus`` in Microsoft's documentation.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any, Final

import click

from proactor_echo.cli.control_events import Request, send
from proactor_echo.cli.service import winapi
from proactor_echo.cli.service.manager import sentence
from proactor_echo.cli.service.winapi import ServiceApi
from proactor_echo.cli.systemd import Notifier

__all__ = ["run_as_service"]

#: Seconds between two reports while the service starts or stops, and for how long the SCM is to wait for the next one.
REPORT_EVERY: Final = 1.0
WAIT_HINT: Final = 10.0

#: Seconds that the end of the process waits for the threads, which have nothing to do any more.
JOIN_TIMEOUT: Final = 5.0

_STOPPING: Final = (
    winapi.SERVICE_CONTROL_STOP,
    winapi.SERVICE_CONTROL_SHUTDOWN,
    winapi.SERVICE_CONTROL_PRESHUTDOWN,
)
_ACCEPTED: Final = (
    winapi.SERVICE_ACCEPT_STOP
    | winapi.SERVICE_ACCEPT_PARAMCHANGE
    | winapi.SERVICE_ACCEPT_SHUTDOWN
    | winapi.SERVICE_ACCEPT_PRESHUTDOWN
)

#: Which states may follow one; 0 is before the first.
_NEXT: Final = {
    0: (winapi.SERVICE_START_PENDING,),
    winapi.SERVICE_START_PENDING: (winapi.SERVICE_RUNNING, winapi.SERVICE_STOPPED),
    winapi.SERVICE_RUNNING: (winapi.SERVICE_STOP_PENDING, winapi.SERVICE_STOPPED),
    winapi.SERVICE_STOP_PENDING: (winapi.SERVICE_STOPPED,),
    winapi.SERVICE_STOPPED: (),
}
_CTRL_C: Final = 0
_CTRL_BREAK: Final = 1

_PENDING: Final = (winapi.SERVICE_START_PENDING, winapi.SERVICE_STOP_PENDING)


def run_as_service(api: ServiceApi, name: str, serve: Callable[[Notifier], int]) -> int:
    """Call ``serve(notifier)`` in this thread, the main one, as the service ``name``; return the status it returned.

    The notifier must be told when it is ready and when it stops. Raises click.ClickException with one sentence when the
    service control manager has not started this process.
    """
    process = _ServiceProcess(api, name)
    process.begin()
    status = 1
    try:
        status = serve(process)
    finally:
        process.end(status)
    return status


class _ServiceProcess(Notifier):
    """What the service control manager asks of this process, and is told of it.

    Lifetime: Windows keeps the two callbacks, and the table while the dispatcher runs; this object keeps them until the
    process ends, since a daemon thread of it is in the dispatcher.
    """

    ends_with_session = False

    def __init__(self, api: ServiceApi, name: str) -> None:
        super().__init__()
        self._api = api
        self._name = name
        self._error = 0
        self._handle = 0
        self._status = winapi.SERVICE_STATUS(winapi.SERVICE_WIN32_OWN_PROCESS)
        self._lock = threading.Lock()
        self._begun = threading.Event()  # ServiceMain is there, or will not be
        self._ended = threading.Event()  # what the service does has ended
        self._main_has_ended = threading.Event()  # so has ServiceMain
        self._main: Any = winapi.SERVICE_MAIN(self._service_main)
        self._handler: Any = winapi.HANDLER_EX(self._control)
        self._console_handler: Any = winapi.CONSOLE_HANDLER(_stay)
        self._dispatcher = threading.Thread(target=self._dispatch, name="service dispatcher", daemon=True)

    def begin(self) -> None:
        """Wait until the service control manager has the service started. Raises click.ClickException."""
        # Services are told when any user logs off, and without a handler end then.
        self._api.SetConsoleCtrlHandler(self._console_handler, True)
        self._dispatcher.start()
        self._begun.wait()
        if self._error:
            raise self._failure()

    def end(self, status: int) -> None:
        """Say that the service has stopped, with this exit status."""
        with self._lock:
            self._status.dwWin32ExitCode = winapi.ERROR_SERVICE_SPECIFIC_ERROR if status else winapi.NO_ERROR
            self._status.dwServiceSpecificExitCode = status
        self._ended.set()
        self._main_has_ended.wait(JOIN_TIMEOUT)
        self._dispatcher.join(JOIN_TIMEOUT)

    def ready(self, status: str = "") -> None:
        self._report(winapi.SERVICE_RUNNING)

    def stopping(self) -> None:
        self._report(winapi.SERVICE_STOP_PENDING)

    def _failure(self) -> click.ClickException:
        if self._error == winapi.ERROR_FAILED_SERVICE_CONTROLLER_CONNECT:
            return click.ClickException(
                "Windows did not start this process as a service: install one with `proactor-echo service install` "
                "and start that, or serve without a service, with `proactor-echo tcp` or `udp`"
            )
        return sentence(self._api, f"cannot run as the service {self._name}", self._error)

    def _dispatch(self) -> None:
        table = (winapi.SERVICE_TABLE_ENTRYW * 2)(winapi.SERVICE_TABLE_ENTRYW(self._name, self._main))
        if not self._api.StartServiceCtrlDispatcherW(ctypes.addressof(table)):
            self._error = self._api.get_last_error()
        self._begun.set()

    def _service_main(self, count: int, arguments: int | None) -> None:
        try:
            self._handle = self._api.RegisterServiceCtrlHandlerExW(self._name, self._handler, None)
            if not self._handle:
                self._error = self._api.get_last_error()
                return
            self._report(winapi.SERVICE_START_PENDING)
            self._begun.set()
            while not self._ended.wait(REPORT_EVERY):
                self._report_again()
            self._report(winapi.SERVICE_STOPPED)
        finally:
            self._begun.set()
            self._main_has_ended.set()

    def _control(self, control: int, event: int, data: int | None, context: int | None) -> int:
        """Handle a control, in the dispatcher's thread; return at once, since others wait."""
        if control in _STOPPING:
            # One that comes while it stops already changes nothing.
            if self._report(winapi.SERVICE_STOP_PENDING):
                _ask("stop")
            return winapi.NO_ERROR
        if control == winapi.SERVICE_CONTROL_PARAMCHANGE:
            if self._status.dwCurrentState == winapi.SERVICE_RUNNING:
                _ask("reload")
            return winapi.NO_ERROR
        # The manager knows the state already when it asks for that.
        return winapi.NO_ERROR if control == winapi.SERVICE_CONTROL_INTERROGATE else winapi.ERROR_CALL_NOT_IMPLEMENTED

    def _report(self, state: int) -> bool:
        """Say what state the service is in now; False if it cannot follow the last one, as when it came already."""
        with self._lock:
            if state not in _NEXT[self._status.dwCurrentState]:
                return False
            self._status.dwCurrentState = state
            self._status.dwControlsAccepted = _ACCEPTED if state == winapi.SERVICE_RUNNING else 0
            self._status.dwCheckPoint = 1 if state in _PENDING else 0
            self._status.dwWaitHint = int(WAIT_HINT * 1000) if state in _PENDING else 0
            self._api.SetServiceStatus(self._handle, ctypes.addressof(self._status))
            return True

    def _report_again(self) -> None:
        """Say that starting or stopping goes on."""
        with self._lock:
            if self._status.dwCurrentState in _PENDING:
                self._status.dwCheckPoint += 1
                self._api.SetServiceStatus(self._handle, ctypes.addressof(self._status))


def _ask(request: Request) -> None:
    """Ask this process itself; one that has just ended needs no stop and no reload."""
    with contextlib.suppress(OSError):
        send(os.getpid(), request)


def _stay(event: int) -> bool:
    """Handle an event of the console but Ctrl+C and Ctrl+Break: of the end of Windows the manager tells, too."""
    return event not in (_CTRL_C, _CTRL_BREAK)
