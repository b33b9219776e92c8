"""The completion engine's loop: ``asyncio.ProactorEventLoop`` without its known defects.

::

    BatchProactor.select   takes up to 256 completions in one call                                 (port)
    EventLoop              calls each operation's ``done``, in the same iteration
    Receive, Send, Accept  know what the completion means                     (stream, datagram, operations)
    IocpStream, …          the shared transports, which get the result                   (stream, datagram)

Pipes, subprocesses and ``sendfile`` are asyncio's own and unchanged.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.loop is for Windows only")

import contextlib
import logging
import signal
import socket
import threading
import weakref
from typing import TYPE_CHECKING, Any, TypeVarTuple

from proactor_echo.loops.base import BaseLoop, LoopState
from proactor_echo.loops.iocp.accept import IocpAcceptor
from proactor_echo.loops.iocp.buffers import BufferPool
from proactor_echo.loops.iocp.datagram import IocpDatagrams
from proactor_echo.loops.iocp.lifetimes import Operation
from proactor_echo.loops.iocp.port import BatchProactor
from proactor_echo.loops.iocp.signals import SignalHandlers
from proactor_echo.loops.iocp.sock_accept import AcceptQueue
from proactor_echo.loops.iocp.stream import IocpStream

if TYPE_CHECKING:
    import asyncio
    from collections import deque
    from collections.abc import Callable, Iterator

Ts = TypeVarTuple("Ts")

logger: logging.Logger = logging.getLogger("asyncio")


class IocpState(LoopState):
    """The additional state of a loop of this engine."""

    __slots__ = ("accept_queues", "buffers", "signals")

    def __init__(self, loop: EventLoop) -> None:
        super().__init__()
        self.accept_queues: weakref.WeakKeyDictionary[socket.socket, AcceptQueue] = weakref.WeakKeyDictionary()
        self.buffers: BufferPool = BufferPool()
        self.signals: SignalHandlers = SignalHandlers(loop)


class EventLoop(BaseLoop):
    """``asyncio.ProactorEventLoop`` with our transports and servers, batched completions and signal handlers."""

    _stream_class = IocpStream
    _datagram_class = IocpDatagrams
    _acceptor_class = _shared_acceptor_class = IocpAcceptor

    _state: IocpState
    _proactor: BatchProactor
    _csock: socket.socket
    _ssock: socket.socket
    _self_reading_future: asyncio.Future[bytes] | None

    def __init__(self, proactor: BatchProactor | None = None) -> None:
        with _signals_left_where_they_go():
            super().__init__(IocpState(self), BatchProactor() if proactor is None else proactor)

    # -- iterations ----------------------------------------------------------------------------------------------

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called."""
        # A signal must wake the loop that waits, not the one that was made last: CPython sets this once, when a loop is
        # made, and takes it away when any loop is closed. Ours leave it alone then; others may have been there.
        main = threading.current_thread() is threading.main_thread()
        before = signal.set_wakeup_fd(self._csock.fileno()) if main and not self.is_closed() else -1
        try:
            super().run_forever()
        finally:
            if main and self._csock is not None and before != self._csock.fileno():
                with contextlib.suppress(ValueError, OSError):  # its loop may be closed by now
                    signal.set_wakeup_fd(before)

    def _run_once(self) -> None:
        try:
            super()._run_once()
        finally:
            self._proactor.submit_due()

    def _process_events(self, event_list: deque[tuple[Operation, int]]) -> None:
        """Complete at once when nothing else is queued, else after what is, as asyncio's order demands."""
        if not event_list:
            return
        if self._ready:
            self.call_soon(self._complete, event_list)
        else:
            self._complete(event_list)

    def _complete(self, operations: deque[tuple[Operation, int]]) -> None:
        take = operations.popleft
        try:
            debug = self._debug
            while operations:
                operation, count = take()
                try:
                    if debug:
                        self._timed(operation, count)
                    else:
                        operation.done(count)
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    self._callback_owner_failed(operation, exc)
        finally:
            if operations:  # a protocol raised KeyboardInterrupt: the others are for the next iteration
                self._proactor.put_back(operations)

    def _timed(self, operation: Operation, count: int) -> None:
        """Debug mode: log operations that take long, as asyncio does for its callbacks."""
        start = self.time()
        operation.done(count)
        took = self.time() - start
        if took >= self.slow_callback_duration:
            logger.warning("Executing %r took %.3f seconds", operation, took)

    # -- waking --------------------------------------------------------------------------------------------------

    def _write_to_self(self) -> None:
        # A packet of our own instead of a byte through a socket; the socket remains for signals.
        proactor = self._proactor
        if proactor is not None:
            with contextlib.suppress(OSError):  # closed by another thread just now
                proactor.wake()

    def _loop_self_reading(self, f: asyncio.Future[bytes] | None = None) -> None:
        if f is not self._self_reading_future or (f is not None and f.cancelled()):
            return  # the loop is stopping
        try:
            if f is not None and not f.result():
                raise EOFError("end of file on the self-pipe")
            f = self._proactor.recv(self._ssock, 4096)
        except (EOFError, OSError) as exc:
            # CPython would read an end of file again at once, for ever (gh-156333), or after an error never again.
            self.call_exception_handler(
                {
                    "message": "The self-pipe of the event loop was broken from outside; it has a new one",
                    "exception": exc,
                    "loop": self,
                }
            )
            self._renew_self_pipe()
            f = self._proactor.recv(self._ssock, 4096)
        self._self_reading_future = f
        f.add_done_callback(self._loop_self_reading)

    def _renew_self_pipe(self) -> None:
        self._close_self_pipe()
        self._make_self_pipe()
        if threading.current_thread() is threading.main_thread():
            signal.set_wakeup_fd(self._csock.fileno())

    # -- sockets -------------------------------------------------------------------------------------------------

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection. Cancelling loses none: the next call gets it."""
        queue = self._state.accept_queues.get(sock)
        if queue is None:
            self._state.accept_queues[sock] = queue = AcceptQueue(self, self._proactor, sock)
        return await queue.accept(sock)

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to ``n`` bytes. Cancelling loses none: awaited is that there are some, not they themselves."""
        if not _is_plain_stream(sock):
            return await super().sock_recv(sock, n)
        while True:
            try:
                return sock.recv(n)
            except (BlockingIOError, InterruptedError):
                await self._proactor.recv(sock, 0)

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into ``buf``; as :meth:`sock_recv`."""
        if not _is_plain_stream(sock):
            return await super().sock_recv_into(sock, buf)
        while True:
            try:
                return sock.recv_into(buf)
            except (BlockingIOError, InterruptedError):
                await self._proactor.recv(sock, 0)

    # -- signals -------------------------------------------------------------------------------------------------

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Call ``callback(*args)`` in the loop at SIGINT (Ctrl+C), SIGBREAK (Ctrl+Break) or SIGTERM.

        Raises as the Unix loop: TypeError, ValueError, and RuntimeError for another signal or another thread. What
        handled the signal before is put back by :meth:`remove_signal_handler` and when the loop is closed.
        """
        self._check_closed()
        self._state.signals.add(sig, callback, *args)

    def remove_signal_handler(self, sig: int) -> bool:
        """Undo :meth:`add_signal_handler`; False when there was no handler."""
        return self._state.signals.remove(sig)

    def close(self) -> None:
        """Close the loop: signal handlers put back, everything pending cancelled and awaited for a bounded time."""
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if not self.is_closed():
            self._state.signals.close()
            for acceptor in self._state.acceptors.values():
                acceptor.close()
            self._state.acceptors.clear()
            for queue in self._state.accept_queues.values():
                queue.close()
        with _signals_left_where_they_go(self._csock):
            super().close()


@contextlib.contextmanager
def _signals_left_where_they_go(closing: socket.socket | None = None) -> Iterator[None]:
    """Keep waking the loop that is running, whatever CPython does when another is made or closed inside it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    own = -1 if closing is None else closing.fileno()
    before = signal.set_wakeup_fd(-1)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError, OSError):  # that socket may be closed by now
            signal.set_wakeup_fd(-1 if before == own else before)


def _is_plain_stream(sock: socket.socket) -> bool:
    return sock.type == socket.SOCK_STREAM and sock.gettimeout() == 0
