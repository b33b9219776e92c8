"""A stream transport driven by a completion port.

One receive is always outstanding while the protocol reads: the same block and buffer again and again. Sends are tried
without blocking first, by the shared code; what the system does not take becomes one overlapped send at a time.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.stream is for Windows only")

import ctypes
from typing import TYPE_CHECKING, Any

from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.iocp.lifetimes import IDLE, PENDING, CompletionTransport, Operation, State
from proactor_echo.loops.iocp.operations import RepeatedReceive, Send, error_from, failure
from proactor_echo.loops.stream import StreamTransport

if TYPE_CHECKING:
    import socket

    from proactor_echo.loops.iocp.port import BatchProactor
from proactor_echo.loops.iocp.buffers import SIZES, SMALL_RECEIVES, BufferPool, PinnedBuffer


class Receive(RepeatedReceive):
    """The one receive of a connection, submitted again and again into a buffer that grows and shrinks with its use."""

    __slots__ = (
        "_buffer",
        "_flags_address",
        "_level",
        "_pool",
        "_protocol_buffer",
        "_skips_on_success",
        "_small_receives",
        "_wsabuf_address",
    )

    def __init__(self, proactor: BatchProactor, pool: BufferPool, handle: int, skips_on_success: bool) -> None:
        super().__init__(proactor, handle, winapi.StreamOperation())
        self._pool = pool
        self._skips_on_success = skips_on_success
        self._wsabuf_address = self._address + winapi.BUFFER_OFFSET
        self._flags_address = self._address + winapi.FLAGS_OFFSET
        self._buffer: PinnedBuffer | None = None
        self._level = 0
        self._small_receives = 0
        self._protocol_buffer: tuple[Any, memoryview[Any], Any] | None = None

    def submit(self) -> None:
        """Submit the receive to the kernel, if it is still wanted; an error is reported in the next iteration.

        Lifetime: the proactor's registry holds this object, and it holds the block and the buffer (ours, or an export
        of the protocol's own, which cannot be resized then), until it has completed, whatever becomes of the transport.
        The socket is closed after that, so its handle names no other socket meanwhile.
        """
        self._due = False
        transport = self._transport
        if transport is None:
            return  # closed in the iteration in which it became due
        try:
            if transport._paused or transport._closing or transport._ended or not self._set_buffer():
                self._transport = None
                return
            self._block.flags = 0
            self.state = PENDING
            self._proactor.keep(self._address, self)
            if not winapi.WSARecv(self._handle, self._wsabuf_address, 1, 0, self._flags_address, self._address, 0):
                if self._skips_on_success:
                    self._proactor.complete(self._address, self._overlapped.InternalHigh)
            else:
                code = winapi.get_last_error()
                if code != winapi.WSA_IO_PENDING:
                    self._refused(transport, error_from(code))
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # a buffer of the protocol's that cannot be written to, among others
            self._refused(transport, exc)

    def _refused(self, transport: Any, exc: BaseException) -> None:
        if self.state is PENDING:  # the kernel did not take it
            self._proactor.drop(self._address)
            self.state = IDLE
        self._transport = self._protocol_buffer = None
        transport._loop.call_soon(transport._receive_refused, exc)

    def _set_buffer(self) -> bool:
        transport = self._transport
        if transport._buffered:
            return self._use_protocol_buffer(transport)
        size = SIZES[self._level]
        buffer = self._buffer
        if buffer is None or buffer.size != size:
            self._free()
            self._buffer = buffer = self._pool.take(size)
            self._point_at(buffer.address, size)
        return True

    def _use_protocol_buffer(self, transport: Any) -> bool:
        buffer = transport._get_buffer()
        if buffer is None or transport._closing:
            return False
        view = memoryview(buffer).cast("B")
        pin = ctypes.c_char.from_buffer(view)
        self._protocol_buffer = (transport._protocol, view, pin)
        self._free()
        self._point_at(ctypes.addressof(pin), len(view))
        return True

    def _point_at(self, address: int, size: int) -> None:
        self._block.buffer.buf = address
        self._block.buffer.len = size

    def done(self, count: int) -> None:
        """Completion: deliver what arrived, then receive again if the protocol still reads."""
        self.state: State = IDLE
        transport, self._transport = self._transport, None
        if transport is None or transport._cancelled:
            self.discard()
            if transport is not None:
                transport._one_completed()
            return
        try:
            if status := self._overlapped.Internal:
                self._protocol_buffer = None
                transport._receive_failed(failure(self._handle, self._address, status))
            elif self._protocol_buffer is not None:
                self._done_in_protocol_buffer(transport, count, *self._protocol_buffer)
            elif count:
                buffer: Any = self._buffer
                data = bytes(buffer.view[:count])
                if count == buffer.size or self._level:
                    self._adapt(count)
                transport._received(data)
            else:
                transport._end_of_file()
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            transport._receive_failed(exc)
        finally:
            if not (transport._paused or transport._closing or transport._ended):
                self.submit_soon(transport)

    def _done_in_protocol_buffer(
        self, transport: Any, count: int, protocol: Any, view: memoryview[Any], pin: Any
    ) -> None:
        self._protocol_buffer = None
        if not count:
            transport._end_of_file()
        elif transport._buffered and protocol is transport._protocol and transport.is_reading():
            del view, pin  # the protocol may resize its buffer
            transport._buffer_updated(count)
        else:
            transport._received(bytes(view[:count]))

    def _adapt(self, count: int) -> None:
        level = self._level
        if count == SIZES[level]:
            self._level = min(level + 1, len(SIZES) - 1)
            self._small_receives = 0
        elif count >= SIZES[level - 1]:
            self._small_receives = 0
        else:
            self._small_receives += 1
            if self._small_receives >= SMALL_RECEIVES:
                self._level = level - 1
                self._small_receives = 0

    def has_brought_data(self) -> bool:
        """Whether there are, or may be, bytes that the transport has not got yet."""
        return self._due or (
            self.state is PENDING and not self._overlapped.Internal and bool(self._overlapped.InternalHigh)
        )

    def discard(self) -> None:
        """Free the buffer: the receive has completed, and its data is not wanted."""
        super().discard()
        self._protocol_buffer = None
        self._free()

    def _free(self) -> None:
        if self._buffer is not None:
            self._pool.give(self._buffer)
            self._buffer = None


class IocpStream(CompletionTransport, StreamTransport):
    """A stream transport driven by completions."""

    __slots__ = ("_cancelled", "_outstanding", "_receive", "_send", "_skips_on_success")

    def _init_engine(self, sock: socket.socket) -> None:
        loop = self._loop
        self._cancelled = False
        self._outstanding = 0
        self._send: Send | None = None
        self._skips_on_success = skips_on_success = loop._proactor.watch_skipping_on_success(sock)
        self._receive = Receive(loop._proactor, loop._state.buffers, sock.fileno(), skips_on_success)

    def _start_receiving(self) -> None:
        """Receive until :meth:`_stop_receiving`. Lifetime: as :meth:`Receive.submit`."""
        self._receive.submit_soon(self)

    def _stop_receiving(self) -> None:
        """Nothing to do: a receive that is out stays out, and what it brings while paused is held by the transport."""

    def _receive_refused(self, exc: BaseException) -> None:
        if not self._cancelled:
            self._receive_failed(exc)

    def _submit_send(self) -> None:
        """Send ``_head``, or its first megabyte. Lifetime: as :meth:`Send.submit`."""
        send = Send(self._send_done, self._skips_on_success)
        sock: Any = self._sock
        send.submit(self._loop._proactor, sock, self._head)
        self._send = send

    def _has_more_to_receive(self) -> bool:
        return self.is_reading() and not self._ended and self._receive.has_brought_data()

    def _send_done(self, count: int, exc: BaseException | None) -> None:
        self._send = None
        if self._cancelled:
            self._one_completed()
        elif exc is not None:
            self._send_failed(exc)
        else:
            self._sent(count)

    def _operations(self) -> list[Operation]:
        return [self._receive] if self._send is None else [self._receive, self._send]
