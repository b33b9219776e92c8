"""What to do after an accept that failed: try again at once, or pause. One policy for every accept pipeline.

A listener survives every error of accept. Whether trying again at once helps depends on the cause:

*One connection.* It ended before it was accepted (ECONNABORTED on POSIX, 64 or 10054 on Windows), or Linux passes on an
error that was already pending on it, or a firewall forbade it (accept(2), "Error handling"). The connection was taken
from the backlog, so trying at once cannot spin. A pause would let a client that resets many connections keep the others
out. So there is never a pause, however many such errors come.

*The system is short of a resource*: descriptors, memory, buffers. The connection stays in the backlog, the next try
fails too until something is released, and a readiness loop reports the listener as ready all the time. A pause at once.

*Something is wrong with our call*: the listener is closed (EBADF), no socket (ENOTSOCK), not listening (EINVAL), or no
stream (EOPNOTSUPP). Trio ends its server there. Here accepting goes on, because the program may listen again, and
because a server that has logged the error and still serves its clients is better than none. A pause at once.

*Anything else*, also exceptions that no system raises, may be about one connection or about the listener. The first
ones in a row are retried at once, the next ones after a pause.

A pause is 0.1 s at first, as Trio's, and doubled while nothing is accepted, up to a second: long enough to cost
nothing, short enough that clients do not wait long when the resource is there again.

Sources: accept(2); trio, ``_highlevel_socket.py``, ``_highlevel_serve_listeners.py``; "accept function (winsock2.h)".
"""

from __future__ import annotations

import errno
from typing import Final

from proactor_echo.errors import DisconnectReason, classify, is_resource_error

__all__ = ["FIRST_PAUSE", "LONGEST_PAUSE", "MAX_CONSECUTIVE_ERRORS", "is_of_one_connection", "pause_after"]

#: Seconds without accepting after an error that asks for it.
FIRST_PAUSE: Final = 0.1
#: Seconds; each pause in a row is twice as long as the one before, up to this.
LONGEST_PAUSE: Final = 1.0
#: Errors of unknown cause, in a row, that are retried at once.
MAX_CONSECUTIVE_ERRORS: Final = 64

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

    :param error: what the accept raised.
    :param failures: how many accepts failed before this one since the last that succeeded, those of one connection
        (:func:`is_of_one_connection`) not counted.
    :param submitting: whether the accept could not be submitted to the completion port: then no connection is the
        cause, whatever the number is.
    """
    if not submitting and is_of_one_connection(error):
        return 0.0
    if not (is_resource_error(error) or _is_of_our_call(error)):
        failures -= MAX_CONSECUTIVE_ERRORS - 1
        if failures < 0:
            return 0.0
    return min(FIRST_PAUSE * 2.0 ** min(failures, 32), LONGEST_PAUSE)


def is_of_one_connection(error: BaseException) -> bool:
    """Return whether the error is about the connection that was to be accepted, and not about the listener."""
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
