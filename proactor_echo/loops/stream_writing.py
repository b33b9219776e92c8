"""Writing, the same for both engines: ``write()`` gives the bytes to the system before it returns, if it takes them.

A program may compute, block or end right after ``write()``, and asyncio's own transports send at once too. What the
system does not take is kept, in order, and given to the engine, which reports when it is sent or the socket is writable
again. The transport does not join small writes: a caller that has several joins them (``writelines``, or one ``write``
for all frames of a read, as the layers above do).

::

    nothing kept --write--> nothing kept           the system took everything
                      |
                      +---> kept, engine sending   it did not: the engine has the rest, later writes go behind it
                               |
                               +--_sent--> nothing kept, or the next part
"""

from __future__ import annotations

import abc
import asyncio
import logging
import socket
import sys
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.engine import StreamCompletions, StreamEngine

if TYPE_CHECKING:
    from collections.abc import Iterable

logger: logging.Logger = logging.getLogger("asyncio")

#: Bytes joined for one send, at most: each byte is copied at most once, and never megabytes at a time.
MAX_JOINED: Final = 64 * 1024
#: Bytes offered in one send, at most. Winsock takes a send whole, however long, while it holds less than SO_SNDBUF:
#: such bytes are in the kernel's memory, do not count for ``pause_writing`` and close, and are not dropped by an abort.
MAX_SEND: Final = 256 * 1024 if sys.platform == "win32" else sys.maxsize
#: Writes after the connection was lost that are not logged (asyncio.constants, the same number).
LOG_AFTER: Final = 5


class Contained:
    """``with contained:`` suppresses exceptions, SystemExit and KeyboardInterrupt apart, where failing is harmless."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> bool:
        return kind is not None and not issubclass(kind, SystemExit | KeyboardInterrupt)


contained: Contained = Contained()


class BufferedWriter(private.FlowControlMixin, StreamEngine, StreamCompletions):
    """The writing half of a stream transport. The reading half, and closing, are in its subclass."""

    __slots__ = (
        "_conn_lost",
        "_empty_waiter",
        "_eof",
        "_head",
        "_may_write",
        "_sending",
        "_size",
        "_sock",
        "_tail",
    )

    _sock: socket.socket | None
    _failure: BaseException | None

    def _init_writing(self) -> None:
        self._head = b""  # the first bytes to send
        self._tail: list[bytes] | None = None  # those behind it
        self._size = 0  # bytes in both
        self._sending = False  # the engine has _head
        self._may_write = True
        self._eof = False
        self._conn_lost = 0
        self._empty_waiter: asyncio.Future[None] | None = None

    # -- the asyncio API -----------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send ``data`` after everything written before it; above the high-water mark the protocol is paused."""
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)  # the caller may change it before it is sent
        if not self._may_write and not self._write_is_due(data):
            return
        if self._size:
            self._join(data)
            return
        if not data:
            return
        size = len(data)
        if size > MAX_SEND:
            self._head = data
            self._size = size
            self._flush()
        else:
            try:
                count = self._sock.send(data)  # type: ignore[union-attr]  # there is one while writing is allowed
            except (BlockingIOError, InterruptedError):
                count = 0
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._send_failed(exc)
                return
            if count == size:
                return
            self._head = data
            self._size = size
            if not self._took(count):
                self._flush()

    def _join(self, data: bytes) -> None:
        """Put ``data`` behind what is kept."""
        if self._tail is None:
            self._tail = [data]
        else:
            self._tail.append(data)
        self._size += len(data)
        if not self._sending:
            self._flush()
        if self._size > self._high_water:
            self._maybe_pause_protocol()

    def writelines(self, list_of_data: Iterable[bytes | bytearray | memoryview[Any]]) -> None:
        """Send these one after the other, in one send where that is possible."""
        self.write(b"".join(list_of_data))

    def write_eof(self) -> None:
        """Send what was written, then our own end of file; receiving goes on."""
        if self._closing or self._eof:
            return
        self._eof = True
        self._may_write = False
        if not self._size:
            self._shutdown_writing()
        elif not self._sending:
            self._flush()

    def can_write_eof(self) -> bool:
        """Return True: a socket can be closed one way."""
        return True

    def get_write_buffer_size(self) -> int:
        """Bytes written and not yet taken by the system."""
        return self._size

    # -- sending -------------------------------------------------------------------------------------------------

    def _flush(self) -> None:
        """Offer the system what is buffered; give the engine what it does not take now.

        Lifetime: ``_head`` keeps the bytes until the engine's :meth:`_sent`; an engine that leaves them to the kernel
        also keeps its own reference until that completion, since ``_head`` goes when the connection is aborted.
        """
        sock = self._sock
        while sock is not None and self._size:
            data = self._head if self._tail is None else self._gather()
            if self._size > MAX_SEND:
                data = memoryview(data)[:MAX_SEND]
            try:
                count = sock.send(data)
            except (BlockingIOError, InterruptedError):
                count = 0
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._send_failed(exc)
                return
            if count == self._size:
                self._head = b""
                self._size = 0
                if self._protocol_paused or self._closing or not self._may_write:
                    self._drained()
                return
            if self._took(count):
                return

    def _took(self, count: int) -> bool:
        """Note that the system took ``count`` bytes of ``_head``, not all; False when to offer it the next at once."""
        if self._advance(count) or count == MAX_SEND:
            return False
        self._loop._check_closed()  # a closed loop has no engine to give the rest to
        self._sending = True
        try:
            self._submit_send()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the system cannot watch one more descriptor, for example
            self._send_failed(exc)
            return True
        if self._protocol_paused:
            self._maybe_resume_protocol()
        elif self._size > self._high_water:
            self._maybe_pause_protocol()
        return True

    def _sent(self, count: int) -> None:
        """Engine: the system took ``count`` bytes of ``_head``, or (0) is writable again. Nothing is pending now."""
        self._sending = False
        if not self._size:
            return  # aborted meanwhile
        self._advance(count)
        if self._size:
            self._flush()
        else:
            self._drained()

    def _send_failed(self, exc: BaseException) -> None:
        """Engine: a send failed, so the connection ends, as soon as the data that the peer sent before is delivered.

        What the peer sent before it reset the connection can still be received then, and no later send succeeds.
        """
        if self._conn_lost:
            return  # ended meanwhile
        self._drop_writes()
        self._sending = self._may_write = False
        waiter = self._empty_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc)
        if self._has_more_to_receive():
            self._failure = exc
            self._loop.call_soon(self._send_failed, exc)
        else:
            self._fatal_error(exc, "Fatal write error on socket transport")

    def _advance(self, count: int) -> bool:
        """Take ``count`` sent bytes off ``_head``; whether that was all of it."""
        self._size -= count
        head = self._head
        if count < len(head):
            self._head = memoryview(head)[count:]
            return False
        self._head = b""  # what comes next is gathered when it is sent
        return True

    def _gather(self) -> bytes | memoryview:
        """Join small writes to one: cheaper than many, and than an iovec for each."""
        head, tail = self._head, self._tail
        if tail is None or len(head) >= MAX_JOINED:
            return head
        if self._size <= MAX_JOINED:
            self._tail = None
            self._head = joined = b"".join((head, *tail))
            return joined
        size, taken = len(head), 0
        for chunk in tail:
            size += len(chunk)
            taken += 1
            if size >= MAX_JOINED:
                break
        self._head = joined = b"".join((head, *tail[:taken]))
        del tail[:taken]
        if not tail:
            self._tail = None
        return joined

    def _drained(self) -> None:
        """Go on after the system has taken all pending output."""
        if self._protocol_paused:
            self._maybe_resume_protocol()
            if self._size:
                return
        waiter = self._empty_waiter
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if self._closing:
            if not self._conn_lost:
                self._finish(None)
        elif self._eof:
            self._shutdown_writing()

    def _shutdown_writing(self) -> None:
        if self._sock is not None:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass  # the peer may be gone already; then the outstanding receive fails
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._fatal_error(exc, "Fatal error on shutting down the sending side of a socket transport")

    def _drop_writes(self) -> None:
        self._head = b""
        self._tail = None
        self._size = 0

    def _write_is_due(self, data: bytes) -> bool:
        """Handle a write that is not allowed: raise, or count it and return False."""
        if self._eof:
            raise RuntimeError("Cannot call write() after write_eof()")
        if self._empty_waiter is not None:
            raise RuntimeError("unable to write; sendfile is in progress")
        if data:
            if self._conn_lost >= LOG_AFTER:
                logger.warning("socket.send() raised exception.")
            self._conn_lost += bool(self._conn_lost)
        return False

    # -- sendfile ------------------------------------------------------------------------------------------------

    def _make_empty_waiter(self) -> asyncio.Future[None]:
        """Return a future done when the write buffer is empty; writing is refused until :meth:`_reset_empty_waiter`."""
        if self._empty_waiter is not None:
            raise RuntimeError("Empty waiter is already set")
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._empty_waiter = waiter
        self._may_write = False
        if not self._size:
            waiter.set_result(None)
        return waiter

    def _reset_empty_waiter(self) -> None:
        self._empty_waiter = None
        self._may_write = not (self._conn_lost or self._eof or self._failure is not None)

    def _fail_empty_waiter(self, exc: BaseException | None) -> None:
        waiter = self._empty_waiter
        if waiter is not None and not waiter.done():
            waiter.set_exception(exc or ConnectionError("Connection is closed by peer"))

    # -- what the subclass adds ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _fatal_error(self, exc: BaseException, message: str = "") -> None:
        """End the connection because of ``exc``."""

    @abc.abstractmethod
    def _finish(self, exc: BaseException | None) -> None:
        """Nothing more is to be sent: end the connection."""
