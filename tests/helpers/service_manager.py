"""A service control manager of the tests' own, where there is no Windows, or none that may be changed."""

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from proactor_echo.cli.service import winapi
from proactor_echo.cli.service.winapi import ServiceApi

STATES = {
    winapi.SERVICE_STOPPED: "STOPPED",
    winapi.SERVICE_START_PENDING: "START_PENDING",
    winapi.SERVICE_STOP_PENDING: "STOP_PENDING",
    winapi.SERVICE_RUNNING: "RUNNING",
}
MANAGER, SERVICE, STATUS = 11, 12, 13


def api_of(**functions: Callable[..., Any]) -> ServiceApi:
    """Return an API that has these functions; a test that calls another fails."""
    names = [name for name in ServiceApi.__dataclass_fields__ if name not in functions]
    return ServiceApi(**functions, **{name: _unexpected(name) for name in names})


def _unexpected(name: str) -> Callable[..., Any]:
    def fail(*arguments: Any) -> int:
        raise AssertionError(f"{name}{arguments} is not expected")

    return fail


class Registry:
    """The manager that services are installed with: the calls, and an error for those that are to fail."""

    def __init__(self, *, fails: str | None = None, error: int = 0, states: list[int] | None = None) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self.settings: dict[int, tuple[Any, ...]] = {}
        self.opened = 0
        self._fails = fails
        self._error = error
        self._states = states or [winapi.SERVICE_STOPPED]

    def api(self) -> ServiceApi:
        return api_of(
            OpenSCManagerW=lambda *arguments: self._opening("OpenSCManagerW", MANAGER, arguments),
            CreateServiceW=lambda *arguments: self._opening("CreateServiceW", SERVICE, arguments),
            OpenServiceW=lambda *arguments: self._opening("OpenServiceW", SERVICE, arguments),
            CloseServiceHandle=self._close,
            ChangeServiceConfig2W=self._change,
            QueryServiceStatusEx=self._query,
            ControlService=lambda *arguments: self._call("ControlService", arguments),
            DeleteService=lambda *arguments: self._call("DeleteService", arguments),
            get_last_error=lambda: self._error,
            describe=lambda number: "The reason of Windows.\r\n",
        )

    def created(self) -> tuple[Any, ...]:
        """Return what the service was made with, from its name on."""
        return next(call[2:] for call in self.calls if call[0] == "CreateServiceW")

    def names(self) -> list[str]:
        return [call[0] for call in self.calls]

    def _call(self, name: str, arguments: tuple[Any, ...]) -> int:
        self.calls.append((name, *arguments))
        return int(name != self._fails)

    def _opening(self, name: str, handle: int, arguments: tuple[Any, ...]) -> int:
        if not self._call(name, arguments):
            return 0
        self.opened += 1
        return handle

    def _close(self, handle: int) -> int:
        self.opened -= 1
        return 1

    def _change(self, handle: int, level: int, address: int) -> int:
        if level == winapi.SERVICE_CONFIG_DESCRIPTION:
            self.settings[level] = (winapi.SERVICE_DESCRIPTIONW.from_address(address).lpDescription,)
        elif level == winapi.SERVICE_CONFIG_FAILURE_ACTIONS:
            actions = winapi.SERVICE_FAILURE_ACTIONSW.from_address(address)
            self.settings[level] = tuple(actions.lpsaActions[place].Delay for place in range(actions.cActions))
        else:
            self.settings[level] = (winapi.DWORD_INFO.from_address(address).value,)
        return self._call("ChangeServiceConfig2W", (handle, level))

    def _query(self, handle: int, level: int, address: int, size: int, needed: int) -> int:
        status = winapi.SERVICE_STATUS_PROCESS.from_address(address)
        status.dwCurrentState = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        return self._call("QueryServiceStatusEx", ())


class Starter:
    """The manager that has started this process: it writes a line for each report, and reads controls from stdin."""

    def __init__(self) -> None:
        self._reports = os.fdopen(
            os.dup(1), "w", buffering=1
        )  # the service is about to take standard output for its own
        self._handler: Any = None
        self._main_has_ended = threading.Event()

    def api(self) -> ServiceApi:
        return api_of(
            StartServiceCtrlDispatcherW=self._dispatch,
            RegisterServiceCtrlHandlerExW=self._register,
            SetServiceStatus=self._status,
            SetConsoleCtrlHandler=lambda handler, add: 1,
            SetStdHandle=lambda number, handle: 1,
        )

    def _dispatch(self, table: int) -> int:
        entry = winapi.SERVICE_TABLE_ENTRYW.from_address(table)
        after = winapi.SERVICE_TABLE_ENTRYW.from_address(table + ctypes.sizeof(entry))
        assert (entry.lpServiceName, after.lpServiceName) == (sys.argv[3], None)
        threading.Thread(target=self._run_main, args=(entry.lpServiceProc,), daemon=True).start()
        self._main_has_ended.wait()
        return 1

    def _run_main(self, service_main: Callable[..., None]) -> None:
        service_main(0, None)
        self._main_has_ended.set()

    def _register(self, name: str, handler: Any, context: int | None) -> int:
        self._handler = handler
        threading.Thread(target=self._control, daemon=True).start()
        return STATUS

    def _control(self) -> None:
        for line in sys.stdin:
            print("answered", self._handler(int(line), 0, None, None), file=self._reports)

    def _status(self, handle: int, address: int) -> int:
        assert handle == STATUS
        status = winapi.SERVICE_STATUS.from_address(address)
        line = [
            STATES[status.dwCurrentState],
            f"accepts {status.dwControlsAccepted:#x}",
            f"point {status.dwCheckPoint}",
        ]
        if status.dwCurrentState == winapi.SERVICE_STOPPED:
            line.append(f"exit {status.dwWin32ExitCode} {status.dwServiceSpecificExitCode}")
        print(", ".join(line), file=self._reports)
        return 1


if __name__ == "__main__":
    from proactor_echo.cli import main

    winapi.load = Starter().api
    main()
