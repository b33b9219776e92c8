"""How a datagram transport receives and waits until it can send: on a readiness loop, and on a completion loop."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.stock.datagram import BURST, DatagramTransport

__all__ = ["open_transport"]

#: Seconds for which reading stops when the socket gives nothing but errors.
ERROR_BACKOFF: Final = 0.1
#: Seconds after which sending is tried again on a proactor loop, which cannot wait until a socket is writable.
_POLL_INTERVAL: Final = 0.001


def open_transport(protocol: asyncio.DatagramProtocol, sock: socket.socket) -> DatagramTransport:
    """Start a transport for ``protocol`` on a bound, non-blocking ``sock``, which it will close.

    ``protocol.connection_made`` is called in the next iteration of the loop.
    """
    loop = asyncio.get_running_loop()
    kind = _CompletionTransport if is_proactor(loop) else _ReadinessTransport
    return kind(loop, protocol, sock)


class _ReadinessTransport(DatagramTransport):
    """Makes non-blocking calls when the loop reports that the socket is readable or writable."""

    _reading = False

    def _start_reading(self) -> None:
        self._reading = True
        self._loop.add_reader(self._sock, self._readable)

    def _stop_reading(self) -> None:
        self._reading = False
        self._loop.remove_reader(self._sock)

    def _report(self, error: OSError) -> None:
        super()._report(error)
        if self._reading:
            # libuv, and so uvloop, stops watching a socket after an error on it, and does not report that.
            self._stop_reading()
            self._start_reading()

    def _readable(self) -> None:
        if self._read_burst() and not self._closing:
            self._stop_reading()
            self._loop.call_later(ERROR_BACKOFF, self._end_backoff)

    def _end_backoff(self) -> None:
        if not self._closing:
            self._start_reading()

    def _start_writing(self) -> None:
        self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        if self._flush():
            self._loop.remove_writer(self._sock)
            self._wake_writers()

    def _release_socket(self) -> None:
        self._loop.remove_writer(self._sock)


class _CompletionTransport(DatagramTransport):
    """One task receives as long as the transport lives; another sends what is queued, while there is anything."""

    _reader: asyncio.Task[None] | None = None
    _writer: asyncio.Task[None] | None = None

    def _start_reading(self) -> None:
        self._reader = self._loop.create_task(self._read(), name="receive datagrams")

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        """Wait for one datagram, then read those that came with it.

        Lifetime: the loop keeps the OVERLAPPED and the buffer until the receive has completed, cancelled or not. The
        socket is closed after this task has ended.
        """
        completed = 0
        while not self._closing:
            try:
                size, addr = await self._loop.sock_recvfrom_into(self._sock, self._buffer)
            except OSError as error:
                back_off = self._receive_failed(error)
            else:
                if addr is not None:
                    self._received(size, addr)
                    back_off = self._read_burst()
                else:  # so the stock proactor reports an ICMP error
                    back_off = self._receive_failed(ConnectionResetError("an earlier datagram was not delivered"))
            completed += 1
            if back_off:
                await asyncio.sleep(ERROR_BACKOFF)
            elif completed % BURST == 0:
                await asyncio.sleep(0)  # a receive that completes at once does not let other tasks run

    def _start_writing(self) -> None:
        self._writer = self._loop.create_task(self._write(), name="send datagrams")

    async def _write(self) -> None:
        """Send what is queued, each datagram by an overlapped send; the non-blocking try has just failed."""
        while self._queue:
            item = data, addr = self._queue[0]
            try:
                if addr is None:
                    await self._loop.sock_sendall(self._sock, data)
                else:
                    await self._loop.sock_sendto(self._sock, data, addr)
            except OSError as error:
                self._report(error)
            self._sent(item)
        if self._waiters:
            # Without a send there is no completion that says the socket is writable again; so they try again soon.
            await asyncio.sleep(_POLL_INTERVAL)
        self._wake_writers()
        if self._queue:
            self._watch_writable()

    def _release_socket(self) -> asyncio.Task[None] | None:
        for task in (self._reader, self._writer):
            if task is not None and not task.done():
                task.cancel()
                return task
        return None
