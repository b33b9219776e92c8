"""The readiness engine: epoll, kqueue or poll reports that a call would not block, so the engine makes it.

A completion engine submits a receive to the kernel. This one has no outstanding operations: the poller watches the
socket of a transport that wants to receive, and when the socket is ready, the engine makes the non-blocking ``recv``
and reports the result to the transport. Transports are called directly from the result of the poll: no Handle, no
queue. There is one receive for each ready connection in an iteration, so that no connection delays the others.
"""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

from proactor_echo.loops.base import BaseLoop, LoopState
from proactor_echo.loops.engine import Handler, Poller
from proactor_echo.loops.readiness.accept import ReadinessAcceptor, SharedAcceptor
from proactor_echo.loops.readiness.datagram import ReadinessDatagrams
from proactor_echo.loops.readiness.epoll import new_poller
from proactor_echo.loops.readiness.stream import ReadinessStream
from proactor_echo.loops.stream import StreamTransport

if TYPE_CHECKING:
    from proactor_echo.loops.datagram import DatagramTransport
    from proactor_echo.loops.readiness.mmsg import Batch

logger: logging.Logger = logging.getLogger("asyncio")

# Whether threads run one at a time (the GIL). Without it the loop could check its queue before it sees what another
# thread put there, while that thread does not see yet that the loop has woken.
ONE_BYTE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class ReadinessState(LoopState):
    """The additional state of a loop of this engine."""

    __slots__ = ("batch", "woken")

    def __init__(self) -> None:
        super().__init__()
        self.batch: Batch | None = None
        self.woken: bool = False  # a byte is in the self-pipe, or about to be


class EventLoop(BaseLoop):
    """``asyncio.SelectorEventLoop`` with our transports and servers. ``poller`` is for tests of the other pollers."""

    _stream_class = ReadinessStream
    _datagram_class = ReadinessDatagrams
    _acceptor_class = ReadinessAcceptor
    _shared_acceptor_class = SharedAcceptor

    _state: ReadinessState
    _selector: Poller

    def __init__(self, poller: Poller | None = None) -> None:
        super().__init__(ReadinessState(), new_poller() if poller is None else poller)

    def _batch(self) -> Batch | None:
        """Return the one batch of this loop, made when its first UDP endpoint is; None where there is no such thing."""
        state = self._state
        if state.batch is None:
            from proactor_echo.loops.readiness import (
                mmsg,  # brings in ctypes, which a program without UDP need not wait for
            )

            state.batch = mmsg.new_batch()
        return state.batch

    def _process_events(self, event_list: list[Any]) -> None:
        """Call the handlers at once if nothing else is queued, else after what is, as asyncio's order demands."""
        if not event_list:
            return
        poller = self._selector
        queued = bool(self._ready) or self._debug
        if not queued and (alone := poller.alone()) is not None:
            others = poller.dispatch(event_list, self._handler_failed)
            if others and (others := [event for event in others if event[0] == alone]):
                super()._process_events(poller.others(others))
            return
        others = poller.others(event_list)
        if others:
            # asyncio's events first: a handler may close a descriptor, and its number may be used again.
            super()._process_events([(key, mask & key.events) for key, mask in others])
            if len(others) == len(event_list):
                return
        if queued:
            invoke = self._timed if self._debug else _call
            self.call_soon(poller.dispatch_pinned, poller.pin(event_list), invoke, self._handler_failed)
        else:
            poller.dispatch(event_list, self._handler_failed)

    # -- waking --------------------------------------------------------------------------------------------------

    def _write_to_self(self) -> None:
        """Wake the loop, from any thread. Many calls before it has woken cost one byte.

        The caller has queued something before, and the loop checks its queue after :meth:`_read_from_self`. So if
        ``woken`` is still set, nothing more is to be done.
        """
        state, csock = self._state, self._csock
        if csock is None or state.woken:
            return
        try:
            state.woken = ONE_BYTE
            csock.send(b"\0")
        except BaseException as exc:
            state.woken = False
            if not isinstance(exc, OSError):  # closed by another thread just now, or full and thus readable
                raise

    def _read_from_self(self) -> None:
        try:
            data = self._ssock.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        finally:
            self._state.woken = False  # after reading: a byte that is read here must not count as one to come
        if data != b"\0":
            self._process_self_data(data)

    # -- events --------------------------------------------------------------------------------------------------

    def _handler_failed(self, handler: Handler, exc: BaseException) -> None:
        self._callback_owner_failed(getattr(handler, "__self__", handler), exc)

    def _timed(self, handler: Handler, mask: int) -> None:
        """Debug mode: log handlers that take long, as asyncio does for its callbacks."""
        start = self.time()
        handler(mask)
        took = self.time() - start
        if took >= self.slow_callback_duration:
            owner = getattr(handler, "__self__", handler)
            logger.warning("Executing %r took %.3f seconds", owner, took)

    def _make_socket_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> StreamTransport:
        self._ensure_fd_no_transport(sock)  # asyncio does from Python 3.12 on
        return super()._make_socket_transport(sock, *args, **kwargs)

    def _make_datagram_transport(self, sock: socket.socket, *args: Any, **kwargs: Any) -> DatagramTransport:
        self._ensure_fd_no_transport(sock)
        return super()._make_datagram_transport(sock, *args, **kwargs)

    def _ensure_fd_no_transport(self, fd: Any) -> None:
        number = fd if isinstance(fd, int) else _file_descriptor(fd)
        owner = None if self._selector is None else self._selector.watcher(number)
        if owner is not None:
            raise RuntimeError(f"File descriptor {fd!r} is used by transport {owner!r}")
        super()._ensure_fd_no_transport(fd)

    def _lend(self, transport: Any) -> None:
        transport._cancel_pending()
        self._transports.pop(transport._fd, None)


def _call(handler: Handler, mask: int) -> None:
    handler(mask)


def _file_descriptor(file: Any) -> int:
    try:
        return int(file.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {file!r}") from None
