"""Error numbers of Windows and of POSIX systems about the end of a connection, and the reason that each one means.

The same event on the wire has different numbers. A peer that resets a TCP connection is ``ECONNRESET`` on Linux. On
Windows it is ``WSAECONNRESET`` (10054) from a plain Winsock call, and ``ERROR_NETNAME_DELETED`` (64) from a completion
port: the kernel's ``STATUS_CONNECTION_RESET`` is turned into a Win32 number there, and not into a Winsock number. So
every number has exactly one :class:`DisconnectReason`, and numbers which tell of the same event share one.

Sources: Microsoft's pages "Windows Sockets Error Codes" (10000 and up), "System Error Codes (0-499)" and "System Error
Codes (1000-1299)"; POSIX.1-2017, ``<errno.h>``. The quoted words in the tables are theirs.
"""

from __future__ import annotations

import enum
import errno
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

__all__ = [
    "POSIX",
    "RESOURCE_ERRNOS",
    "RESOURCE_WINERRORS",
    "WINDOWS",
    "WINSOCK_BASE",
    "DisconnectReason",
    "ErrorNumber",
]


class DisconnectReason(enum.StrEnum):
    """Why a connection ended. The value is what a log line and the statistics show."""

    #: The peer sent everything and closed its side (a TCP FIN).
    END_OF_FILE = "end of file"
    #: The peer aborted the connection (a TCP RST).
    PEER_RESET = "reset by peer"
    #: The connection does not exist any more, and the system does not say who ended it.
    PEER_GONE = "peer gone"
    #: This computer aborted the connection: the system did, or an operation on it was cancelled.
    ABORTED = "aborted here"
    #: The peer did not answer in time: retransmissions, keepalive probes or a time limit of ours ran out.
    TIMED_OUT = "timed out"
    #: There is no route to the peer's network or host, or the network here is down.
    UNREACHABLE = "unreachable"
    #: The host is there, and nobody listens on that port.
    REFUSED = "refused"
    #: The peer's bytes were not what the codec allows.
    FRAMING = "bad framing"
    #: The application's handler raised an exception.
    HANDLER_FAILED = "handler failed"
    #: A ``TimeoutError`` left the application's handler: a time limit that it had set itself ran out.
    HANDLER_TIMEOUT = "handler timed out"
    #: The TLS handshake with the client failed, so there never was a connection to serve.
    TLS_HANDSHAKE = "tls handshake failed"
    #: TCP ended without the end of TLS, close_notify: what came before may not be all that the peer has sent.
    TRUNCATED = "truncated"
    #: Nothing moved for as long as the server's idle timeout allows.
    IDLE_TIMEOUT = "idle timeout"
    #: The peer sent nothing for as long as ``Deadlines.first_byte`` allows.
    FIRST_BYTE_TIMEOUT = "first byte timeout"
    #: A frame had begun and was not complete in time (``Deadlines.frame``).
    FRAME_TIMEOUT = "frame timeout"
    #: The peer took nothing of what was to be sent for as long as ``Deadlines.write`` allows.
    WRITE_TIMEOUT = "write timeout"
    #: The connection is as old as ``Deadlines.lifetime`` allows.
    LIFETIME = "lifetime ended"
    #: The peer sent or took less than ``Deadlines.min_rate``.
    MIN_RATE = "below the minimum rate"
    #: The server's connections held too many bytes, and this one most of them (``Limits.max_buffered``).
    BUFFER_LIMIT = "buffer limit"
    #: The server closed, and the connection did not finish within the time given to it.
    DRAIN_DEADLINE = "drain deadline"
    #: The application closed the connection, or used it after that.
    LOCAL_CLOSE = "closed here"
    #: Anything else; see the text and the number.
    OTHER = "other"


class ErrorNumber(NamedTuple):
    """One number: its name in the system's headers, what it means for a connection, and the system's own words."""

    name: str
    reason: DisconnectReason
    words: str


_R = DisconnectReason

#: What Windows calls ``GetLastError`` and ``WSAGetLastError`` numbers, as found in ``OSError.winerror``.
WINDOWS: Final[Mapping[int, ErrorNumber]] = MappingProxyType(
    {
        6: ErrorNumber("ERROR_INVALID_HANDLE", _R.LOCAL_CLOSE, "The handle is invalid."),
        38: ErrorNumber("ERROR_HANDLE_EOF", _R.END_OF_FILE, "Reached the end of the file."),
        # Wine gives 59 where Windows gives 64, when a client resets before AcceptEx completes.
        59: ErrorNumber("ERROR_UNEXP_NET_ERR", _R.PEER_GONE, "An unexpected network error occurred."),
        # From a completion port this is a reset by the peer; a plain call would have said 10054. It is also what a
        # receive that was pending when this side closed can end with, but then the side that closed knows.
        64: ErrorNumber("ERROR_NETNAME_DELETED", _R.PEER_RESET, "The specified network name is no longer available."),
        109: ErrorNumber("ERROR_BROKEN_PIPE", _R.PEER_GONE, "The pipe has been ended."),
        # STATUS_IO_TIMEOUT by way of a completion port: TCP gave up retransmitting.
        121: ErrorNumber("ERROR_SEM_TIMEOUT", _R.TIMED_OUT, "The semaphore timeout period has expired."),
        232: ErrorNumber("ERROR_NO_DATA", _R.PEER_GONE, "The pipe is being closed."),
        233: ErrorNumber("ERROR_PIPE_NOT_CONNECTED", _R.PEER_GONE, "No process is on the other end of the pipe."),
        # Closing a socket completes what is pending on it with 995, and so does CancelIoEx.
        995: ErrorNumber(
            "ERROR_OPERATION_ABORTED",
            _R.ABORTED,
            "The I/O operation has been aborted because of either a thread exit or an application request.",
        ),
        1225: ErrorNumber(
            "ERROR_CONNECTION_REFUSED", _R.REFUSED, "The remote computer refused the network connection."
        ),
        1226: ErrorNumber("ERROR_GRACEFUL_DISCONNECT", _R.END_OF_FILE, "The network connection was gracefully closed."),
        1229: ErrorNumber(
            "ERROR_CONNECTION_INVALID",
            _R.PEER_GONE,
            "An operation was attempted on a nonexistent network connection.",
        ),
        1231: ErrorNumber("ERROR_NETWORK_UNREACHABLE", _R.UNREACHABLE, "The network location cannot be reached."),
        1232: ErrorNumber("ERROR_HOST_UNREACHABLE", _R.UNREACHABLE, "The network location cannot be reached."),
        1233: ErrorNumber("ERROR_PROTOCOL_UNREACHABLE", _R.UNREACHABLE, "The network location cannot be reached."),
        # ICMP port unreachable for a datagram, by way of a completion port: POSIX says ECONNREFUSED.
        1234: ErrorNumber(
            "ERROR_PORT_UNREACHABLE",
            _R.REFUSED,
            "No service is operating at the destination network endpoint on the remote system.",
        ),
        1235: ErrorNumber("ERROR_REQUEST_ABORTED", _R.ABORTED, "The request was aborted."),
        1236: ErrorNumber(
            "ERROR_CONNECTION_ABORTED", _R.ABORTED, "The network connection was aborted by the local system."
        ),
        1460: ErrorNumber("ERROR_TIMEOUT", _R.TIMED_OUT, "This operation returned because the timeout period expired."),
        10004: ErrorNumber(
            "WSAEINTR", _R.ABORTED, "A blocking operation was interrupted by a call to WSACancelBlockingCall."
        ),
        10009: ErrorNumber("WSAEBADF", _R.LOCAL_CLOSE, "The file handle supplied is not valid."),
        # What is left of a socket that was closed here while somebody still used its number.
        10038: ErrorNumber(
            "WSAENOTSOCK", _R.LOCAL_CLOSE, "An operation was attempted on something that is not a socket."
        ),
        10050: ErrorNumber("WSAENETDOWN", _R.UNREACHABLE, "A socket operation encountered a dead network."),
        10051: ErrorNumber(
            "WSAENETUNREACH", _R.UNREACHABLE, "A socket operation was attempted to an unreachable network."
        ),
        # For TCP this is keepalive that got no answer. For a datagram it is ICMP time to live exceeded.
        10052: ErrorNumber(
            "WSAENETRESET",
            _R.TIMED_OUT,
            "The connection has been broken due to keep-alive activity detecting a failure while the operation was in "
            "progress.",
        ),
        10053: ErrorNumber(
            "WSAECONNABORTED",
            _R.ABORTED,
            "An established connection was aborted by the software in your host computer, possibly due to a data "
            "transmission time-out or protocol error.",
        ),
        # On a datagram socket: an earlier datagram was answered by ICMP port unreachable.
        10054: ErrorNumber(
            "WSAECONNRESET", _R.PEER_RESET, "An existing connection was forcibly closed by the remote host."
        ),
        10057: ErrorNumber(
            "WSAENOTCONN",
            _R.PEER_GONE,
            "A request to send or receive data was disallowed because the socket is not connected.",
        ),
        10058: ErrorNumber(
            "WSAESHUTDOWN",
            _R.LOCAL_CLOSE,
            "A request to send or receive data was disallowed because the socket had already been shut down in that "
            "direction with a previous shutdown call.",
        ),
        10060: ErrorNumber(
            "WSAETIMEDOUT",
            _R.TIMED_OUT,
            "A connection attempt failed because the connected party did not properly respond after a period of time, "
            "or the established connection failed because the connected host has failed to respond.",
        ),
        10061: ErrorNumber(
            "WSAECONNREFUSED",
            _R.REFUSED,
            "No connection could be made because the target computer actively refused it.",
        ),
        10064: ErrorNumber(
            "WSAEHOSTDOWN", _R.UNREACHABLE, "A socket operation failed because the destination host is down."
        ),
        10065: ErrorNumber(
            "WSAEHOSTUNREACH", _R.UNREACHABLE, "A socket operation was attempted to an unreachable host."
        ),
        10101: ErrorNumber(
            "WSAEDISCON",
            _R.END_OF_FILE,
            "Returned by WSARecv or WSARecvFrom to indicate that the remote party has initiated a graceful shutdown "
            "sequence.",
        ),
    }
)

#: Winsock's numbers begin here (WSABASEERR), where no system's ``errno`` reaches.
WINSOCK_BASE: Final = 10000

_POSIX_NAMES: Final = (
    ErrorNumber("EBADF", _R.LOCAL_CLOSE, "Bad file descriptor."),
    ErrorNumber("ENOTSOCK", _R.LOCAL_CLOSE, "Not a socket."),
    ErrorNumber("EPIPE", _R.PEER_GONE, "Broken pipe."),
    ErrorNumber("ENETDOWN", _R.UNREACHABLE, "Network is down."),
    ErrorNumber("ENETUNREACH", _R.UNREACHABLE, "Network unreachable."),
    ErrorNumber("ENETRESET", _R.PEER_GONE, "Connection aborted by network."),
    ErrorNumber("ECONNABORTED", _R.ABORTED, "Connection aborted."),
    ErrorNumber("ECONNRESET", _R.PEER_RESET, "Connection reset."),
    ErrorNumber("ENOTCONN", _R.PEER_GONE, "The socket is not connected."),
    ErrorNumber("ESHUTDOWN", _R.LOCAL_CLOSE, "Cannot send after transport endpoint shutdown."),
    ErrorNumber("ETIMEDOUT", _R.TIMED_OUT, "Connection timed out."),
    ErrorNumber("ECONNREFUSED", _R.REFUSED, "Connection refused."),
    ErrorNumber("EHOSTDOWN", _R.UNREACHABLE, "Host is down."),
    ErrorNumber("EHOSTUNREACH", _R.UNREACHABLE, "Host is unreachable."),
    ErrorNumber("ECANCELED", _R.ABORTED, "Operation canceled."),
)

#: What this system's own ``errno`` numbers mean, as found in ``OSError.errno``.
POSIX: Final[Mapping[int, ErrorNumber]] = MappingProxyType(
    {
        getattr(errno, row.name): row
        for row in _POSIX_NAMES
        # On Windows most of these names have Winsock's numbers, and those stand above.
        if getattr(errno, row.name, WINSOCK_BASE) < WINSOCK_BASE
    }
)

#: Windows numbers which say that the computer or the process ran out of something; it may pass.
RESOURCE_WINERRORS: Final = frozenset(
    {
        4,  # ERROR_TOO_MANY_OPEN_FILES: "The system cannot open the file."
        8,  # ERROR_NOT_ENOUGH_MEMORY: "Not enough memory resources are available to process this command."
        14,  # ERROR_OUTOFMEMORY: "Not enough memory resources are available to complete this operation."
        1450,  # ERROR_NO_SYSTEM_RESOURCES: "Insufficient system resources exist to complete the requested service."
        1453,  # ERROR_WORKING_SET_QUOTA: "Insufficient quota to complete the requested service."
        1454,  # ERROR_PAGEFILE_QUOTA: "Insufficient quota to complete the requested service."
        1455,  # ERROR_COMMITMENT_LIMIT: "The paging file is too small for this operation to complete."
        1816,  # ERROR_NOT_ENOUGH_QUOTA: "Not enough quota is available to process this command."
        10024,  # WSAEMFILE: "Too many open sockets."
        10055,  # WSAENOBUFS: "No buffer space available."
    }
)

#: POSIX numbers which say the same. ``accept(2)`` lists these four.
RESOURCE_ERRNOS: Final = frozenset(
    number
    for number in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, getattr(errno, "ENOBUFS", None))
    if number is not None
)
