"""The readiness engine: epoll, kqueue or poll says that a call would not block, so the engine makes it and reports.

A completion engine leaves a receive with the kernel. This one keeps no operation anywhere: a transport that wants to
receive is watched by the poller, and when the poller names it, the engine does the non-blocking ``recv`` and tells the
transport that it is done. Transports are called straight from the poll result: no Handle, no queue. One receive for
each ready connection in a turn keeps the turns fair.
"""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING, Any

from proactor_echo.loops.accepting import Acceptor
from proactor_echo.loops.poller import Channel, new_poller
from proactor_echo.loops.readiness_udp import ReadinessDatagrams
from proactor_echo.loops.transport import StreamTransport
from proactor_echo.loops.turns import TurnLoop
from proactor_echo.loops.writing import contained

if TYPE_CHECKING:
    import asyncio

    from proactor_echo.loops.datagram import DatagramTransport
    from proactor_echo.loops.mmsg import Batch

logger: logging.Logger = logging.getLogger("asyncio")

# Bytes asked for in a receive. The interpreter takes so much memory for it, gives back at once what was not needed, and
# nothing is held between receives: so there is nothing to adapt. glibc maps and unmaps memory from 128 KiB on, which
# costs more than a second receive.
MOST = 64 * 1024
ACCEPTS_A_TURN = 128

# Whether the interpreter's lock puts what threads do in an order. Without it the loop could look at its queue before it
# sees what another thread put there, while that one does not see yet that the loop has woken.
ONE_BYTE: bool = getattr(sys, "_is_gil_enabled", lambda: True)()


class EventLoop(TurnLoop):
    """``asyncio.SelectorEventLoop`` with our transports and servers. `poller` is for tests of the other pollers."""

    _datagram_class = ReadinessDatagrams

    def __init__(self, poller: Any = None) -> None:
        super().__init__(new_poller() if poller is None else poller)

    def _batch(self) -> Batch | None:
        """Return the one batch of this loop, made when its first UDP endpoint is; None where there is no such thing."""
        poller = self._selector
        if poller.batch is None:
            from proactor_echo.loops import mmsg  # brings in ctypes, which a program without UDP need not wait for

            poller.batch = mmsg.new_batch()
        batch: Batch | None = poller.batch
        return batch

    def _process_events(self, event_list: list[Any]) -> None:
        """Tell the channels at once when nothing else is queued, else after what is, as asyncio's order demands."""
        if not event_list:
            return
        poller = self._selector
        queued = bool(self._ready) or self._debug
        if not queued and (alone := poller.alone()) is not None:
            others = [event for event in poller.dispatch(event_list, self._channel_failed) if event[0] == alone]
            if others:
                super()._process_events(poller.others(others))
            return
        others = poller.others(event_list)
        if others:
            # Seen to first: what a channel calls may close a descriptor and have its number used again.
            super()._process_events([(key, mask & key.events) for key, mask in others])
            if len(others) == len(event_list):
                return
        if queued:
            invoke = self._timed if self._debug else _call
            self.call_soon(poller.dispatch_pinned, poller.pin(event_list), invoke, self._channel_failed)
        else:
            poller.dispatch(event_list, self._channel_failed)

    # -- waking --------------------------------------------------------------------------------------------------

    def _write_to_self(self) -> None:
        """Wake the loop, from any thread. Many calls before it has woken cost one byte.

        Who calls this has queued something before, and the loop looks at its queue after :meth:`_read_from_self`. So
        whoever still finds ``woken`` set may leave it at that.
        """
        poller, csock = self._selector, self._csock
        if csock is None or poller is None or poller.woken:
            return
        try:
            poller.woken = ONE_BYTE
            csock.send(b"\0")
        except BaseException as exc:
            poller.woken = False
            if not isinstance(exc, OSError):  # closed by another thread just now, or full and thus readable
                raise

    def _read_from_self(self) -> None:
        poller = self._selector
        try:
            data = self._ssock.recv(4096)
        except (BlockingIOError, InterruptedError):
            return
        finally:
            poller.woken = False  # after reading: a byte that is read here must not count as one to come
        if data != b"\0":
            self._process_self_data(data)

    # -- events --------------------------------------------------------------------------------------------------

    def _channel_failed(self, channel: Channel, exc: BaseException) -> None:
        self._broke(getattr(channel, "__self__", channel), exc)

    def _timed(self, channel: Channel, mask: int) -> None:
        """Debug mode: what takes long is named, as asyncio does for its callbacks."""
        start = self.time()
        channel(mask)
        took = self.time() - start
        if took >= self.slow_callback_duration:
            owner = getattr(channel, "__self__", channel)
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
        transport._withdraw()
        self._transports.pop(transport._fd, None)


class ReadinessStream(StreamTransport):
    """A stream transport driven by readiness."""

    __slots__ = ("_fd", "_interest", "_listening")

    def _init_engine(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._interest = 0  # what the poller watches for
        self._listening = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Hand what arrives from now on to `protocol`."""
        super().set_protocol(protocol)
        self._redirect()

    def _watch(self, interest: int) -> None:
        """Have the poller watch for `interest`, and call the channel that fits it and the state of the transport."""
        poller = self._loop._selector
        if poller is None:
            self._interest = interest  # the loop is closed
        elif interest == self._interest:
            self._redirect()
        else:
            before, self._interest = self._interest, interest
            if not interest:
                poller.forget(self._fd)
                return
            try:
                poller.watch(self._fd, interest, self._channel())
            except BaseException:
                self._interest = before  # closing, which follows, must not look for what is not watched
                raise

    def _redirect(self) -> None:
        """Have the poller call the channel that fits from now on, if it watches at all."""
        if self._interest and self._loop._selector is not None:
            self._loop._selector.redirect(self._fd, self._channel())

    def _channel(self) -> Channel:
        return self._receiver() if self._interest == self._loop._selector.READ else self._both

    def _receiver(self) -> Channel:
        if not self._listening:
            return self._unwanted
        return self._readable_into if self._buffered else self._readable

    def _start_receiving(self) -> None:
        """Receive until told to stop.

        Lifetime: nothing is left with the kernel; the poller holds this transport, by its channel, until
        :meth:`_withdraw` or until an event finds that nothing is wanted.
        """
        self._listening = True
        self._watch(self._interest | self._loop._selector.READ)

    def _stop_receiving(self) -> None:
        """Pausing and resuming cost no system call unless something arrives in between: see :meth:`_unwanted`."""
        if self._listening:
            self._listening = False
            self._redirect()

    def _submit_send(self) -> None:
        """Send ``_head`` when there is room.

        Lifetime: the transport holds the bytes, the poller the transport, until the channel has reported.
        """
        self._watch(self._interest | self._loop._selector.WRITE)

    def _has_more_to_receive(self) -> bool:
        more = b""
        if self._listening and self._sock is not None:
            with contained:  # what fails here has nothing more
                more = self._sock.recv(1, socket.MSG_PEEK)
        return bool(more)

    def _withdraw(self) -> bool:
        self._watch(0)
        return True

    def _readable(self, _mask: int) -> None:
        try:
            data = self._sock.recv(MOST)  # type: ignore[union-attr]
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._receive_failed(exc)
            return
        if not data:
            self._end_of_file()
            return
        self._received(data)

    def _readable_into(self, _mask: int) -> None:
        buffer = self._borrow()
        if buffer is None or self._sock is None:
            return
        try:
            count = self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # a buffer that is read-only, or none, among others
            self._receive_failed(exc)
            return
        if count:
            self._filled(count)
        else:
            self._end_of_file()

    def _unwanted(self, _mask: int) -> None:
        """Something arrived while nothing is wanted: do not watch for it until it is."""
        self._watch(self._interest & ~self._loop._selector.READ)
        if not self._interest:
            self._loop._transports[self._fd] = self  # still taken, as far as add_reader is concerned

    def _writable(self, _mask: int) -> None:
        self._sent(0)
        if not self._sending:
            self._watch(self._interest & ~self._loop._selector.WRITE)

    def _both(self, mask: int) -> None:
        read, write = self._loop._selector.READ, self._loop._selector.WRITE
        if mask & ~write and self._interest & read:  # first: a send that fails ends the connection
            self._receiver()(mask)
        if mask & ~read and self._interest & write:  # there is room, or an error that sending tells
            self._writable(mask)


class ReadinessAcceptor(Acceptor):
    """Accepts until the queue is empty, a bounded number in a turn."""

    __slots__ = ("_accepting",)

    def __init__(self, loop: Any, sock: socket.socket, *args: Any) -> None:
        super().__init__(loop, sock, *args)
        self._accepting = False

    def _start_accepting(self) -> None:
        """Accept whenever a connection is waiting."""
        poller = self._loop._selector
        poller.watch(self._sock.fileno(), poller.READ, self._readable)
        self._accepting = True

    def _stop_accepting(self) -> None:
        self._accepting = False
        poller = self._loop._selector
        fd = self._sock.fileno()
        if poller is not None and poller.watcher(fd) is self:  # the loop is not closed, nor the socket behind our back
            poller.forget(fd)

    def _readable(self, _mask: int) -> None:
        accept = self._sock.accept
        for _ in range(ACCEPTS_A_TURN):
            conn = None
            try:
                conn, peer = accept()
                conn.setblocking(False)
            except (BlockingIOError, InterruptedError):
                return
            except BaseException as exc:
                if conn is not None:
                    conn.close()
                if isinstance(exc, SystemExit | KeyboardInterrupt):
                    raise
                self.failed(exc)
            else:
                self.accepted(conn, peer)
            if not self._accepting:  # paused, or whoever got the connection wants no more, or has closed its server
                return


EventLoop._stream_class = ReadinessStream
EventLoop._acceptor_class = ReadinessAcceptor


def _call(channel: Channel, mask: int) -> None:
    channel(mask)


def _file_descriptor(file: Any) -> int:
    try:
        return int(file.fileno())
    except (AttributeError, TypeError, ValueError):
        raise ValueError(f"Invalid file object: {file!r}") from None
