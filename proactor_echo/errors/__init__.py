"""Every exception that proactor_echo raises, and the reasons why a connection can end.

All exceptions derive from :class:`ProactorEchoError`, and each also from the built-in class for its kind of error, so
that ``except OSError`` and ``except ValueError`` work as in any Python program::

    ProactorEchoError
        FramingError (ValueError)           the bytes are not what the codec allows
            FrameTooLong
            FrameCorrupt
            FrameTruncated
            ProxyHeaderError                the PROXY header in front of them is wrong
        DatagramTooLong (ValueError)        more than a UDP datagram can hold
        ProtocolStateError (RuntimeError)   a call that the connection's state does not allow
        EndOfStream (EOFError)              the peer finished in good order
        Disconnected (ConnectionError)      the connection ended otherwise
        BindError (OSError)                 a socket could not be bound
        ConnectFailed (OSError)             no address of the peer could be connected to
        TlsError (OSError)                  a certificate or a key cannot be used
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from proactor_echo.arguments import check_instance
from proactor_echo.errors.numbers import (
    POSIX,
    RESOURCE_ERRNOS,
    RESOURCE_WINERRORS,
    WINDOWS,
    WINSOCK_BASE,
    DisconnectReason,
)
from proactor_echo.escaping import escaped

__all__ = [
    "BindError",
    "ConnectFailed",
    "DatagramTooLong",
    "Disconnect",
    "DisconnectReason",
    "Disconnected",
    "EndOfStream",
    "FrameCorrupt",
    "FrameTooLong",
    "FrameTruncated",
    "FramingError",
    "ProactorEchoError",
    "ProtocolStateError",
    "ProxyHeaderError",
    "TlsError",
    "classify",
    "is_resource_error",
]


# The names are the field's words for what happened (Netty's, h11's), not "...Error".
# ruff: noqa: N818


class ProactorEchoError(Exception):
    """The root of every exception of this package. All of them can be pickled and copied."""

    #: The connection's own note of its end, in an error that a connection raised because it has ended: for internal
    #: use. With it a server distinguishes such an error from a failure of the handler. A copy does not have it.
    ending: object | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        # The default calls the class with ``args`` alone, which the classes with keyword arguments refuse.
        state = dict(vars(self))
        state.pop("ending", None)
        if isinstance(self, OSError):
            state["errno"] = self.errno
        return _restore, (type(self), self.args, state)


def _restore(kind: type[ProactorEchoError], args: tuple[Any, ...], state: dict[str, Any]) -> ProactorEchoError:
    exc = kind.__new__(kind)
    exc.args = args
    for name, value in state.items():
        setattr(exc, name, value)
    return exc


class FramingError(ProactorEchoError, ValueError):
    """The bytes are not what the codec allows.

    ``frames`` holds the complete frames which the same call of ``feed()`` or ``eof()`` decoded before it met the
    error, so that none of them is lost.
    """

    def __init__(self, message: str, *, frames: Iterable[bytes] = ()) -> None:
        super().__init__(message)
        self.frames: list[bytes] = list(frames)


class FrameTooLong(FramingError):
    """A frame is longer than the codec's limit.

    ``length`` is the length in bytes that the frame's header claims, or, for a codec that has no header, the number of
    bytes seen so far. ``limit`` is the codec's ``max_frame_length`` in bytes.
    """

    def __init__(self, message: str, *, length: int, limit: int, frames: Iterable[bytes] = ()) -> None:
        super().__init__(message, frames=frames)
        self.length = length
        self.limit = limit


class FrameCorrupt(FramingError):
    """A header makes no sense, so where the next frame begins is not known."""


class FrameTruncated(FramingError):
    """The stream ended inside a frame. ``partial`` holds the bytes of it that came."""

    def __init__(self, message: str, *, partial: bytes, frames: Iterable[bytes] = ()) -> None:
        super().__init__(message, frames=frames)
        self.partial = partial


class ProxyHeaderError(FramingError):
    """A connection or a datagram does not begin with a PROXY header, where it must, or with a wrong one."""


class DatagramTooLong(ProactorEchoError, ValueError):
    """A datagram is longer than UDP can carry. ``length`` and ``limit`` are bytes of payload."""

    def __init__(self, message: str, *, length: int, limit: int) -> None:
        super().__init__(message)
        self.length = length
        self.limit = limit


class ProtocolStateError(ProactorEchoError, RuntimeError):
    """A call that the connection's state does not allow, such as a send after ``send_eof()``."""


class EndOfStream(ProactorEchoError, EOFError):
    """The peer closed its side in good order, and everything it sent has been received."""


class Disconnected(ProactorEchoError, ConnectionError):
    """The connection ended otherwise than by the peer's end of file.

    ``reason`` says why; ``number`` is the system's number, ``OSError.winerror`` on Windows and ``errno`` elsewhere, or
    None when the system gave none. ``errno`` is not set, so that nobody takes a Windows number for a POSIX one.
    """

    def __init__(self, message: str, *, reason: DisconnectReason, number: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.number = number


class BindError(ProactorEchoError, OSError):
    """A socket could not be made or bound. ``str()`` is one sentence for an operator.

    ``errno`` is the system's, or None when bind was not reached (a port out of range, an unknown host). What the
    system said, ``winerror`` included, is in ``__cause__``.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class ConnectFailed(ProactorEchoError, OSError):
    """No address of the peer could be connected to. ``str()`` is one sentence for an operator.

    ``errors`` holds one exception for each address tried, in the order of the attempts; it is empty when the name has
    no address. ``errno`` is the last attempt's.
    """

    def __init__(self, message: str, *, errors: Sequence[BaseException] = (), errno: int | None = None) -> None:
        super().__init__(message)
        self.errors: list[BaseException] = list(errors)
        self.errno = errno


class TlsError(ProactorEchoError, OSError):
    """A certificate, a key or another file of a :class:`Tls` cannot be used. ``str()`` is one sentence for an operator.

    ``errno`` is the system's when a file could not be read, else None. What OpenSSL said is in ``__cause__``.
    """

    def __init__(self, message: str, *, errno: int | None = None) -> None:
        super().__init__(message)
        self.errno = errno


class Disconnect(NamedTuple):
    """One reason why a connection ended, the system's number if there was one, and a line for the log."""

    reason: DisconnectReason
    number: int | None
    text: str


def classify(exc: BaseException | None) -> Disconnect:
    """Return why a connection ended, from the argument of ``connection_lost`` or an exception of an operation.

    None is the peer's end of file, as it is for :meth:`asyncio.BaseProtocol.connection_lost`. ``OSError.winerror``
    goes before ``errno``, since Windows turns most of its numbers into ``EINVAL``. An exception without a number is
    judged by its class. Nothing that is an exception makes this raise.
    """
    if exc is None:
        return Disconnect(DisconnectReason.END_OF_FILE, None, str(DisconnectReason.END_OF_FILE))
    if isinstance(exc, Disconnected):
        return Disconnect(exc.reason, exc.number, escaped(str(exc)) or str(exc.reason))
    if isinstance(exc, BaseExceptionGroup):
        return _classify_group(exc)
    check_instance("exc", exc, BaseException, optional=True)
    number, reason, name = _judge(exc)
    words = f"{name} {number}" if name else f"{type(exc).__name__}: {escaped(str(exc))}".removesuffix(": ")
    return Disconnect(reason, number, f"{reason} ({words})")


def is_resource_error(exc: BaseException) -> bool:
    """Return whether an accept failed for lack of descriptors, memory or buffers, so that trying at once is useless.

    These are the four numbers that ``accept(2)`` lists, and Windows' numbers for the same.
    """
    if isinstance(exc, MemoryError):
        return True
    if not isinstance(exc, OSError) or _library_reason(exc) is not None:
        return False
    winerror = _winerror(exc)
    if winerror is not None:
        return winerror in RESOURCE_WINERRORS
    return exc.errno in RESOURCE_ERRNOS or (_is_winsock(exc.errno) and exc.errno in RESOURCE_WINERRORS)


def _judge(exc: BaseException) -> tuple[int | None, DisconnectReason, str | None]:
    """Find the system's number, the reason, and the number's name if it is known."""
    reason = _library_reason(exc)
    if reason is not None:
        return None, reason, None
    if not isinstance(exc, OSError):
        return None, _class_reason(exc), None
    winerror = _winerror(exc)
    number: int | None = winerror if winerror is not None else exc.errno
    known = WINDOWS.get(number or 0) if winerror is not None or _is_winsock(number) else None
    # A Windows number outside the table may still have an errno that says something: CPython translates some.
    known = known or POSIX.get(exc.errno or 0)
    if known is not None:
        return number, known.reason, known.name
    return number, _class_reason(exc), None


def _winerror(exc: OSError) -> int | None:
    """Return the Windows number, on any system: a report from another computer may have brought it here."""
    number = getattr(exc, "winerror", None)
    return number if isinstance(number, int) and number != 0 else None


def _is_winsock(number: int | None) -> bool:
    """Tell a Winsock number, which may stand in ``errno``, from a POSIX one."""
    return isinstance(number, int) and number >= WINSOCK_BASE


def _library_reason(exc: BaseException) -> DisconnectReason | None:
    """Return the reason for another library's exception, whose ``errno`` is then not the system's.

    OpenSSL's and getaddrinfo's numbers start at 1 as ``errno`` does. An exception of a module can only exist once the
    module is imported, so looking in ``sys.modules`` is enough, and this one stays cheap to import.
    """
    for module, name, reason in _BY_LIBRARY:
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(exc, kind):
            return reason
    return None


_BY_LIBRARY: Final = (
    ("ssl", "SSLZeroReturnError", DisconnectReason.END_OF_FILE),  # the peer's close_notify
    ("ssl", "SSLEOFError", DisconnectReason.TRUNCATED),  # the stream ended without one
    ("ssl", "SSLSyscallError", DisconnectReason.PEER_GONE),
    ("ssl", "SSLError", DisconnectReason.OTHER),
    ("socket", "gaierror", DisconnectReason.OTHER),
    ("socket", "herror", DisconnectReason.OTHER),
    ("asyncio", "CancelledError", DisconnectReason.ABORTED),
)


def _class_reason(exc: BaseException) -> DisconnectReason:
    """Return the reason for an exception without a known number."""
    return next((reason for kind, reason in _BY_CLASS if isinstance(exc, kind)), DisconnectReason.OTHER)


_BY_CLASS: Final = (
    (FramingError, DisconnectReason.FRAMING),
    (TimeoutError, DisconnectReason.TIMED_OUT),  # asyncio.TimeoutError is this class
    (ConnectionResetError, DisconnectReason.PEER_RESET),
    (ConnectionAbortedError, DisconnectReason.ABORTED),
    (ConnectionRefusedError, DisconnectReason.REFUSED),
    (ConnectionError, DisconnectReason.PEER_GONE),
    (EOFError, DisconnectReason.END_OF_FILE),
)


def _classify_group(group: BaseExceptionGroup[BaseException]) -> Disconnect:
    """Return the first member's reason if all members have the same; else OTHER."""
    members = [classify(member) for member in group.exceptions]
    first = members[0]
    if all(member.reason is first.reason for member in members):
        return first
    return Disconnect(DisconnectReason.OTHER, None, "; ".join(member.text for member in members))
