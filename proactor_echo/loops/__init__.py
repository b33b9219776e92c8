"""Event loops: :class:`EventLoop`, :func:`new_event_loop`, :func:`run`, and the contract an engine meets.

The one idea: **everything is a completion.** A transport submits an operation and is told that it is done. On Windows
the kernel says so (an IOCP packet); on Linux and macOS the readiness engine says so, by making the non-blocking call
when epoll or kqueue reports that it can. All buffering, flow control, half-close and closing logic is in
:class:`~proactor_echo.loops.stream.StreamTransport` and :class:`~proactor_echo.loops.datagram.DatagramTransport`,
once; an engine subclasses them and adds only the operations.

The contract
============

A stream engine subclasses ``StreamTransport`` and writes:

``_init_engine(sock)``
    Called first when a transport is made: the engine's own attributes. What it raises leaves the socket alone.
``_start_receiving()``
    Receive from now on, until ``_stop_receiving``. May be called when a receive is already pending: then nothing.
``_stop_receiving()``
    No more is wanted now. A receive that is pending may stay: what it brings is held back until reading resumes.
``_submit_send()``
    Send ``self._head`` (bytes or memoryview); called with nothing pending, after a non-blocking ``send`` took less.
    What it raises ends the connection.
``_has_more_to_receive() -> bool``
    Whether the peer's last words are still to be received, asked when a send has failed.
``_withdraw() -> bool``
    The connection is over: cancel what is pending. True when nothing is; else False, and ``_quiet()`` follows.

and reports, never from inside one of these calls but from the loop's processing of events:

``_received(data)``
    `data` is non-empty ``bytes``. When it returns, receive again only if ``is_reading()`` and not ``_ended``.
``_borrow() -> buffer | None`` and ``_filled(count)``
    For a BufferedProtocol (``self._buffered``): the protocol's own buffer to receive into, then how much is in it. A
    receive that was pending while ``set_protocol`` or ``pause_reading`` came goes through ``_received`` instead.
``_end_of_file()``, ``_receive_failed(exc)``
    The two ends of receiving. A failure that follows ``_withdraw`` is not reported.
``_sent(count)``, ``_send_failed(exc)``
    The end of what ``_submit_send`` began; `count` 0 means "there is room again". Not after ``_withdraw``.
``_quiet()``
    After ``_withdraw`` returned False: the last pending operation has come back. Once.

A datagram engine does the same with ``DatagramTransport``: ``_start_receiving``, ``_stop_receiving``, ``_withdraw``,
``_submit_send`` (send ``self._queue[0]``, a pair of data and address; when the queue is empty, wait for room), and may
override ``_offer`` (send what goes without blocking). It reports ``_received([(data, address), …])``, ``_errored(exc)``
(reading goes on), ``_sent(count)`` (in datagrams), ``_send_failed(exc)`` (of the first; the next follows) and
``_quiet()``.

An accepting engine subclasses :class:`~proactor_echo.loops.accept.Acceptor`: ``_start_accepting()``,
``_stop_accepting()``; it reports ``accepted(conn, peer)`` and ``failed(exc)``, which says whether to go on at once.

**No exception ends the loop** but SystemExit and KeyboardInterrupt. What a protocol, its buffer or its socket raises
ends that connection, where it is called; what nobody expected there is caught where the loop calls a channel, an
operation or a transport at the end of a turn, and ends the transport that let it out (``_fatal_error``).

An operation is idle, pending or cancelled. Cancelling never frees: buffers and OVERLAPPED live until the completion.
Every function that submits an operation says under ``Lifetime:`` who keeps them alive, until which event.

``call_at_turn_end()`` (:mod:`proactor_echo.loops.base`) is for who gathers what is written in one turn and writes it at
its end.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from proactor_echo.arguments import check_coroutine
from proactor_echo.loops import private

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["EventLoop", "new_event_loop", "run"]

_T = TypeVar("_T")

EventLoop: type[asyncio.AbstractEventLoop]


def _choose() -> type[asyncio.AbstractEventLoop]:
    missing = private.missing()
    if missing:
        warnings.warn(
            f"Python {sys.version.split()[0]} lacks {', '.join(missing)}: using the stock event loop",
            RuntimeWarning,
            stacklevel=2,
        )
        stock: type[asyncio.AbstractEventLoop] = private.StockLoop
        return stock
    engine = import_module("proactor_echo.loops.iocp.loop" if private.WINDOWS else "proactor_echo.loops.readiness.loop")
    ours: type[asyncio.AbstractEventLoop] = engine.EventLoop
    return ours


EventLoop = _choose()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make a new event loop of ours; ``asyncio.Runner(loop_factory=new_event_loop)`` runs on it."""
    return EventLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run `main` on a new loop and close it: ``asyncio.run`` on ours, with its handling of Ctrl+C and of what is left.

    Raises RuntimeError when called from a running loop.
    """
    check_coroutine("main", main)
    if asyncio._get_running_loop() is not None:
        main.close()  # or Python warns besides that it was never awaited
        raise RuntimeError("proactor_echo.run() cannot be called from a running event loop: await the coroutine there")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
