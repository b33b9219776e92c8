"""What an accept that failed asks for: another try at once, or a pause. One policy for every pipeline of accepts.

Whatever an accept answers, the listener lives. What differs is who is the cause, and so whether trying at once helps:

*One connection.* It died before it was accepted (ECONNABORTED on POSIX, 64 or 10054 on Windows), or Linux hands on an
error that was already pending on it, or a firewall forbade it (accept(2), "Error handling"). The connection was taken
from the backlog, so trying at once cannot spin, and a pause would let whoever resets many connections keep the others
out. Never a pause, however many come.

*The system is short of something*: descriptors, memory, buffers. The connection stays in the backlog, the next try
fails as well until somebody gives something back, and a readiness loop is told of it without end. A pause at once.

*Something is wrong with our call*: the listener is closed (EBADF), no socket (ENOTSOCK), not listening (EINVAL), or no
stream (EOPNOTSUPP). Trio ends its server there. It may get better, when the program listens again, and a server that
has said what is wrong and goes on is more use than one that is gone. A pause at once.

*Anything else*, an exception that no system raises among them, may be one connection's, and may be the listener's. Some
in a row are answered at once, then they are paused for too.

A pause is 0.1 s at first, as Trio's, and doubled while nothing is accepted, up to a second: long enough to cost
nothing, short enough that nobody waits long when there is room again.

Sources: accept(2); trio, ``_highlevel_socket.py``, ``_highlevel_serve_listeners.py``; "accept function (winsock2.h)".
"""

from __future__ import annotations

import errno
from typing import Final

from proactor_echo.errors import DisconnectReason, classify, is_resource_error

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MAX_CONSECUTIVE_ERRORS", "is_of_one_connection", "pause_after"]

FIRST_PAUSE: Final = 0.1
"""Seconds without accepting after an error that asks for it."""
LONGEST_PAUSE: Final = 1.0
"""Seconds; each pause in a row is twice as long as the one before, up to this."""
MAX_CONSECUTIVE_ERRORS: Final = 64
"""Errors of no known kind, in a row, that are answered at once."""

_OF_ONE_CONNECTION: Final = frozenset(
    {
        DisconnectReason.PEER_RESET,
        DisconnectReason.PEER_GONE,
        DisconnectReason.ABORTED,
        DisconnectReason.TIMED_OUT,
        DisconnectReason.UNREACHABLE,
        DisconnectReason.REFUSED,
    }
)
_PENDING_ON_IT: Final = frozenset(
    getattr(errno, name) for name in ("EPERM", "EPROTO", "ENOPROTOOPT", "ENONET") if hasattr(errno, name)
)
_OF_OUR_CALL: Final = frozenset(
    {
        errno.EBADF,
        errno.ENOTSOCK,
        errno.EINVAL,
        errno.EOPNOTSUPP,
        6,  # ERROR_INVALID_HANDLE
        87,  # ERROR_INVALID_PARAMETER
        10009,  # WSAEBADF
        10022,  # WSAEINVAL
        10038,  # WSAENOTSOCK
        10045,  # WSAEOPNOTSUPP
    }
)


def pause_after(error: BaseException, failures: int = 0, *, submitting: bool = False) -> float:
    """Return the seconds to wait before the next accept; 0.0 is at once.

    `failures` is how many accepts failed before this one since the last that succeeded, those of one connection
    (:func:`is_of_one_connection`) not counted. `submitting`: an accept could not even be left with the completion port,
    which no connection brings about, whatever the number is.
    """
    if not submitting and is_of_one_connection(error):
        return 0.0
    if not (is_resource_error(error) or _is_of_our_call(error)):
        failures -= MAX_CONSECUTIVE_ERRORS - 1
        if failures < 0:
            return 0.0
    return min(FIRST_PAUSE * 2.0 ** min(failures, 32), LONGEST_PAUSE)


def is_of_one_connection(error: BaseException) -> bool:
    """Whether the error is that of the connection which was to be accepted, and says nothing about the listener."""
    if is_resource_error(error):
        return False
    if classify(error).reason in _OF_ONE_CONNECTION:
        return True
    return isinstance(error, OSError) and _number(error) in _PENDING_ON_IT


def _is_of_our_call(error: BaseException) -> bool:
    return isinstance(error, OSError) and _number(error) in _OF_OUR_CALL


def _number(error: OSError) -> int | None:
    """Return Windows' number if there is one: most of them have EINVAL for an errno."""
    return getattr(error, "winerror", None) or error.errno
