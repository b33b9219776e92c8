"""The Windows functions and structures of services, as ctypes declarations and nothing else.

The structures and numbers can be had on every system, for tests; :func:`load` on Windows alone. Addresses are passed as
plain integers (``c_void_p``): the callers own the memory, as their ``Lifetime:`` sections say.

Sources: "Service Functions" and "Service Structures" of the Windows API reference, "SetConsoleCtrlHandler function" and
"SetStdHandle function".
"""

# ruff: noqa: N801, N815 (the names are those of Windows)

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Callable
from ctypes import wintypes
from typing import Any, Final

Function = Callable[..., int]

#: Rights to ask for: of the manager, and of a service. A service whose failure restarts it needs SERVICE_START.
SC_MANAGER_CONNECT: Final = 0x0001
SC_MANAGER_CREATE_SERVICE: Final = 0x0002
SERVICE_CHANGE_CONFIG: Final = 0x0002
SERVICE_QUERY_STATUS: Final = 0x0004
SERVICE_START: Final = 0x0010
SERVICE_STOP: Final = 0x0020
DELETE: Final = 0x10000

SERVICE_WIN32_OWN_PROCESS: Final = 0x10
SERVICE_AUTO_START: Final = 2
SERVICE_DEMAND_START: Final = 3
#: A service that does not start is written to the event log, and Windows goes on.
SERVICE_ERROR_NORMAL: Final = 1

#: States of a service.
SERVICE_STOPPED: Final = 1
SERVICE_START_PENDING: Final = 2
SERVICE_STOP_PENDING: Final = 3
SERVICE_RUNNING: Final = 4
SERVICE_PAUSED: Final = 7

#: Controls that a service takes, and what says that it takes them.
SERVICE_CONTROL_STOP: Final = 1
SERVICE_CONTROL_INTERROGATE: Final = 4
SERVICE_CONTROL_SHUTDOWN: Final = 5
SERVICE_CONTROL_PARAMCHANGE: Final = 6
SERVICE_CONTROL_PRESHUTDOWN: Final = 15
SERVICE_ACCEPT_STOP: Final = 0x1
SERVICE_ACCEPT_SHUTDOWN: Final = 0x4
SERVICE_ACCEPT_PARAMCHANGE: Final = 0x8
SERVICE_ACCEPT_PRESHUTDOWN: Final = 0x100

#: What ChangeServiceConfig2W changes.
SERVICE_CONFIG_DESCRIPTION: Final = 1
SERVICE_CONFIG_FAILURE_ACTIONS: Final = 2
SERVICE_CONFIG_DELAYED_AUTO_START_INFO: Final = 3
SERVICE_CONFIG_FAILURE_ACTIONS_FLAG: Final = 4
SERVICE_CONFIG_PRESHUTDOWN_INFO: Final = 7

SC_ACTION_RESTART: Final = 1
SC_STATUS_PROCESS_INFO: Final = 0

NO_ERROR: Final = 0
ERROR_ACCESS_DENIED: Final = 5
ERROR_CALL_NOT_IMPLEMENTED: Final = 120
ERROR_DEPENDENT_SERVICES_RUNNING: Final = 1051
ERROR_SERVICE_DOES_NOT_EXIST: Final = 1060
#: The service cannot take a control now, as while it starts.
ERROR_SERVICE_CANNOT_ACCEPT_CTRL: Final = 1061
ERROR_SERVICE_NOT_ACTIVE: Final = 1062
#: The process was not started by the service control manager.
ERROR_FAILED_SERVICE_CONTROLLER_CONNECT: Final = 1063
#: The exit status is the service's own number.
ERROR_SERVICE_SPECIFIC_ERROR: Final = 1066
ERROR_SERVICE_MARKED_FOR_DELETE: Final = 1072
ERROR_SERVICE_EXISTS: Final = 1073
ERROR_DUPLICATE_SERVICE_NAME: Final = 1078

STD_OUTPUT_HANDLE: Final = 0xFFFFFFF5  # (DWORD) -11
STD_ERROR_HANDLE: Final = 0xFFFFFFF4  # (DWORD) -12

_P = ctypes.c_void_p
_DWORD: Final = wintypes.DWORD
_BOOL: Final = wintypes.BOOL
_TEXT: Final = wintypes.LPCWSTR
#: SC_HANDLE and SERVICE_STATUS_HANDLE.
_HANDLE: Final = wintypes.HANDLE

if sys.platform == "win32":
    _callback: Any = ctypes.WINFUNCTYPE
else:
    _callback = ctypes.CFUNCTYPE

#: ``void ServiceMain(DWORD count, LPWSTR *arguments)``
SERVICE_MAIN: Any = _callback(None, _DWORD, _P)
#: ``DWORD HandlerEx(DWORD control, DWORD event, LPVOID data, LPVOID context)``
HANDLER_EX: Any = _callback(_DWORD, _DWORD, _DWORD, _P, _P)
#: ``BOOL HandlerRoutine(DWORD event)``
CONSOLE_HANDLER: Any = _callback(_BOOL, _DWORD)

_STATUS_FIELDS: Final = (
    ("dwServiceType", _DWORD),
    ("dwCurrentState", _DWORD),
    ("dwControlsAccepted", _DWORD),
    ("dwWin32ExitCode", _DWORD),
    ("dwServiceSpecificExitCode", _DWORD),
    ("dwCheckPoint", _DWORD),
    ("dwWaitHint", _DWORD),
)


class SERVICE_STATUS(ctypes.Structure):
    """What a service says of itself; ``dwWaitHint`` is in milliseconds."""

    _fields_ = _STATUS_FIELDS
    dwCurrentState: int
    dwControlsAccepted: int
    dwWin32ExitCode: int
    dwServiceSpecificExitCode: int
    dwCheckPoint: int
    dwWaitHint: int


class SERVICE_STATUS_PROCESS(ctypes.Structure):
    """The same as the manager tells it, with the number of the process; 0 while there is none."""

    _fields_ = (*_STATUS_FIELDS, ("dwProcessId", _DWORD), ("dwServiceFlags", _DWORD))
    dwCurrentState: int


class SERVICE_TABLE_ENTRYW(ctypes.Structure):
    """One service of a process; both fields NULL end the table."""

    _fields_ = (("lpServiceName", wintypes.LPWSTR), ("lpServiceProc", SERVICE_MAIN))
    lpServiceName: str | None
    lpServiceProc: Any


class SERVICE_DESCRIPTIONW(ctypes.Structure):
    """A text for people."""

    _fields_ = (("lpDescription", wintypes.LPWSTR),)
    lpDescription: str


class SC_ACTION(ctypes.Structure):
    """What to do after a failure, and after how many milliseconds."""

    _fields_ = (("Type", ctypes.c_int), ("Delay", _DWORD))
    Delay: int


class SERVICE_FAILURE_ACTIONSW(ctypes.Structure):
    """What to do after the first failure, the second and so on; ``dwResetPeriod``: seconds until they count anew."""

    _fields_ = (
        ("dwResetPeriod", _DWORD),
        ("lpRebootMsg", wintypes.LPWSTR),
        ("lpCommand", wintypes.LPWSTR),
        ("cActions", _DWORD),
        ("lpsaActions", ctypes.POINTER(SC_ACTION)),
    )
    cActions: int
    lpsaActions: Any


class DWORD_INFO(ctypes.Structure):
    """The structures that have one number: of DELAYED_AUTO_START, FAILURE_ACTIONS_FLAG and PRESHUTDOWN."""

    _fields_ = (("value", _DWORD),)
    value: int


@dataclasses.dataclass(frozen=True)
class ServiceApi:
    """The functions, with their names in Windows; a test makes one of its own.

    ``get_last_error`` is the error of the last call that this thread made; ``describe`` is Windows' text for a number.
    """

    OpenSCManagerW: Function
    CreateServiceW: Function
    OpenServiceW: Function
    CloseServiceHandle: Function
    ChangeServiceConfig2W: Function
    QueryServiceStatusEx: Function
    ControlService: Function
    DeleteService: Function
    StartServiceCtrlDispatcherW: Function
    RegisterServiceCtrlHandlerExW: Function
    SetServiceStatus: Function
    SetConsoleCtrlHandler: Function
    SetStdHandle: Function
    get_last_error: Callable[[], int]
    describe: Callable[[int], str]


#: What each function returns, and takes.
_ADVAPI32: Final[dict[str, tuple[Any, ...]]] = {
    "OpenSCManagerW": (_HANDLE, _TEXT, _TEXT, _DWORD),
    "CreateServiceW": (
        *(_HANDLE, _HANDLE, _TEXT, _TEXT),
        *(_DWORD, _DWORD, _DWORD, _DWORD),  # access, type, start, error control
        *(_TEXT, _TEXT, _P, _TEXT, _TEXT, _TEXT),  # command line, group, tag, dependencies, account, password
    ),
    "OpenServiceW": (_HANDLE, _HANDLE, _TEXT, _DWORD),
    "CloseServiceHandle": (_BOOL, _HANDLE),
    "ChangeServiceConfig2W": (_BOOL, _HANDLE, _DWORD, _P),
    "QueryServiceStatusEx": (_BOOL, _HANDLE, ctypes.c_int, _P, _DWORD, _P),
    "ControlService": (_BOOL, _HANDLE, _DWORD, _P),
    "DeleteService": (_BOOL, _HANDLE),
    "StartServiceCtrlDispatcherW": (_BOOL, _P),
    "RegisterServiceCtrlHandlerExW": (_HANDLE, _TEXT, HANDLER_EX, _P),
    "SetServiceStatus": (_BOOL, _HANDLE, _P),
}
_KERNEL32: Final[dict[str, tuple[Any, ...]]] = {
    "SetConsoleCtrlHandler": (_BOOL, CONSOLE_HANDLER, _BOOL),
    "SetStdHandle": (_BOOL, _DWORD, _HANDLE),
}


def load() -> ServiceApi:
    """Return the functions of this Windows. Raises ImportError on other systems."""
    if sys.platform != "win32":
        raise ImportError("services are for Windows only")
    functions = _declared(ctypes.WinDLL("advapi32", use_last_error=True), _ADVAPI32)
    functions |= _declared(ctypes.WinDLL("kernel32", use_last_error=True), _KERNEL32)
    return ServiceApi(**functions, get_last_error=ctypes.get_last_error, describe=ctypes.FormatError)


def _declared(library: ctypes.CDLL, signatures: dict[str, tuple[Any, ...]]) -> dict[str, Any]:
    """Return functions whose arguments ctypes need not guess."""
    functions = {}
    for name, (returns, *takes) in signatures.items():
        function: Any = library[name]
        function.argtypes = takes
        function.restype = returns
        functions[name] = function
    return functions
