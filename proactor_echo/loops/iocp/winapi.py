"""The Windows functions and structures the completion engine calls, as ctypes declarations and nothing else.

Importable only on Windows. Addresses are passed as plain integers (``c_void_p`` and ``c_size_t``): the callers own the
memory, as their ``Lifetime:`` sections say, and an integer costs less to convert than a pointer object.

Sources: "GetQueuedCompletionStatusEx function", "OVERLAPPED structure", "WSARecv function", "WSARecvFrom function",
"WSAGetOverlappedResult function", "CancelIoEx function", "SetFileCompletionNotificationModes function" and
"RtlNtStatusToDosError function" of the Windows API reference.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.winapi is for Windows only")

import ctypes
from collections.abc import Callable
from ctypes import wintypes
from typing import Any, Final

Function = Callable[..., int]

#: What an overlapped call that did not finish at once fails with: it goes on (ERROR_IO_PENDING, the same).
WSA_IO_PENDING: Final = 997

#: The peer reset the connection, as GetOverlappedResult and RtlNtStatusToDosError put it.
ERROR_NETNAME_DELETED: Final = 64

#: The operation was cancelled, or its socket closed.
ERROR_OPERATION_ABORTED: Final = 995

WSAECONNRESET: Final = 10054
WSAENOTSOCK: Final = 10038

#: OVERLAPPED.Internal while the operation is with the kernel.
STATUS_PENDING: Final = 0x103

INFINITE: Final = 0xFFFFFFFF

#: OVERLAPPED_ENTRY for :func:`struct.iter_unpack`: completion key, address of the OVERLAPPED, reserved, bytes.
ENTRY_FORMAT: Final = "QQQIxxxx" if sys.maxsize > 2**32 else "IIII"


class OVERLAPPED(ctypes.Structure):
    """An operation the kernel works on. ``Internal`` is its NTSTATUS, ``InternalHigh`` the bytes transferred."""

    _fields_ = (
        ("Internal", ctypes.c_size_t),
        ("InternalHigh", ctypes.c_size_t),
        ("Offset", wintypes.DWORD),
        ("OffsetHigh", wintypes.DWORD),
        ("hEvent", wintypes.HANDLE),
    )
    Internal: int
    InternalHigh: int


class WSABUF(ctypes.Structure):
    """One buffer: its length in bytes and its address."""

    _fields_ = (("len", wintypes.ULONG), ("buf", ctypes.c_void_p))
    len: int
    buf: int | None


class StreamOperation(ctypes.Structure):
    """Everything one WSARecv needs in one piece of memory, so that one reference keeps all of it."""

    _fields_ = (("overlapped", OVERLAPPED), ("buffer", WSABUF), ("flags", wintypes.DWORD))
    overlapped: OVERLAPPED
    buffer: WSABUF
    flags: int


#: Bytes for a socket address of any family (sizeof(SOCKADDR_STORAGE)).
ADDRESS_SIZE: Final = 128


class DatagramOperation(ctypes.Structure):
    """The same for one WSARecvFrom, with the peer's address."""

    _fields_ = (
        ("overlapped", OVERLAPPED),
        ("buffer", WSABUF),
        ("flags", wintypes.DWORD),
        ("address_length", ctypes.c_int),
        ("address", ctypes.c_char * ADDRESS_SIZE),
    )
    overlapped: OVERLAPPED
    buffer: WSABUF
    flags: int
    address_length: int
    address: bytes


def _offset(structure: type[ctypes.Structure], field: str) -> int:
    offset: int = getattr(structure, field).offset
    return offset


BUFFER_OFFSET: Final = _offset(StreamOperation, "buffer")
FLAGS_OFFSET: Final = _offset(StreamOperation, "flags")
ADDRESS_LENGTH_OFFSET: Final = _offset(DatagramOperation, "address_length")
ADDRESS_OFFSET: Final = _offset(DatagramOperation, "address")

_kernel32 = ctypes.WinDLL("kernel32", use_last_error=True)
_ws2_32 = ctypes.WinDLL("ws2_32", use_last_error=True)
_ntdll = ctypes.WinDLL("ntdll")

#: The error of the last call made here by this thread; WSAGetLastError() and GetLastError() are the same.
get_last_error: Callable[[], int] = ctypes.get_last_error

_P = ctypes.c_void_p
#: SOCKET is a UINT_PTR.
_SOCKET: Final = ctypes.c_size_t
_DWORD: Final = wintypes.DWORD


def _declared(library: ctypes.CDLL, name: str, returns: type, *takes: type) -> Function:
    """Return a function whose arguments ctypes need not guess."""
    function: Any = library[name]
    function.argtypes = takes
    function.restype = returns
    declared: Function = function
    return declared


GetQueuedCompletionStatusEx: Function = _declared(
    _kernel32,
    "GetQueuedCompletionStatusEx",
    wintypes.BOOL,
    wintypes.HANDLE,
    _P,
    wintypes.ULONG,
    _P,
    _DWORD,
    wintypes.BOOL,
)

CancelIoEx: Function = _declared(_kernel32, "CancelIoEx", wintypes.BOOL, _SOCKET, _P)

#: Mode of a handle: an operation that succeeds within its call posts no packet.
FILE_SKIP_COMPLETION_PORT_ON_SUCCESS: Final = 1

SO_PROTOCOL_INFOW: Final = 0x2005
#: Bytes of a WSAPROTOCOL_INFOW; its first DWORD, dwServiceFlags1, has these flags.
PROTOCOL_INFO_SIZE: Final = 628

#: The provider's sockets are handles of an installable file system.
XP1_IFS_HANDLES: Final = 0x20000

SetFileCompletionNotificationModes: Function = _declared(
    _kernel32, "SetFileCompletionNotificationModes", wintypes.BOOL, _SOCKET, ctypes.c_ubyte
)

WSARecv: Function = _declared(_ws2_32, "WSARecv", ctypes.c_int, _SOCKET, _P, _DWORD, _P, _P, _P, _P)

WSARecvFrom: Function = _declared(_ws2_32, "WSARecvFrom", ctypes.c_int, _SOCKET, _P, _DWORD, _P, _P, _P, _P, _P, _P)

WSAGetOverlappedResult: Function = _declared(
    _ws2_32, "WSAGetOverlappedResult", wintypes.BOOL, _SOCKET, _P, _P, wintypes.BOOL, _P
)

RtlNtStatusToDosError: Function = _declared(_ntdll, "RtlNtStatusToDosError", wintypes.ULONG, wintypes.ULONG)
