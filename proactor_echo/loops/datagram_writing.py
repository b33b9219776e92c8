"""The sending half of a datagram transport: system call, queue, flow control, errors."""

from __future__ import annotations

import abc
import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops import private
from proactor_echo.loops.datagram_protocol import NotSentProtocol
from proactor_echo.loops.engine import DatagramCompletions, DatagramEngine
from proactor_echo.loops.stream_writing import LOG_AFTER
from proactor_echo.sockets.icmp import send_again

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from contextvars import Context

logger: logging.Logger = logging.getLogger("asyncio")

#: Bytes that a queued datagram counts besides its own, as in asyncio from 3.14: empty ones use memory too.
OVERHEAD: Final = 8


class DatagramWriter(private.FlowControlMixin, asyncio.DatagramTransport, DatagramEngine, DatagramCompletions):
    """The sending half of a datagram transport. The receiving half, and closing, are in its subclass."""

    _loop: Any
    _sock: socket.socket | None
    _protocol: Any
    _context: Context
    _address: Any
    _connected: bool
    _extra: dict[str, Any]
    _size: int
    _sending: bool
    _flushing: bool
    _conn_lost: int
    _senders: list[asyncio.Future[None]]
    _protocol_paused: bool
    _high_water: int

    # -- what the engine reports ---------------------------------------------------------------------------------

    def _errored(self, exc: OSError) -> None:
        """Engine: a receive, or a send, brought this error; the endpoint goes on."""
        if self._conn_lost or self._protocol is None:
            return
        try:
            self._context.copy().run(self._protocol.error_received, exc)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as failure:
            self._callback_failed(failure, "error_received")

    def _not_sent(self, data: bytes, addr: Any, exc: OSError) -> None:
        """Report a datagram that the system refused: to a :class:`NotSentProtocol` first, then its error."""
        if isinstance(self._protocol, NotSentProtocol):
            try:
                self._protocol.datagram_not_sent(data, addr)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as failure:
                self._callback_failed(failure, "datagram_not_sent")
        self._errored(exc)

    def _first_not_sent(self, exc: OSError) -> None:
        data, addr = self._queue[0]
        self._take(1)
        self._not_sent(data, addr, exc)

    def _sent(self, count: int) -> None:
        """Engine: the system took the first ``count`` of the queue, or (0) is writable again; none is pending."""
        self._sending = False
        self._take(count)
        self._flush()
        if self._senders:
            self._wake_senders()

    def _send_failed(self, exc: OSError) -> None:
        """Engine: the first of the queue could not be sent; the rest still can."""
        self._sending = False
        self._first_not_sent(exc)
        self._flush()
        if self._senders:
            self._wake_senders()

    # -- sending -------------------------------------------------------------------------------------------------

    def sendto(self, data: bytes | bytearray | memoryview[Any], addr: Any = None) -> None:
        """Send one datagram, to ``addr`` or to the address this endpoint is connected to. It may be empty."""
        if type(data) is not bytes:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if self._address and addr is not None and addr != self._address:
            raise ValueError(f"Invalid address: must be None or {self._address}")
        if self._closing:
            if self._address and self._conn_lost:
                if self._conn_lost >= LOG_AFTER:
                    logger.warning("socket.send() raised exception.")
                self._conn_lost += 1
            return
        if not self._queue:  # else after those that wait
            sock: Any = self._sock
            try:  # what _offer does, without the queue: the usual case
                if self._connected:
                    sock.send(data)
                else:
                    sock.sendto(data, self._address if addr is None else addr)
                return
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as exc:
                self._not_sent(data, addr, exc)
                return
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:  # an address the socket module cannot use
                self._fatal_error(exc, "Fatal write error on datagram transport")
                return
        self._queue.append((data, addr))
        self._size += len(data) + OVERHEAD
        self._flush()

    def sendto_many(self, datagrams: Sequence[tuple[bytes, Any]]) -> None:
        """Send pairs of data and address, like so many calls of :meth:`sendto`; the data must be ``bytes``."""
        if self._address or self._closing:
            for data, addr in datagrams:
                self.sendto(data, addr)
            return
        self._size += sum([len(data) for data, _ in datagrams]) + OVERHEAD * len(datagrams)
        self._queue.extend(datagrams)
        self._flush()

    def try_send(self, data: bytes, addr: Any = None) -> bool:
        """Send one datagram now; False when it would block. Raises the system's error about *this* datagram.

        Nothing is queued: after False the datagram is not sent. Errors of earlier ones go to ``error_received``.
        """
        sock: Any = self._sock
        if self._queue or sock is None:
            return False
        try:
            if addr is None:
                sock.send(data)
            else:
                sock.sendto(data, addr)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError as error:
            return send_again(sock, data, addr, error, self._errored)
        return True

    async def wait_writable(self) -> None:
        """Wait until :meth:`try_send` is worth another try, or the endpoint is closing."""
        if self._closing:
            return
        waiter = self._loop.create_future()
        self._senders.append(waiter)
        try:
            if not self._sending:
                self._watch_writable()
            await waiter
        finally:
            self._senders.remove(waiter)

    def _wake_senders(self) -> None:
        for waiter in self._senders:
            if not waiter.done():
                waiter.set_result(None)

    def get_write_buffer_size(self) -> int:
        """Bytes queued, and 8 for each datagram."""
        return self._size

    def _flush(self) -> None:
        """Offer the system what is queued, and wait until it is writable for what it does not take now.

        Lifetime: the queue keeps a datagram until it is sent or has failed.
        """
        if self._flushing:  # called from error_received, by way of the loop below, which sends the rest
            return
        self._flushing = True
        try:
            while self._queue and not (self._sending or self._conn_lost):
                try:
                    count = self._offer()
                except (BlockingIOError, InterruptedError):
                    count = 0
                except OSError as exc:
                    self._first_not_sent(exc)
                    continue
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:  # an address the socket module cannot use
                    self._fatal_error(exc, "Fatal write error on datagram transport")
                    return
                if count:
                    self._take(count)
                else:
                    self._watch_writable()
        finally:
            self._flushing = False
        if self._protocol_paused:
            self._maybe_resume_protocol()
        elif self._size > self._high_water:
            self._maybe_pause_protocol()
        if self._closing and not self._queue and not self._conn_lost:
            self._finish(None)

    def _watch_writable(self) -> None:
        """Give the engine the first of the queue; if that is empty it only waits until it can send (wait_writable)."""
        self._sending = True
        try:
            self._submit_send()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # the system cannot watch one more descriptor, for example
            self._fatal_error(exc, "Fatal write error on datagram transport")

    def _take(self, count: int) -> None:
        queue = self._queue
        if count >= len(queue):
            queue.clear()
            self._size = 0
            return
        for _ in range(count):
            self._size -= len(queue.popleft()[0]) + OVERHEAD

    def _offer(self) -> int:
        """Send as many of the queue as the system takes without blocking: how many, or an error of the first."""
        data, address = self._queue[0]
        sock: Any = self._sock
        if self._connected:
            sock.send(data)
        else:
            sock.sendto(data, self._address if address is None else address)
        return 1

    # -- what the subclass adds ----------------------------------------------------------------------------------

    @abc.abstractmethod
    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """End the endpoint because of ``exc``."""

    @abc.abstractmethod
    def _callback_failed(self, exc: BaseException, name: str) -> None:
        """Report what a method of the protocol raised; the endpoint goes on."""

    @abc.abstractmethod
    def _finish(self, exc: BaseException | None) -> None:
        """Nothing more is to be sent: end the endpoint."""
