"""What a service prints goes into a file: it has no terminal, and nobody reads its standard streams."""

from __future__ import annotations

import os
import sys
from typing import Final

from proactor_echo.cli.service import winapi
from proactor_echo.cli.service.winapi import ServiceApi

__all__ = ["print_into"]

_OUT: Final = 1
_ERR: Final = 2


def print_into(path: str, api: ServiceApi) -> None:
    """Have this process, and those that it starts, print to the end of the file ``path``, in UTF-8.

    Both streams are one descriptor, so that neither overwrites what the other wrote. Raises OSError.
    """
    _take_standard_descriptors()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
    try:
        os.dup2(descriptor, _OUT)
        os.dup2(descriptor, _ERR)
    finally:
        os.close(descriptor)
    sys.stdout = sys.stderr = open(_OUT, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
    os.environ["PYTHONIOENCODING"] = "utf-8:backslashreplace"  # of workers
    if sys.platform == "win32":
        import msvcrt

        # A process that is started inherits these handles, and not the descriptors of the C run-time.
        api.SetStdHandle(winapi.STD_OUTPUT_HANDLE, msvcrt.get_osfhandle(_OUT))
        api.SetStdHandle(winapi.STD_ERROR_HANDLE, msvcrt.get_osfhandle(_ERR))


def _take_standard_descriptors() -> None:
    """Open the null device in place of those that are closed, or the next file that is opened would be one of them."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _ERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
