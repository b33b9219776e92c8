"""Connection: the same frames in coroutines.

::

    async for frame in conn:
        await conn.send(frame)

Cancelling loses nothing. Frames wait in a queue that belongs to the connection, never in the coroutine that waits for
one: a cancelled :meth:`Connection.receive` took none. :meth:`Connection.send` waits *before* it takes the frame: if it
is cancelled, nothing of that frame was sent; once it returns, all of it will be.

The receive queue is bounded: with more than ``read_limit`` bytes in it, reading from the socket pauses until the queue
has been emptied, and the peer's own flow control does the rest. A receiver that never has to wait lets others run after
every :data:`~proactor_echo.net.tcp.protocol.FRAMES_AT_ONCE` frames, or fewer when the loop's iterations take long: only
so many are within its reach at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Self

from proactor_echo.arguments import check_whole
from proactor_echo.errors import (
    Disconnect,
    EndOfStream,
    FramingError,
    ProtocolStateError,
)
from proactor_echo.net.loop_api import iteration_end_of
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.observers import next_wake
from proactor_echo.net.tcp.queueing import PER_FRAME, QueueingProtocol
from proactor_echo.net.tcp.started import Started
from proactor_echo.wire import BytesLike, Codec
from proactor_echo.wire.connection import ConnectionStats
from proactor_echo.wire.lifecycle import ConnectionState

if TYPE_CHECKING:
    import ssl as library

    from proactor_echo.net.tcp.tls.description import Tls
    from proactor_echo.net.tcp.tls.info import TlsInfo
    from proactor_echo.wire.proxy_header import ProxyHeader

__all__ = ["Connection"]

#: Bytes that a task may send without waiting before they are written, and before other tasks run.
_FLUSH_SIZE: Final = 65536


class Connection:
    """One TCP connection, of a server's handler or made by :func:`~proactor_echo.connect_tcp`.

    Use it in ``async with`` or ``close()`` it. Its :attr:`protocol` is for transports of any asyncio loop:
    ``await loop.create_connection(lambda: conn.protocol, …)``.

    :param codec: how bytes become frames; default: the pieces in which they arrive.
    :param write_limit: ``(high, low)``, the high- and low-water marks of the pending output in bytes.
    :param read_limit: bytes in the receive queue at which reading pauses.
    :param close_timeout: seconds after which a closing connection drops its pending output, if none of it is taken.
    """

    def __init__(
        self,
        codec: Codec | None = None,
        *,
        write_limit: tuple[int, int] | None = None,
        read_limit: int = 262144,
        close_timeout: float = 10.0,
    ) -> None:
        check_whole("read_limit", read_limit, unit="bytes")
        self._protocol = protocol = QueueingProtocol(read_limit)
        protocol.configure(codec, write_limit=write_limit, close_timeout=close_timeout)
        self._stream = protocol._stream
        self._frames = protocol.frames
        self._out = protocol._out
        self._loop = loop = asyncio.get_running_loop()
        self._call_at_iteration_end = iteration_end_of(loop)
        self._sent_at_once = 0  # bytes sent since receiving or sending waited

    # -- receiving -----------------------------------------------------------------------------------------------

    async def receive(self) -> bytes:
        """Return the next frame.

        Raises :class:`EndOfStream` after the last frame once the peer (or we) ended the connection in an orderly way,
        :class:`Disconnected` when it broke, :class:`FramingError` when the bytes are no frames. Frames received
        before the end are always returned first. One task may receive at a time.
        """
        while not self._frames:
            await self._more_frames()
        return self._frames.popleft()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        frames, queue = self._frames, self._protocol
        try:
            while not frames:
                if queue.reader is not None or queue.read_paused or queue.ended or queue.later:
                    await self._more_frames()
                else:  # what _more_frames() comes to most often; calling it would be felt
                    queue.queued = self._sent_at_once = 0
                    reader: asyncio.Future[None] = asyncio.Future(loop=self._loop)
                    queue.reader = reader
                    await reader
        except EndOfStream:
            raise StopAsyncIteration from None
        return frames.popleft()

    def _more_frames(self) -> Awaitable[None]:
        """Return what to await until the queue may have a frame, or raise what ended it."""
        queue = self._protocol
        if queue.later:
            return self._next_portion_of_frames()
        if queue.ended:
            raise queue.end_error()
        # One that is done belongs to a task which was cancelled.
        if queue.reader is not None and not queue.reader.done():
            raise ProtocolStateError("another task is already receiving from this connection")
        queue.queued = self._sent_at_once = 0
        if queue.read_paused:
            queue.read_paused = False
            queue._resume_reading()
        queue.reader = reader = self._loop.create_future()
        return reader

    async def _next_portion_of_frames(self) -> None:
        self._protocol.refill()  # first: if this is cancelled, the next call finds them
        await asyncio.sleep(0)

    # -- sending -------------------------------------------------------------------------------------------------

    async def send(self, frame: BytesLike) -> None:
        """Send one frame, after waiting while the peer is slow.

        Frames sent in one iteration of the loop are written together. A cancelled call sends nothing of its frame.

        Raises :class:`FramingError` for a frame that the codec cannot carry, :class:`ProtocolStateError` after our
        own end of file, :class:`Disconnected` when the connection has ended.
        """
        if self._sent_at_once >= _FLUSH_SIZE or self._protocol._write_paused:
            await self._wait_writable()
        stream = self._stream
        if not stream.can_send:
            raise stream.cannot_send()
        encoded = stream.codec.encode(frame)  # FramedStream.encode() does the same, with one call more
        stream.frames_out += 1
        out = self._out
        if not out:
            self._call_at_iteration_end(self._protocol._flush)
        out.append(encoded)
        self._sent_at_once += len(encoded) + PER_FRAME

    async def send_many(self, frames: Sequence[BytesLike]) -> None:
        """Send several frames, after waiting while the peer is slow: one call, where :meth:`send` is one for each.

        All of them are sent or, when it raises or is cancelled, none; it waits before the first, not in between. Raises
        as :meth:`send` does.
        """
        if self._sent_at_once >= _FLUSH_SIZE or self._protocol._write_paused:
            await self._wait_writable()
        encoded = self._stream.encode_many(frames)
        if not self._out:
            self._call_at_iteration_end(self._protocol._flush)
        self._out.append(encoded)
        self._sent_at_once += len(encoded) + PER_FRAME * len(frames)

    def send_frame(self, frame: BytesLike) -> None:
        """Send one frame without waiting, for code that is no coroutine; raises as :meth:`send` does.

        Nothing bounds what is waiting to be sent then, but what the program itself does.
        """
        self._write(self._stream.encode(frame))

    def send_frames(self, frames: Sequence[BytesLike]) -> None:
        """Send several frames without waiting, in one write; raises as :meth:`send` does, and then sends none."""
        self._write(self._stream.encode_many(frames))

    def _write(self, encoded: bytes) -> None:
        if self._out:
            self._out.append(encoded)
        else:
            self._protocol._write(encoded)

    async def _wait_writable(self) -> None:
        """Wait while the peer is slow, and let other tasks run after so many bytes."""
        protocol = self._protocol
        while True:
            if self._sent_at_once >= _FLUSH_SIZE:
                self._sent_at_once = 0
                protocol._flush()
                await asyncio.sleep(0)
            elif protocol._write_paused:
                if not self._stream.can_send:
                    raise self._stream.cannot_send()
                await next_wake(protocol.writers)
            else:
                return

    # -- TLS -----------------------------------------------------------------------------------------------------

    @property
    def tls(self) -> TlsInfo | None:
        """Version, cipher, names and certificates of the connection's TLS; None when it speaks clear text."""
        return self._protocol.tls

    def start_tls(
        self,
        ssl: Tls | library.SSLContext | Literal[True],
        *,
        server_side: bool | None = None,
        server_hostname: str | None = None,
        handshake_timeout: float = 10.0,
    ) -> Coroutine[Any, Any, TlsInfo]:
        """Go on with TLS, as STARTTLS of many protocols asks for; await it, and nothing is sent or received in clear.

        :param ssl: a :class:`Tls` or :class:`ssl.SSLContext`; a client's may be True, as in ``connect_tcp``.
        :param server_side: which end this is; ``None``: that of ``serve_tcp`` or ``connect_tcp``, which made it.
        :param server_hostname: a client's: the name that must be in the certificate; ``None``: the host connected to.
        :param handshake_timeout: seconds.

        Answer the command first, then call it. When anything has been received behind the command, which has come in
        clear text, the connection ends; so it does when the handshake fails, and when this is cancelled. Raises
        :class:`Disconnected` then, :class:`ProtocolStateError` when TLS is there already or the connection not open.
        """
        return self._protocol.start_tls(
            ssl, server_side=server_side, server_hostname=server_hostname, handshake_timeout=handshake_timeout
        )

    # -- ending --------------------------------------------------------------------------------------------------

    def send_eof(self) -> Started[None]:
        """Send our end of file after everything sent so far; receiving goes on. Doing it twice is harmless.

        It is done when the call returns; the result may be awaited, and need not be.
        """
        return self._protocol.send_eof()

    def close(self) -> Started[None]:
        """Send the pending output, then end the connection. Doing it twice is harmless.

        Closing begins with the call; ``await`` waits until the connection has ended. That is bounded: when the system
        takes no pending output for ``close_timeout`` seconds, because the peer does not read, the rest is dropped.
        """
        return self._protocol.close()

    async def wait_closed(self) -> Disconnect:
        """Wait until the connection has ended, however it ends; return why."""
        return await self._protocol.wait_closed()

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is dropped."""
        self._protocol.abort()

    def reset(self) -> None:
        """End the connection at once with a TCP reset: the peer gets an error where :meth:`abort` may look orderly."""
        self._protocol.reset()

    def set_idle_timeout(self, seconds: float) -> None:
        """End the connection when no data passed, either way, for so many seconds."""
        self._protocol.set_idle_timeout(seconds)

    async def state_changed(self) -> ConnectionState:
        """Wait for a change of :attr:`state` and return what it is then; returns at once when it is closed."""
        if self.state is not ConnectionState.CLOSED:
            await next_wake(self._protocol.watchers)
        return self.state

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def protocol(self) -> StreamProtocol:
        """The protocol of this connection, for a transport of any asyncio loop."""
        return self._protocol

    @property
    def codec(self) -> Codec:
        """How bytes become frames."""
        return self._stream.codec

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport below."""
        return self._protocol.transport

    @property
    def state(self) -> ConnectionState:
        """The state of the connection."""
        return self._stream.state

    @property
    def disconnect(self) -> Disconnect | None:
        """Why the connection ended; ``None`` while it is open."""
        return self._stream.disconnect

    @property
    def failure(self) -> FramingError | None:
        """The :class:`FramingError` that ended receiving, if one did."""
        return self._protocol.failure

    @property
    def stats(self) -> ConnectionStats:
        """The counters of the connection."""
        return self._stream.stats

    @property
    def id(self) -> int:
        """A number that no other connection of this process has, by which log records name it."""
        return self._protocol.id

    @property
    def peer(self) -> str:
        """The peer's address as text: ``127.0.0.1:50001``, ``[::1]:50001``."""
        return self._stream.peer_name()

    @property
    def transport_peer(self) -> str:
        """The address of the other end of the transport: :attr:`peer`, or the load balancer that told of it."""
        return self._protocol.transport_peer

    @property
    def proxied(self) -> ProxyHeader | None:
        """What a load balancer said in its PROXY header; None without one."""
        return self._protocol.proxied

    @property
    def local(self) -> str:
        """Our own address as text."""
        return self._protocol.local

    @property
    def idle(self) -> bool:
        """Whether there is no pending output, no frame in the queue, and a task waits for the next one."""
        return self._protocol.idle

    def without_end_errors(self, error: BaseException) -> BaseException | None:
        """Return ``error`` without what this connection raised because it has ended; None if nothing is left."""
        return self._stream.without_end_errors(error)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.peer or 'unconnected'} {self.state.value}>"

    @property
    def get_buffer(self) -> object:
        """Refuse ``loop.start_tls()``, if it is given the connection instead of its protocol."""
        return self._protocol.get_buffer
