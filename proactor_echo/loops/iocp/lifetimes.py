"""The states of an operation that is submitted to the kernel, and the end of a transport that has operations there.

::

            submit             cancel
    idle ------------> pending ------> cancelled
      ^                   |                |
      +---- completion ---+----------------+

An operation is *idle* (the kernel does not have its memory), *pending* (the kernel has it) or *cancelled* (the kernel
has it and was asked to complete it soon). Pending and cancelled operations are outstanding. Cancelling never frees:
only the completion makes an operation idle, which is the success of the call itself or else the packet taken from the
port. wepoll and mio have the same three states.

Nothing here depends on Windows, so it is tested on any system, with a kernel made for the tests.
"""

from __future__ import annotations

import abc
import enum
from collections.abc import Iterable
from typing import Any

from proactor_echo.loops.engine import Completions, Engine
from proactor_echo.loops.stream_writing import contained


class State(enum.Enum):
    """Whether the kernel has the memory of an operation."""

    IDLE = "idle"
    PENDING = "pending"
    CANCELLED = "cancelled"


IDLE, PENDING, CANCELLED = State  # by these names: looking them up in the class takes longer, and each receive does


class Operation(abc.ABC):
    """An overlapped operation. While it is outstanding, the registry of its port holds it, and it holds its memory."""

    __slots__ = ("state",)

    def __init__(self) -> None:
        self.state: State = IDLE

    @abc.abstractmethod
    def done(self, count: int) -> None:
        """Handle its completion, with ``count`` bytes transferred; it is idle now. Called from the loop."""

    @abc.abstractmethod
    def discard(self) -> None:
        """Become idle and free what it holds, without a report: the loop is closed, or the result is not wanted."""

    @abc.abstractmethod
    def _request_cancel(self) -> None:
        """Ask the kernel to cancel it. If this raises, nothing was asked."""

    @abc.abstractmethod
    def _is_with_kernel(self) -> bool:
        """Whether the kernel may still use its memory; when not, the packet may still be on its way."""

    @abc.abstractmethod
    def _detach(self) -> None:
        """Report nothing to the transport when it is done."""

    def cancel(self) -> None:
        """Ask the kernel to complete it soon; ``done`` or ``discard`` is still called. Twice is harmless."""
        if self.state is IDLE:
            return  # the kernel does not have it
        self._request_cancel()
        self.state = CANCELLED

    def reclaim(self) -> bool:
        """Cancel it for good. True when the kernel does not use it any more; else False, and ``done`` is called later.

        Lifetime: the kernel may be done with it and its packet still be queued; the registry holds this until that
        packet is taken.
        """
        if self.state is IDLE:
            self.discard()
            return True
        asked = False
        with contained:  # an operation that cannot be cancelled completes when the socket is closed
            self.cancel()
            asked = True
        if asked and self._is_with_kernel():
            return False
        self._detach()
        return True


class CompletionTransport(Engine, Completions):
    """The end of a transport with operations: its socket is closed when none of them is outstanding any more."""

    _loop: Any
    _cancelled: bool  # nothing is reported to the protocol any more
    _outstanding: int  # operations that were cancelled and that the kernel has not completed yet

    @abc.abstractmethod
    def _operations(self) -> Iterable[Operation]:
        """Return those that may be outstanding."""

    def _cancel_pending(self) -> bool:
        self._cancelled = True
        if self._loop.is_closed():
            return True  # closing the loop has completed everything
        self._outstanding = sum(not operation.reclaim() for operation in self._operations())
        return not self._outstanding

    def _one_completed(self) -> None:
        """Note that one outstanding operation has completed; called by its ``done`` after the cancelling."""
        self._outstanding -= 1
        if not self._outstanding:
            self._all_completed()
