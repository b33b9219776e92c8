"""The contract between engines and transports, as abstract classes: what an engine must do, and what it reports.

The one idea: **everything is a completion.** A transport submits an operation, and the engine reports when it is done.
On Windows the report comes from the kernel (an IOCP packet). On Linux and macOS the readiness engine makes the
non-blocking call when its poller reports that it would not block, and reports its result. All buffering, flow control,
half-close and closing logic is in the shared transports, once; an engine subclasses them and adds only the operations.

=====================  ======================================  =====================================================
what                   an engine writes                        and reports to, by methods that are there already
=====================  ======================================  =====================================================
a stream               :class:`StreamEngine`                   :class:`StreamCompletions`
a datagram socket      :class:`DatagramEngine`                 :class:`DatagramCompletions`
a listening socket     :class:`AcceptEngine`                   :class:`AcceptCompletions`
what is ready, if the  :class:`Poller`                         the callbacks it is given
kernel completes
nothing
=====================  ======================================  =====================================================

What holds for all of them:

*Submitting.* One operation of a kind at a time (a datagram engine may have several receives outstanding). An exception
of a submitting method ends the connection or the endpoint, and never the loop.

*Completing.* An engine reports from the loop's processing of events, never from inside one of its own methods. No
exception ends the loop but SystemExit and KeyboardInterrupt. One that a protocol, its buffer or its socket raises ends
that connection, where it is called. Any other is caught where the loop calls a handler, an operation or a transport at
the end of an iteration, and ends the transport it came from (``_fatal_error``).

*Lifetime.* An operation is idle, pending or cancelled (``loops/iocp/lifetimes.py``). Cancelling never frees: buffers
and OVERLAPPED live until the completion. Every method that submits says under ``Lifetime:`` who keeps them, until
which event. The readiness engine gives the kernel nothing, and its operations are never outstanding.

*Closing.* The transport calls ``_cancel_pending`` once, when nothing more is to be sent. The engine cancels the pending
operations, and from then on reports nothing but ``_all_completed``, once, when no operation is outstanding any more.
Only then ``connection_lost`` is called and the socket closed, so that its descriptor names no other socket while the
kernel has an operation on it.
"""

from __future__ import annotations

import abc
import selectors
from collections import deque
from collections.abc import Callable, Sequence, Sized
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:
    import socket

    from typing_extensions import Buffer

    class ReceiveBuffer(Sized, Buffer, Protocol):
        """Memory to receive into, as ``BufferedProtocol.get_buffer`` gives it."""


Handler = Callable[[int], object]  # called with what was seen; any bit beside WRITE means "receive now"
Invoke = Callable[[Handler, int], object]
Failed = Callable[[Handler, BaseException], object]  # gets an exception of a handler, so that the others are called


class Engine(abc.ABC):
    """What the engines of streams and of datagram sockets have in common: receiving, and ending their operations."""

    __slots__ = ()

    @abc.abstractmethod
    def _start_receiving(self) -> None:
        """Receive from now on, until :meth:`_stop_receiving`; nothing when it does already."""

    @abc.abstractmethod
    def _stop_receiving(self) -> None:
        """Stop receiving. Receives that are pending may stay: the transport holds back what they bring."""

    @abc.abstractmethod
    def _cancel_pending(self) -> bool:
        """Cancel all operations. True when none is outstanding; else False, and ``_all_completed`` follows."""


class Completions(abc.ABC):
    """What an engine reports when its operations have ended."""

    __slots__ = ()

    @abc.abstractmethod
    def _all_completed(self) -> None:
        """Note that no operation is outstanding any more; once, after :meth:`Engine._cancel_pending` returned False."""


class StreamEngine(Engine):
    """The operations of one connected stream socket."""

    __slots__ = ()

    @abc.abstractmethod
    def _init_engine(self, sock: socket.socket) -> None:
        """Set the engine's own attributes. Called first when a transport is made.

        If it raises, the socket is still the caller's.
        """

    @abc.abstractmethod
    def _submit_send(self) -> None:
        """Send ``self._head``; called with no send pending, after a non-blocking ``send`` took less than all of it."""

    @abc.abstractmethod
    def _has_more_to_receive(self) -> bool:
        """Whether there is still data of the peer to receive; asked when a send has failed."""


class StreamCompletions(Completions):
    """What a stream engine reports to the shared transport.

    An engine may also read, and not set, the attributes declared here. To receive again is right when none of
    ``_paused``, ``_closing`` and ``_ended`` is set.
    """

    __slots__ = ()

    _buffered: bool  # the protocol is a BufferedProtocol: receive into its own buffer
    _paused: bool
    _closing: bool
    _ended: bool  # the peer has
    _head: bytes | memoryview  # what to send next
    _sending: bool  # between _submit_send and its report

    @abc.abstractmethod
    def _received(self, data: bytes) -> None:
        """Take what arrived, at least one byte."""

    @abc.abstractmethod
    def _get_buffer(self) -> ReceiveBuffer | None:
        """Return the buffer of a BufferedProtocol to receive into; None when it failed and the connection ends.

        Lifetime: the protocol keeps the buffer; it must not be resized or reused until :meth:`_buffer_updated` is
        called, so an engine that gives it to the kernel also holds a memoryview of it until then.
        """

    @abc.abstractmethod
    def _buffer_updated(self, count: int) -> None:
        """Note that ``count`` bytes, at least one, are in the buffer that :meth:`_get_buffer` returned.

        A receive that was pending while ``set_protocol`` or ``pause_reading`` came goes through :meth:`_received`.
        """

    @abc.abstractmethod
    def _end_of_file(self) -> None:
        """Note that the peer has sent its last byte."""

    @abc.abstractmethod
    def _receive_failed(self, exc: BaseException) -> None:
        """Take the error that a receive ended in; not after :meth:`Engine._cancel_pending`."""

    @abc.abstractmethod
    def _sent(self, count: int) -> None:
        """Note that the system took ``count`` bytes of ``_head``, or (0) is writable again. No send is pending now."""

    @abc.abstractmethod
    def _send_failed(self, exc: BaseException) -> None:
        """Take the error that the send ended in. No send is pending now."""


class DatagramEngine(Engine):
    """The operations of one datagram socket. An engine may also override ``_offer``, to send many in one call."""

    __slots__ = ()

    @abc.abstractmethod
    def _submit_send(self) -> None:
        """Send ``self._queue[0]``, a pair of data and address; only wait until it can send when the queue is empty."""


class DatagramCompletions(Completions):
    """What a datagram engine reports. An error of a receive ends nothing: the engine goes on receiving."""

    __slots__ = ()

    _paused: bool
    _closing: bool
    _queue: deque[tuple[bytes, Any]]

    @abc.abstractmethod
    def _received(self, datagrams: Sequence[tuple[bytes, Any]]) -> None:
        """Take what arrived together, each with the address it came from."""

    @abc.abstractmethod
    def _errored(self, exc: OSError) -> None:
        """Take an error of a receive, or of an earlier send (ICMP)."""

    @abc.abstractmethod
    def _sent(self, count: int) -> None:
        """Note that the system took the first ``count`` of the queue, or (0) is writable again. No send is pending."""

    @abc.abstractmethod
    def _send_failed(self, exc: OSError) -> None:
        """Take the error of the first of the queue; those behind it can still be sent."""


class AcceptEngine(abc.ABC):
    """Accepting on one listening socket."""

    __slots__ = ()

    @abc.abstractmethod
    def _start_accepting(self) -> None:
        """Accept until :meth:`_stop_accepting`; nothing when it does already."""

    @abc.abstractmethod
    def _stop_accepting(self) -> None:
        """Stop accepting; a connection that had arrived may still be reported."""


class AcceptCompletions(abc.ABC):
    """What an accepting engine reports. Neither raises what a callback of the program raised."""

    __slots__ = ()

    @abc.abstractmethod
    def accepted(self, conn: socket.socket, peer: Any) -> None:
        """Take a connection, already non-blocking."""

    @abc.abstractmethod
    def failed(self, exc: BaseException, *, submitting: bool = False) -> bool:
        """Take the error of an accept. True: accept again at once. False: accepting is paused, or over.

        ``submitting``: the accept could not be submitted to the kernel, so no connection is the cause.
        """


class Poller(selectors.BaseSelector):
    """Reports to the readiness engine that a call would not block: a selector that also has *handlers*.

    A handler is the function to call when a descriptor that a transport of ours watches is ready. To asyncio a poller
    is a selector: ``add_reader`` and the like register their handles in it. :meth:`select` returns events of both
    kinds, in a form of the poller's own; the loop separates them with :meth:`others`, :meth:`dispatch` and :meth:`pin`.
    Level triggered: an event that is not handled is reported again.

    Lifetime: a poller holds a handler, and the handler its transport, from :meth:`watch` to :meth:`forget`.
    """

    READ: ClassVar[int]  # bits for watch()
    WRITE: ClassVar[int]

    @abc.abstractmethod
    def watch(self, fd: int, events: int, handler: Handler) -> None:
        """Call ``handler`` whenever ``fd`` is ready for one of ``events``; replaces what was watched for it."""

    @abc.abstractmethod
    def watch_shared(self, fd: int, handler: Handler) -> None:
        """As :meth:`watch`, for reading, a listener that other processes watch too.

        Called again, it waits behind them: where the system can, it wakes the process that waits longest, not all.
        """

    @abc.abstractmethod
    def redirect(self, fd: int, handler: Handler) -> None:
        """Call ``handler`` from now on for what ``fd`` is watched for; costs no system call."""

    @abc.abstractmethod
    def forget(self, fd: int) -> None:
        """Watch ``fd`` no longer; it may have been closed behind our back. Nothing when it is not watched."""

    @abc.abstractmethod
    def watcher(self, fd: int) -> object | None:
        """Return the transport whose handler watches ``fd``, None if none does."""

    @abc.abstractmethod
    def others(self, events: list[Any]) -> list[Any]:
        """Return those of ``events`` that are no handler's, as asyncio wants them: pairs of key and mask."""

    @abc.abstractmethod
    def alone(self) -> int | None:
        """Return the one descriptor that is no handler's, the loop's self-pipe.

        None when there are more, or when finding out would cost as much as it saves.
        """

    @abc.abstractmethod
    def dispatch(self, events: list[Any], failed: Failed) -> list[Any]:
        """Call the handlers in ``events``, those not forgotten meanwhile; return the others, for :meth:`others`.

        A poller that is never :meth:`alone` returns none: the loop has asked for the others before.
        """

    @abc.abstractmethod
    def pin(self, events: list[Any]) -> list[tuple[Any, int, Handler]]:
        """Keep events and their handlers for :meth:`dispatch_pinned`."""

    @abc.abstractmethod
    def dispatch_pinned(self, pinned: list[tuple[Any, int, Handler]], invoke: Invoke, failed: Failed) -> None:
        """Call the handlers that :meth:`pin` found through ``invoke``, if they still watch the same descriptor."""
