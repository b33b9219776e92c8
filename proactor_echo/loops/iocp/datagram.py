"""A datagram transport driven by a completion port: several receives are outstanding, each with its own buffer."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.datagram is for Windows only")

import ctypes
import socket
from typing import TYPE_CHECKING, Any, Final

from proactor_echo.loops.datagram import DatagramTransport
from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.iocp.lifetimes import IDLE, PENDING, CompletionTransport, Operation, State
from proactor_echo.loops.iocp.operations import RepeatedReceive, Send, error_from, failure
from proactor_echo.loops.sockaddr import unpack_address

if TYPE_CHECKING:
    from proactor_echo.loops.iocp.port import BatchProactor

#: Outstanding receives of one endpoint, so that datagrams which come while the protocol runs find a buffer.
OUTSTANDING: Final = 4

#: Bytes of a receive buffer. The largest UDP payload is 65,507 over IPv4 and 65,527 over IPv6 (RFC 768, RFC 8200).
SLOT: Final = 65536

#: Seconds after which a sender waiting in ``wait_writable``, with nothing queued, tries again.
POLL_INTERVAL: Final = 0.001

#: Source addresses remembered in parsed form, so that a peer's second datagram costs no parsing.
KNOWN_ADDRESSES: Final = 1024


class DatagramReceive(RepeatedReceive):
    """One of the receives of an endpoint, submitted again and again into the same buffer."""

    __slots__ = ("_generation", "_pin", "_source", "_view")

    def __init__(self, proactor: BatchProactor, handle: int) -> None:
        block = winapi.DatagramOperation()
        super().__init__(proactor, handle, block)
        memory = bytearray(SLOT)
        self._view = memoryview(memory)
        self._pin = ctypes.c_char.from_buffer(memory)
        block.buffer.len = SLOT
        block.buffer.buf = ctypes.addressof(self._pin)
        self._source = memoryview(block).cast("B")[winapi.ADDRESS_OFFSET :]
        self._generation = 0

    def submit(self) -> None:
        """Submit the receive to the kernel, if it is still wanted; an error is reported in the next iteration.

        Lifetime: the proactor's registry holds this object, and it holds the block and the buffer, until it has
        completed, whatever becomes of the transport. The socket is closed after that.
        """
        self._due = False
        transport = self._transport
        if transport is None:
            return  # closed in the iteration in which it became due
        if transport._paused or transport._closing or transport._backing_off:
            self._transport = None
            return
        self._generation = transport._generation
        block, address = self._block, self._address
        block.flags = 0
        block.address_length = winapi.ADDRESS_SIZE
        proactor = self._proactor
        self.state = PENDING
        proactor.keep(address, self)
        try:
            refused = winapi.WSARecvFrom(
                self._handle,
                address + winapi.BUFFER_OFFSET,
                1,
                0,
                address + winapi.FLAGS_OFFSET,
                address + winapi.ADDRESS_OFFSET,
                address + winapi.ADDRESS_LENGTH_OFFSET,
                address,
                0,
            )
        except (SystemExit, KeyboardInterrupt):
            raise  # the call may have been made
        except BaseException:
            proactor.drop(address)
            self.state = IDLE
            raise
        if refused:
            code = winapi.get_last_error()
            if code != winapi.WSA_IO_PENDING:
                proactor.drop(address)
                self.state = IDLE
                self._transport = None
                transport._loop.call_soon(transport._refused, error_from(code), self._generation)

    def done(self, count: int) -> None:
        """Completion: one datagram, perhaps empty, or an error that an earlier send is answered with (ICMP)."""
        self.state: State = IDLE
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if transport._cancelled:
            transport._one_completed()
            return
        try:
            if status := self._overlapped.Internal:
                transport._receive_erred(failure(self._handle, self._address, status), self._generation)
            else:
                transport._errors = 0
                data = bytes(self._view[:count])
                source = transport._address or transport._source(bytes(self._source[: self._block.address_length]))
                transport._received(((data, source),))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # no memory for what has arrived, say
            transport._fatal_error(exc, "Fatal read error on datagram transport")
        finally:
            if not (transport._paused or transport._closing or transport._backing_off):
                self.submit_soon(transport)


class IocpDatagrams(CompletionTransport, DatagramTransport):
    """A datagram transport driven by completions."""

    def __init__(self, loop: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        # Completions are not skipped on success: libuv and .NET know of Windows versions that lose completions of
        # datagram sockets in that mode.
        loop._proactor.watch(sock)
        super().__init__(loop, sock, *args, **kwargs)
        self._receives = [DatagramReceive(loop._proactor, sock.fileno()) for _ in range(OUTSTANDING)]
        self._sources: dict[bytes, Any] = {}
        self._send: Send | None = None
        self._cancelled = False
        self._outstanding = 0
        self._generation = 0  # goes up with each error that is reported
        self._last_reported: Any = None  # the number of that error

    # -- receiving -----------------------------------------------------------------------------------------------

    def _start_receiving(self) -> None:
        """Receive until :meth:`_stop_receiving`. Lifetime: as :meth:`DatagramReceive.submit`."""
        for receive in self._receives:
            receive.submit_soon(self)

    def _stop_receiving(self) -> None:
        """Nothing to do: outstanding receives stay, and the transport holds back what they bring while paused."""

    def _refused(self, exc: OSError, generation: int) -> None:
        if not self._closing:
            self._receive_erred(exc, generation)
            self._receive_on()

    def _receive_erred(self, exc: OSError, generation: int) -> None:
        """Report the error to the protocol, and go on receiving (gh-91227, gh-127057).

        One ICMP message may fail every outstanding receive. They are of one generation, and only the first is reported.
        """
        self._back_off_if_many_errors()
        if generation == self._generation or exc.winerror != self._last_reported:
            self._generation += 1
            self._last_reported = exc.winerror
            self._errored(exc)

    def _source(self, raw: bytes) -> tuple[Any, ...]:
        """Give the source address as the socket module does, from the bytes of a SOCKADDR."""
        address = self._sources.get(raw)
        if address is None:
            address = unpack_address(raw) if raw else self._extra["peername"]
            if len(self._sources) >= KNOWN_ADDRESSES:
                self._sources.clear()
            self._sources[raw] = address
        return address

    # -- sending -------------------------------------------------------------------------------------------------

    def _submit_send(self) -> None:
        """Send the first of the queue; if it is empty, try again soon. Lifetime: as :meth:`Send.submit`."""
        if not self._queue:
            # Without a send there is no completion that says the socket is writable again; so they try again soon.
            self._loop.call_later(POLL_INTERVAL, self._maybe_writable)
            return
        data, address = self._queue[0]
        sock: Any = self._sock
        send = Send(self._send_done)
        try:
            if self._connected:
                send.submit(self._loop._proactor, sock, data)
            else:
                send.submit_to(self._loop._proactor, sock, data, self._address if address is None else address)
        except OSError as exc:
            self._loop.call_soon(self._send_refused, exc)
        else:
            self._send = send

    def _maybe_writable(self) -> None:
        if not self._cancelled:
            self._sent(0)

    def _send_refused(self, exc: OSError) -> None:
        if not self._cancelled:
            self._send_failed(exc)

    def _send_done(self, count: int, exc: BaseException | None) -> None:
        self._send = None
        if self._cancelled:
            self._one_completed()
        elif isinstance(exc, OSError):
            self._send_failed(exc)
        elif exc is not None:
            self._fatal_error(exc, "Fatal write error on datagram transport")
        else:
            self._sent(1)

    # -- closing -------------------------------------------------------------------------------------------------

    def _operations(self) -> list[Operation]:
        return [*self._receives] if self._send is None else [*self._receives, self._send]
