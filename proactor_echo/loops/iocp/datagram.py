"""A datagram transport driven by a completion port: several receives wait with the kernel, each with its own buffer."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.datagram is for Windows only")

import ctypes
import socket
import struct
from typing import Any

from proactor_echo.loops.datagram import DatagramTransport
from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.iocp.operations import Send, error_from, failure
from proactor_echo.loops.stream_writing import contained

OUTSTANDING = 4
"""Receives of one endpoint with the kernel: datagrams that come while the protocol works on one find a buffer."""

SLOT = 65536
"""Bytes of a receive buffer. The largest UDP payload is 65,507 over IPv4 and 65,527 over IPv6 (RFC 768, RFC 8200)."""

ERRORS_IN_A_ROW = 64
"""Failed receives in a row before the next waits :data:`PAUSE`: the fault is then the socket's, not a peer's."""

PAUSE = 0.1
"""Seconds."""

ASK_AGAIN = 0.001
"""Seconds after which one who waits for room, with nothing queued, tries again."""

KNOWN_ADDRESSES = 1024
"""Source addresses remembered in parsed form, so that a peer's second datagram costs no parsing."""


class DatagramReceive:
    """One of the receives of an endpoint, submitted again and again into the same buffer."""

    __slots__ = (
        "_address",
        "_block",
        "_due",
        "_era",
        "_handle",
        "_overlapped",
        "_pin",
        "_source",
        "_transport",
        "_view",
        "pending",
    )

    def __init__(self, handle: int) -> None:
        memory = bytearray(SLOT)
        self._view = memoryview(memory)
        self._pin = ctypes.c_char.from_buffer(memory)
        self._block = winapi.DatagramOperation()
        self._overlapped = self._block.overlapped  # shares the memory of the block
        self._block.buffer.len = SLOT
        self._block.buffer.buf = ctypes.addressof(self._pin)
        self._source = memoryview(self._block).cast("B")[winapi.ADDRESS_OFFSET :]
        self._address = ctypes.addressof(self._block)
        self._handle = handle
        self._transport: Any = None
        self._due = False
        self._era = 0
        self.pending: bool = False

    def submit_soon(self, transport: IocpDatagrams) -> None:
        """Submit when this turn is over. This holds `transport` until the completion, and no longer."""
        if not (self.pending or self._due):
            self._due = True
            self._transport = transport
            transport._loop._proactor.submit_soon(self)

    def submit(self) -> None:
        """Leave the receive with the kernel, if it is still wanted; an error is reported in the next turn.

        Lifetime: the proactor's registry holds this object, and it the block and the buffer, until it has completed,
        whatever becomes of the transport. The socket is closed after that.
        """
        self._due = False
        transport = self._transport
        if transport is None:
            return  # closed in the turn it became due
        if transport._paused or transport._closing or transport._waiting:
            self._transport = None
            return
        self._era = transport._era
        block, address = self._block, self._address
        block.flags = 0
        block.address_length = winapi.ADDRESS_SIZE
        proactor = transport._loop._proactor
        self.pending = True
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
            self.pending = False
            raise
        if refused:
            code = winapi.get_last_error()
            if code != winapi.WSA_IO_PENDING:
                proactor.drop(address)
                self.pending = False
                self._transport = None
                transport._loop.call_soon(transport._refused, error_from(code), self._era)

    def done(self, count: int) -> None:
        """Completion: one datagram, perhaps empty, or an error that an earlier send is answered with (ICMP)."""
        self.pending = False
        transport, self._transport = self._transport, None
        if transport is None:
            return
        if transport._withdrawn:
            transport._came_back()
            return
        try:
            if status := self._overlapped.Internal:
                transport._receive_erred(failure(self._handle, self._address, status), self._era)
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
            if not (transport._paused or transport._closing or transport._waiting):
                self.submit_soon(transport)

    def _fatal_error(self, exc: BaseException, message: str) -> None:
        """Loop: submitting let out what nobody expected, which ends the endpoint."""
        if self._transport is not None:
            self._transport._fatal_error(exc, message)

    def cancel(self) -> None:
        """Ask for it back."""
        winapi.CancelIoEx(self._handle, self._address)

    def withdraw(self) -> bool:
        """Have it back for good: True when the kernel has let go of it, else False and the transport is told later.

        Lifetime: the kernel may have let go and the packet still be queued; the registry holds this until it is taken.
        """
        if self.pending:
            asked = False
            with contained:  # what cannot be asked for comes back when the socket is closed
                self.cancel()
                asked = True
            if asked and self._overlapped.Internal == winapi.STATUS_PENDING:
                return False
        self._transport = None
        return True

    def discard(self) -> None:
        """Let go of the transport: the loop is gone, and what it brought is nobody's."""
        self.pending = False
        self._transport = None


class IocpDatagrams(DatagramTransport):
    """A datagram transport driven by completions."""

    def __init__(self, loop: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        # Not silently: libuv and .NET know of Windows versions that lose completions of datagram sockets in that mode.
        loop._proactor.watch(sock)
        super().__init__(loop, sock, *args, **kwargs)
        self._receives = [DatagramReceive(sock.fileno()) for _ in range(OUTSTANDING)]
        self._sources: dict[bytes, Any] = {}
        self._send: Send | None = None
        self._withdrawn = False
        self._out = 0  # operations the kernel still has after it was asked for them
        self._errors = 0  # in a row
        self._era = 0  # grows with each error told
        self._told: Any = None  # the number of the last
        self._waiting = False

    # -- receiving -----------------------------------------------------------------------------------------------

    def _start_receiving(self) -> None:
        """Receive until told to stop. Lifetime: as :meth:`DatagramReceive.submit`."""
        for receive in self._receives:
            receive.submit_soon(self)

    def _stop_receiving(self) -> None:
        """Nothing to do: a receive that is out stays out, and what it brings while paused is held by the transport."""

    def _refused(self, exc: OSError, era: int) -> None:
        if not self._closing:
            self._receive_erred(exc, era)
            if not self._paused:
                self._start_receiving()

    def _receive_erred(self, exc: OSError, era: int) -> None:
        """Tell the protocol, and go on receiving (gh-91227, gh-127057); after many errors in a row, with pauses.

        One ICMP message may fail every receive that is out: those of the era before the last one told say nothing new.
        """
        self._errors += 1
        if self._errors % ERRORS_IN_A_ROW == 0 and not self._waiting:
            self._waiting = True
            self._loop.call_later(PAUSE, self._go_on)
        if era == self._era or exc.winerror != self._told:
            self._era += 1
            self._told = exc.winerror
            self._errored(exc)

    def _go_on(self) -> None:
        self._waiting = False
        if not (self._paused or self._closing):
            self._start_receiving()

    def _source(self, raw: bytes) -> Any:
        """Give the source address as the socket module does, from the bytes of a SOCKADDR."""
        address = self._sources.get(raw)
        if address is None:
            address = parse_address(raw) if raw else self._extra["peername"]
            if len(self._sources) >= KNOWN_ADDRESSES:
                self._sources.clear()
            self._sources[raw] = address
        return address

    # -- sending -------------------------------------------------------------------------------------------------

    def _submit_send(self) -> None:
        """Send the first of the queue, or look for room with an empty one. Lifetime: as :meth:`Send.submit`."""
        if not self._queue:
            # No completion tells that a socket has room again without sending something; so let them ask again soon.
            self._loop.call_later(ASK_AGAIN, self._room_perhaps)
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

    def _room_perhaps(self) -> None:
        if not self._withdrawn:
            self._sent(0)

    def _send_refused(self, exc: OSError) -> None:
        if not self._withdrawn:
            self._send_failed(exc)

    def _send_done(self, count: int, exc: BaseException | None) -> None:
        self._send = None
        if self._withdrawn:
            self._came_back()
        elif isinstance(exc, OSError):
            self._send_failed(exc)
        elif exc is not None:
            self._fatal_error(exc, "Fatal write error on datagram transport")
        else:
            self._sent(1)

    # -- closing -------------------------------------------------------------------------------------------------

    def _withdraw(self) -> bool:
        self._withdrawn = True
        if self._loop.is_closed():
            return True  # closing the loop had everything back
        self._out = sum(not receive.withdraw() for receive in self._receives)
        self._out += self._send is not None and not self._send.withdraw()
        return not self._out

    def _came_back(self) -> None:
        self._out -= 1
        if not self._out:
            self._quiet()


def parse_address(raw: bytes) -> tuple[Any, ...]:
    """Read a SOCKADDR_IN or SOCKADDR_IN6 as the tuple the socket module has ("sockaddr", Winsock reference).

    Raises ValueError for another family: this engine has no other.
    """
    family = int.from_bytes(raw[:2], sys.byteorder)
    if family == socket.AF_INET:
        (port,) = struct.unpack_from("!H", raw, 2)
        return socket.inet_ntoa(raw[4:8]), port
    if family == socket.AF_INET6:
        port, flow = struct.unpack_from("!HI", raw, 2)
        (scope,) = struct.unpack_from("=I", raw, 24)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, scope
    raise ValueError(f"unknown address family {family}")
