"""How many handles this process has, as the "GetProcessHandleCount function" of Windows counts them."""

import sys

if sys.platform != "win32":
    raise ImportError("helpers.windows_handles is for Windows only")

import ctypes
from ctypes import wintypes

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_kernel32.GetCurrentProcess.restype = wintypes.HANDLE
_kernel32.GetProcessHandleCount.argtypes = [wintypes.HANDLE, ctypes.POINTER(wintypes.DWORD)]


def handle_count() -> int:
    """Return the number of open handles."""
    count = wintypes.DWORD()
    assert _kernel32.GetProcessHandleCount(_kernel32.GetCurrentProcess(), ctypes.byref(count))
    return count.value
