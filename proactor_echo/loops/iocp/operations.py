"""The operations that are submitted to the kernel, and what their completions do.

What an operation's states are, and what ends them, is in :mod:`proactor_echo.loops.iocp.lifetimes`.

Receives use an OVERLAPPED of our own in a block that lives as long as the connection: CPython's ``_overlapped``
objects can be used once, so each receive would cost one, a buffer export and a result call. Sends and accepts use
them: a send is overlapped only when the system would not take it at once, and an accept costs a socket anyway.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.operations is for Windows only")

import abc
import ctypes
import errno
import socket
import struct
from ctypes import wintypes
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.iocp.lifetimes import IDLE, PENDING, Operation, State
from proactor_echo.loops.iocp.private import overlapped

if TYPE_CHECKING:
    from collections.abc import Callable

    from proactor_echo.loops.iocp.port import BatchProactor

#: Most bytes left to the kernel in one send: it locks the pages of all of them until the peer has read.
SEND_LIMIT: Final = 1 << 20

# The reset of a connection has one errno, whatever the number says; GetOverlappedResult and Winsock disagree on it.
_RESETS: Final = {winapi.ERROR_NETNAME_DELETED, winapi.ERROR_OPERATION_ABORTED, winapi.WSAECONNRESET}


def error_from(code: int) -> OSError:
    """Make the exception for a Windows error number, kept in ``winerror``; each number of a reset makes the same."""
    error = ctypes.WinError(code)
    if code in _RESETS and not isinstance(error, ConnectionResetError):
        error = ConnectionResetError(errno.ECONNRESET, error.strerror, None, code)
    return error


def error_of(exc: OSError) -> OSError:
    """Make the same of an exception of ``_overlapped``, which has GetOverlappedResult's numbers."""
    code = exc.winerror
    return error_from(code) if code in _RESETS else exc


def failure(handle: int, address: int, status: int) -> OSError:
    """Say why an operation of ours failed: its NTSTATUS as Winsock puts it, or Win32 once the socket is closed."""
    count, flags = wintypes.DWORD(), wintypes.DWORD()
    if not winapi.WSAGetOverlappedResult(handle, address, ctypes.addressof(count), False, ctypes.addressof(flags)):
        code = winapi.get_last_error()
        if code != winapi.WSAENOTSOCK:
            return error_from(code)
    return error_from(winapi.RtlNtStatusToDosError(status & 0xFFFFFFFF))


class RepeatedReceive(Operation):
    """A receive that is submitted again and again, with one block of ours around its OVERLAPPED.

    It is *due* from :meth:`submit_soon` until the end of that iteration. It holds its transport from there until it has
    completed, and no longer.
    """

    __slots__ = ("_address", "_block", "_due", "_handle", "_overlapped", "_proactor", "_transport")

    def __init__(self, proactor: BatchProactor, handle: int, block: Any) -> None:
        super().__init__()
        self._proactor = proactor
        self._handle = handle
        self._block = block
        self._overlapped = block.overlapped  # shares the memory of the block
        self._address = ctypes.addressof(block)
        self._transport: Any = None
        self._due = False

    def submit_soon(self, transport: Any) -> None:
        """Submit at the end of this iteration; nothing when it is due, or outstanding, already."""
        if self.state is IDLE and not self._due:
            self._due = True
            self._transport = transport
            self._proactor.submit_soon(self)

    @abc.abstractmethod
    def submit(self) -> None:
        """Submit the receive to the kernel, if it is still wanted."""

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """Loop: a callback of this object raised what nobody expected, which ends the transport."""
        if self._transport is not None:
            self._transport._fatal_error(exc, message)
        else:
            loop = self._proactor._loop
            loop.call_exception_handler({"message": f"Fatal error in {self!r}", "exception": exc, "loop": loop})

    def _request_cancel(self) -> None:
        winapi.CancelIoEx(self._handle, self._address)

    def _is_with_kernel(self) -> bool:
        return bool(self._overlapped.Internal == winapi.STATUS_PENDING)

    def _detach(self) -> None:
        self._transport = None

    def discard(self) -> None:
        """Drop the transport: the result is not wanted."""
        self.state = IDLE
        self._transport = None


class Send(Operation):
    """One overlapped send. Used once."""

    __slots__ = ("_finished", "_overlapped", "_skips_on_success")

    def __init__(self, finished: Callable[[int, Any], None], skips_on_success: bool = False) -> None:
        super().__init__()
        self._finished: Callable[[int, Any], None] | None = finished
        self._skips_on_success = skips_on_success
        self._overlapped = overlapped.Overlapped(0)

    def submit(self, proactor: BatchProactor, sock: socket.socket, data: Any) -> None:
        """Send ``data`` (at most :data:`SEND_LIMIT` bytes of it); raises OSError when it cannot begin.

        Lifetime: ``_overlapped`` exports the buffer of ``data`` and holds it; the proactor's registry holds this
        operation until its completion packet, whatever becomes of the transport.
        """
        if len(data) > SEND_LIMIT:
            data = memoryview(data)[:SEND_LIMIT]
        self._overlapped.WSASend(sock.fileno(), data, 0)
        self._keep(proactor)

    def submit_to(self, proactor: BatchProactor, sock: socket.socket, data: bytes, address: Any) -> None:
        """Send one datagram. Lifetime: as :meth:`submit`."""
        self._overlapped.WSASendTo(sock.fileno(), data, 0, address)
        self._keep(proactor)

    def _keep(self, proactor: BatchProactor) -> None:
        address = self._overlapped.address
        self.state = PENDING
        proactor.keep(address, self)
        if self._skips_on_success and not self._overlapped.pending:
            proactor.complete(address, 0)

    def done(self, count: int) -> None:
        """Completion: report the bytes sent, or the error."""
        self.state = IDLE
        if self._finished is None:
            return
        try:
            count = self._overlapped.getresult()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._finished(0, error_of(exc) if isinstance(exc, OSError) else exc)
        else:
            self._finished(count, None)

    def discard(self) -> None:
        """Do not report the result."""
        self.state: State = IDLE
        self._finished = None

    def _request_cancel(self) -> None:
        self._overlapped.cancel()

    def _is_with_kernel(self) -> bool:
        return bool(self._overlapped.pending)

    def _detach(self) -> None:
        self._finished = None


class Accept(Operation):
    """One AcceptEx: a socket made in advance, for the next connection of a listener. Used once."""

    __slots__ = ("_finished", "_listener", "_overlapped", "conn")

    def __init__(self, listener: socket.socket, finished: Callable[[Accept, Any, BaseException | None], None]) -> None:
        super().__init__()
        self._listener = listener
        self._finished: Callable[[Accept, Any, BaseException | None], None] | None = finished
        self._overlapped = overlapped.Overlapped(0)
        # Of the listener's own family, or AcceptEx fails.
        self.conn: socket.socket = socket.socket(listener.family, socket.SOCK_STREAM, listener.proto)
        try:
            self.conn.settimeout(0)
        except BaseException:
            self.conn.close()
            raise

    def submit(self, proactor: BatchProactor) -> None:
        """Begin; raises OSError, with the socket closed, when it cannot.

        Lifetime: ``_overlapped`` owns the address buffer; the proactor's registry holds this operation, and it the
        accept socket and the listener, until its completion packet, which closing the listener brings too.
        """
        try:
            self._overlapped.AcceptEx(self._listener.fileno(), self.conn.fileno())
        except BaseException:
            self.conn.close()
            raise
        self.state = PENDING
        proactor.keep(self._overlapped.address, self)

    def done(self, count: int) -> None:
        """Completion: report the peer's address, or the error, with the socket closed."""
        self.state = IDLE
        if self._finished is None:
            self.conn.close()
            return
        try:
            self._overlapped.getresult()
            # Without it the new socket has no names, no options of its listener, and cannot be shut down.
            context = struct.pack("@P", self._listener.fileno())
            self.conn.setsockopt(socket.SOL_SOCKET, overlapped.SO_UPDATE_ACCEPT_CONTEXT, context)
            peer = self.conn.getpeername()
        except BaseException as exc:
            self.conn.close()
            if isinstance(exc, SystemExit | KeyboardInterrupt):
                raise
            self._finished(self, None, exc)
        else:
            self._finished(self, peer, None)

    def discard(self) -> None:
        """Close the connection that arrived, without a report."""
        self.state: State = IDLE
        self._finished = None
        self.conn.close()

    def _request_cancel(self) -> None:
        self._overlapped.cancel()  # a connection that came first is reported all the same

    def _is_with_kernel(self) -> bool:
        return bool(self._overlapped.pending)

    def _detach(self) -> None:
        self._finished = None
