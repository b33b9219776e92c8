"""How a datagram transport reads and waits: on a readiness loop, and on a completion loop."""

from __future__ import annotations

import asyncio
import socket

from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.stock.datagram import BURST, DatagramTransport

__all__ = ["open_transport"]

#: Seconds that reading rests when the socket gives nothing but errors.
REST = 0.1
#: Seconds after which a proactor loop, which cannot wait for room in the socket's buffer, asks again.
_ASK_AGAIN = 0.001


def open_transport(protocol: asyncio.DatagramProtocol, sock: socket.socket) -> DatagramTransport:
    """Start a transport for ``protocol`` on a bound, non-blocking ``sock``, which it will close.

    ``protocol.connection_made`` is called in the next turn of the loop.
    """
    loop = asyncio.get_running_loop()
    kind = _CompletionTransport if is_proactor(loop) else _ReadinessTransport
    return kind(loop, protocol, sock)


class _ReadinessTransport(DatagramTransport):
    """Told by the loop that the socket is readable or writable, it makes plain non-blocking calls."""

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
            # libuv, and so uvloop, watches a socket no more once that had an error, and does not say so.
            self._stop_reading()
            self._start_reading()

    def _readable(self) -> None:
        if self._read_burst() and not self._closing:
            self._stop_reading()
            self._loop.call_later(REST, self._rested)

    def _rested(self) -> None:
        if not self._closing:
            self._start_reading()

    def _start_waiting(self) -> None:
        self._loop.add_writer(self._sock, self._writable)

    def _writable(self) -> None:
        if self._drain():
            self._loop.remove_writer(self._sock)
            self._has_room()

    def _settle(self) -> None:
        self._loop.remove_writer(self._sock)


class _CompletionTransport(DatagramTransport):
    """One task receives as long as the transport lives; another sends what is queued, while anything is."""

    _reader: asyncio.Task[None] | None = None
    _writer: asyncio.Task[None] | None = None

    def _start_reading(self) -> None:
        self._reader = self._loop.create_task(self._read(), name="receive datagrams")

    def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()

    async def _read(self) -> None:
        """Wait for one datagram, then take those that came with it.

        Lifetime: the loop keeps the OVERLAPPED and the buffer until the receive has completed, cancelled or not. The
        socket is closed after this task has ended.
        """
        completed = 0
        while not self._closing:
            try:
                size, addr = await self._loop.sock_recvfrom_into(self._sock, self._buffer)
            except OSError as error:
                rest = self._receive_failed(error)
            else:
                if addr is not None:
                    self._received(size, addr)
                    rest = self._read_burst()
                else:  # how the stock proactor says that it swallowed an ICMP error
                    rest = self._receive_failed(ConnectionResetError("an earlier datagram was not delivered"))
            completed += 1
            if rest:
                await asyncio.sleep(REST)
            elif completed % BURST == 0:
                await asyncio.sleep(0)  # a receive that completes at once does not let others run

    def _start_waiting(self) -> None:
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
            # No completion tells that a socket has room again without sending something; so let them ask again soon.
            await asyncio.sleep(_ASK_AGAIN)
        self._has_room()
        if self._queue:
            self._wait_for_room()

    def _settle(self) -> asyncio.Task[None] | None:
        for task in (self._reader, self._writer):
            if task is not None and not task.done():
                task.cancel()
                return task
        return None
