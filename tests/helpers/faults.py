"""Faults to inject: sockets, selectors and calls of Windows that raise, one call and one exception at a time.

A :class:`Fault` names the call and makes the exception; it raises while it is armed, and counts how often. What carries
it: :class:`FaultySocket` for a transport's socket, :class:`FaultyCalls` around any other object that has the calls.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable
from typing import Any, Self


class Strange(BaseException):
    """What nobody expects, not even ``except Exception``."""


ERRORS: dict[str, Callable[[], BaseException]] = {
    "MemoryError": lambda: MemoryError("injected"),
    "OSError": lambda: OSError(errno.EIO, "injected"),
    "ValueError": lambda: ValueError("injected"),
    "Strange": lambda: Strange("injected"),
}


class Fault:
    """One call that fails: the socket's `victim`'s alone if that is a handle, everybody's if it is None."""

    def __init__(self, call: str, error: Callable[[], BaseException]) -> None:
        self.call = call
        self.error = error
        self.armed = False
        self.hits = 0
        self.victim: int | None = None

    def check(self, call: str, handle: int | None = None) -> None:
        """Raise, if this is the call."""
        if self.armed and call == self.call and (self.victim is None or handle is None or handle == self.victim):
            self.hits += 1
            raise self.error()


SOCKET_CALLS = (
    "accept",
    "getpeername",
    "getsockname",
    "getsockopt",
    "recv",
    "recv_into",
    "recvfrom",
    "recvfrom_into",
    "recvmsg",
    "send",
    "sendmsg",
    "sendto",
    "setblocking",
    "setsockopt",
    "shutdown",
)


class FaultySocket(socket.socket):
    """A socket whose calls raise. ``close`` closes before it does, so that a test leaves nothing open."""

    fault: Fault

    @classmethod
    def of(cls, sock: socket.socket, fault: Fault) -> Self:
        """Put `sock` into one, non-blocking."""
        faulty = cls(sock.family, sock.type, sock.proto, sock.detach())
        faulty.fault = Fault("nothing", MemoryError)
        faulty.setblocking(False)
        faulty.fault = fault
        return faulty

    def close(self) -> None:
        super().close()
        self.fault.check("close")


def _faulty(name: str) -> Any:
    real = getattr(socket.socket, name)

    def call(self: FaultySocket, *args: Any) -> Any:
        self.fault.check(name)
        return real(self, *args)

    return call


for _name in SOCKET_CALLS:
    if hasattr(socket.socket, _name):
        setattr(FaultySocket, _name, _faulty(_name))


class FaultyCalls:
    """Stands for `real`, with those of its calls raising that the fault names; the first argument may be a handle."""

    def __init__(self, real: Any, fault: Fault) -> None:
        self._real = real
        self._fault = fault

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if name != self._fault.call:
            return value

        def call(*args: Any) -> Any:
            self._fault.check(name, args[0] if args and isinstance(args[0], int) else None)
            return value(*args)

        return call


class Spy:
    """Stands for a socket and writes down which of its calls are made."""

    def __init__(self, sock: socket.socket) -> None:
        self._real = sock
        self.calls: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._real, name)
        if callable(value):
            self.calls.add(name)
        return value
