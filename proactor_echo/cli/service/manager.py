"""Add a service to the system, and take one away.

Source: "Installing a Service", "Deleting a Service", "Stopping a Service", and ``CreateServiceW`` and
``ChangeServiceConfig2W`` in Microsoft's documentation.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import time
from collections.abc import Iterator
from typing import Final, Literal

import click

from proactor_echo.cli.service import winapi
from proactor_echo.cli.service.winapi import ServiceApi

__all__ = ["Account", "Installation", "StartType", "install", "remove", "sentence"]

StartType = Literal["automatic", "delayed", "manual"]
Account = Literal["LocalService", "NetworkService", "LocalSystem"]

#: Milliseconds after the first, the second and every further failure until the service is started again.
RESTART_DELAYS: Final = (5_000, 30_000, 60_000)
#: Seconds without a failure until the next one is the first again.
RESET_PERIOD: Final = 86_400

#: Seconds between two looks at a service that is being stopped. Windows tells its end only to who asks.
LOOK_AGAIN: Final = 0.1

_WHY: Final = {
    winapi.ERROR_ACCESS_DENIED: "not permitted: run this as an administrator",
    winapi.ERROR_DEPENDENT_SERVICES_RUNNING: "services that depend on it are running: stop them first",
    winapi.ERROR_SERVICE_DOES_NOT_EXIST: "there is no service of that name",
    winapi.ERROR_SERVICE_MARKED_FOR_DELETE: "it was removed and is not gone yet: it goes when it has stopped and every "
    "program that shows it, as services.msc does, is closed",
    winapi.ERROR_SERVICE_EXISTS: "there is a service of that name already",
    winapi.ERROR_DUPLICATE_SERVICE_NAME: "another service is called or shown as that already",
}


@dataclasses.dataclass(frozen=True)
class Installation:
    """How a service is to be installed.

    ``command``: its command line. ``preshutdown``: milliseconds that it may take to stop before Windows shuts down.
    """

    name: str
    command: str
    display_name: str
    description: str
    start: StartType
    account: Account
    restart: bool
    preshutdown: int


def install(api: ServiceApi, wanted: Installation) -> list[str]:
    """Install a service; return a sentence for each of its settings that this Windows refused.

    Raises click.ClickException with one sentence when there can be no such service.
    """
    what_fails = f"cannot install the service {wanted.name}"
    access = winapi.SC_MANAGER_CONNECT | winapi.SC_MANAGER_CREATE_SERVICE
    system = wanted.account == "LocalSystem"
    with (
        _closing(api, api.OpenSCManagerW(None, None, access), what_fails) as manager,
        _closing(
            api,
            api.CreateServiceW(
                manager,
                wanted.name,
                wanted.display_name,
                winapi.SERVICE_CHANGE_CONFIG | winapi.SERVICE_START,
                winapi.SERVICE_WIN32_OWN_PROCESS,
                winapi.SERVICE_DEMAND_START if wanted.start == "manual" else winapi.SERVICE_AUTO_START,
                winapi.SERVICE_ERROR_NORMAL,
                wanted.command,
                None,
                None,
                None,
                None if system else f"NT AUTHORITY\\{wanted.account}",
                None if system else "",
            ),
            what_fails,
        ) as service,
    ):
        return _configure(api, service, wanted)


def _configure(api: ServiceApi, service: int, wanted: Installation) -> list[str]:
    """Set what a service has beyond its command line; return what was refused."""
    delays = (winapi.SC_ACTION * len(RESTART_DELAYS))(
        *(winapi.SC_ACTION(winapi.SC_ACTION_RESTART, delay) for delay in RESTART_DELAYS)
    )
    settings: list[tuple[str, int, ctypes.Structure]] = [
        ("its description", winapi.SERVICE_CONFIG_DESCRIPTION, winapi.SERVICE_DESCRIPTIONW(wanted.description)),
        (
            "the time that it has before Windows shuts down",
            winapi.SERVICE_CONFIG_PRESHUTDOWN_INFO,
            winapi.DWORD_INFO(wanted.preshutdown),
        ),
    ]
    if wanted.start == "delayed":
        delayed = winapi.DWORD_INFO(1)
        settings.append(("its delayed start", winapi.SERVICE_CONFIG_DELAYED_AUTO_START_INFO, delayed))
    if wanted.restart:
        actions = winapi.SERVICE_FAILURE_ACTIONSW(RESET_PERIOD, None, None, len(delays), delays)
        settings += [
            ("its restart after a crash", winapi.SERVICE_CONFIG_FAILURE_ACTIONS, actions),
            # Without this one Windows restarts it only when its process is gone without a word.
            ("its restart after an error", winapi.SERVICE_CONFIG_FAILURE_ACTIONS_FLAG, winapi.DWORD_INFO(1)),
        ]
    refused = []
    for what, level, structure in settings:
        if not api.ChangeServiceConfig2W(service, level, ctypes.addressof(structure)):
            refused.append(f"cannot set {what}: {_why(api, api.get_last_error())}")
    return refused


def remove(api: ServiceApi, name: str, wait: float) -> bool:
    """Stop a service, wait up to ``wait`` seconds for that, and remove it; return whether it has stopped.

    One that has not stopped is removed as soon as it has. Raises click.ClickException with one sentence.
    """
    what_fails = f"cannot remove the service {name}"
    access = winapi.DELETE | winapi.SERVICE_STOP | winapi.SERVICE_QUERY_STATUS
    with (
        _closing(api, api.OpenSCManagerW(None, None, winapi.SC_MANAGER_CONNECT), what_fails) as manager,
        _closing(api, api.OpenServiceW(manager, name, access), what_fails) as service,
    ):
        stopped = _stop(api, service, time.monotonic() + wait, what_fails)
        if not api.DeleteService(service):
            raise sentence(api, what_fails)
        return stopped


def _stop(api: ServiceApi, service: int, deadline: float, what_fails: str) -> bool:
    """Stop a service, in whatever state it is; return whether it has stopped by ``deadline``."""
    status = winapi.SERVICE_STATUS_PROCESS()
    answer = winapi.SERVICE_STATUS()
    needed = ctypes.c_uint32()
    passing = (winapi.ERROR_SERVICE_CANNOT_ACCEPT_CTRL, winapi.ERROR_SERVICE_NOT_ACTIVE)
    while True:
        kind, place, size = winapi.SC_STATUS_PROCESS_INFO, ctypes.addressof(status), ctypes.sizeof(status)
        if not api.QueryServiceStatusEx(service, kind, place, size, ctypes.addressof(needed)):
            raise sentence(api, what_fails)
        if status.dwCurrentState == winapi.SERVICE_STOPPED:
            return True
        if status.dwCurrentState in (winapi.SERVICE_RUNNING, winapi.SERVICE_PAUSED):
            asked = api.ControlService(service, winapi.SERVICE_CONTROL_STOP, ctypes.addressof(answer))
            if not asked and api.get_last_error() not in passing:
                raise sentence(api, what_fails)
        if time.monotonic() >= deadline:
            return False
        time.sleep(LOOK_AGAIN)


def sentence(api: ServiceApi, what_fails: str, number: int | None = None) -> click.ClickException:
    """Return the exception that says why the last call failed, or one that failed with ``number``."""
    return click.ClickException(f"{what_fails}: {_why(api, api.get_last_error() if number is None else number)}")


def _why(api: ServiceApi, number: int) -> str:
    return _WHY.get(number) or f"{api.describe(number).strip().rstrip('.')} (WinError {number})"


@contextlib.contextmanager
def _closing(api: ServiceApi, handle: int | None, what_fails: str) -> Iterator[int]:
    """Yield a handle that was just opened, and close it; raise the sentence when there is none."""
    if not handle:
        raise sentence(api, what_fails)
    try:
        yield handle
    finally:
        api.CloseServiceHandle(handle)
