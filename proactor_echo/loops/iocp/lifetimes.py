"""The life of an operation that is left with the kernel, and the end of a transport that has some there.

::

            submit             cancel
    idle ------------> pending ------> cancelled
      ^                   |                |
      +---- completion ---+----------------+

An operation is *idle* (nobody but us has its memory), *pending* (the kernel has it) or *cancelled* (the kernel has it
and was asked to hurry). Cancelling never frees: only the completion makes it idle, which is the success of the call
itself or else the packet taken from the port. wepoll and mio keep the same three.

Nothing here is of Windows, so it is tried on any system, over a kernel made for the tests.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterable
from typing import Any

from proactor_echo.loops.engine import Completions, Engine
from proactor_echo.loops.stream_writing import contained


class State(enum.Enum):
    """Who has the memory of an operation."""

    IDLE = "idle"
    PENDING = "pending"
    CANCELLED = "cancelled"


IDLE, PENDING, CANCELLED = State  # by these names: looking them up in the class takes longer, and each receive does


class Operation(abc.ABC):
    """Something the kernel works on. While it is not idle the registry of its port holds it, and it its memory."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: State = IDLE

    @abc.abstractmethod
    def done(self, count: int) -> None:
        """Take it back from the kernel, with `count` bytes transferred; it is idle. Called from the loop."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Be idle, free what it holds and tell nobody: the loop is gone, or nobody wants it any more."""

    @abc.abstractmethod
    def _ask_back(self) -> None:
        """Ask the kernel for it. What raises has not asked."""

    @abc.abstractmethod
    def _is_with_kernel(self) -> bool:
        """Whether the kernel may still use its memory; when not, the packet may still be on its way."""

    @abc.abstractmethod
    def _detach(self) -> None:
        """Report nothing to the transport when it is done."""

    def cancel(self) -> None:
        """Ask the kernel to give it back soon. `done` or `discard` is called all the same. Asking twice is harmless."""
        if self.state is IDLE:
            return  # there is nothing to give back
        self._ask_back()
        self.state = CANCELLED

    def withdraw(self) -> bool:
        """Have it back for good: True when the kernel has let go of it, else False and the transport is told later.

        Lifetime: the kernel may have let go and the packet still be queued; the registry holds this until it is taken.
        """
        if self.state is IDLE:
            self.discard()
            return True
        asked = False
        with contained:  # what cannot be asked for comes back when the socket is closed
            self.cancel()
            asked = True
        if asked and self._is_with_kernel():
            return False
        self._detach()
        return True


class CompletionTransport(Engine, Completions):
    """The end of a transport with operations: its socket is closed when the kernel has given all of them back."""

    _loop: Any
    _withdrawn: bool  # nothing is reported to the protocol any more
    _out: int  # operations the kernel still had when it was asked for them, and has not given back

    @abc.abstractmethod
    def _operations(self) -> Iterable[Operation]:
        """Return those that may be with the kernel."""

    def _withdraw(self) -> bool:
        self._withdrawn = True
        if self._loop.is_closed():
            return True  # closing the loop had everything back
        self._out = sum(not operation.withdraw() for operation in self._operations())
        return not self._out

    def _came_back(self) -> None:
        """Note that one of those that were out is back; called by its ``done``, since this is withdrawn."""
        self._out -= 1
        if not self._out:
            self._quiet()
