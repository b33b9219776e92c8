"""The Winsock controls that Python's ``socket.ioctl`` does not know, called through ctypes.

``socket.ioctl`` accepts ``SIO_RCVALL``, ``SIO_KEEPALIVE_VALS`` and ``SIO_LOOPBACK_FAST_PATH`` only and answers any
other code with ``ValueError: invalid ioctl command``. So this calls ``WSAIoctl`` itself.

Sources: Microsoft's pages "WSAIoctl function (winsock2.h)" and "Winsock IOCTLs"; the values are in ``mstcpip.h`` and
``mswsock.h``.
"""

from __future__ import annotations

import sys
from typing import Final, Protocol

from proactor_echo.sockets.refusals import report_refusal

__all__ = [
    "SIO_KEEPALIVE_VALS",
    "SIO_TCP_INFO",
    "SIO_UDP_CONNRESET",
    "SIO_UDP_NETRESET",
    "HasFileno",
    "disable_udp_connreset",
]

SIO_KEEPALIVE_VALS: Final = 0x98000004
SIO_UDP_CONNRESET: Final = 0x9800000C
SIO_UDP_NETRESET: Final = 0x9800000F
SIO_TCP_INFO: Final = 0xD8000027  # _WSAIORW(IOC_VENDOR, 39)


class HasFileno(Protocol):
    """What has a socket's handle: a socket, or what asyncio hands out in its place."""

    def fileno(self) -> int:
        """Return the socket's handle."""
        ...


def disable_udp_connreset(sock: HasFileno) -> None:
    """Tell Windows not to fail a receive because an earlier datagram could not be delivered. Elsewhere do nothing.

    By default an ICMP "port unreachable" for something this socket sent fails its next receive with ``WSAECONNRESET``
    (10054), an ICMP "time to live exceeded" with ``WSAENETRESET`` (10052), though the socket may have many other
    peers. ``SIO_UDP_CONNRESET`` and ``SIO_UDP_NETRESET``, given FALSE, turn that off. If the system refuses one (Wine
    refuses the second), that is one line in the log; a reader of datagrams must handle both errors anyway.
    """
    if sys.platform == "win32":
        for name, code in (("SIO_UDP_CONNRESET", SIO_UDP_CONNRESET), ("SIO_UDP_NETRESET", SIO_UDP_NETRESET)):
            try:
                ioctl(sock, code, bytes(4))  # a BOOL is four bytes; all of them zero is FALSE
            except OSError as exc:
                report_refusal(name, exc)


if sys.platform == "win32":
    import ctypes
    from ctypes import wintypes

    # use_last_error: ctypes saves the thread's error number around each call, so that nothing the interpreter does
    # between WSAIoctl and WSAGetLastError (which read the same slot) can change it.
    _ws2_32 = ctypes.WinDLL("ws2_32", use_last_error=True)

    _WSAIoctl = _ws2_32.WSAIoctl
    _WSAIoctl.restype = ctypes.c_int
    _WSAIoctl.argtypes = (
        ctypes.c_size_t,  # SOCKET is a UINT_PTR: 64 bits on 64-bit Windows
        wintypes.DWORD,  # dwIoControlCode
        ctypes.c_void_p,  # lpvInBuffer
        wintypes.DWORD,  # cbInBuffer
        ctypes.c_void_p,  # lpvOutBuffer
        wintypes.DWORD,  # cbOutBuffer
        ctypes.POINTER(wintypes.DWORD),  # lpcbBytesReturned, must not be NULL without an OVERLAPPED
        ctypes.c_void_p,  # lpOverlapped
        ctypes.c_void_p,  # lpCompletionRoutine
    )
    _WSAGetLastError = _ws2_32.WSAGetLastError
    _WSAGetLastError.restype = ctypes.c_int
    _WSAGetLastError.argtypes = ()

    def ioctl(sock: HasFileno, code: int, argument: bytes) -> None:
        """Set one control of a socket, at once and without an answer. Raises OSError with ``winerror`` set.

        Only defined on Windows.

        Lifetime: the call is synchronous, since it passes no OVERLAPPED, so the argument is only used until it
        returns.
        """
        query(sock, code, argument, 0)

    def query(sock: HasFileno, code: int, argument: bytes, size: int) -> bytes:
        """Call one control of a socket and return its answer, at most ``size`` bytes; else as :func:`ioctl`."""
        returned = wintypes.DWORD()
        answer = ctypes.create_string_buffer(size) if size else None
        failed = _WSAIoctl(
            sock.fileno(), code, argument, len(argument), answer, size, ctypes.byref(returned), None, None
        )
        if failed:
            raise ctypes.WinError(_WSAGetLastError())
        return b"" if answer is None else answer.raw[: returned.value]
