"""FramedProtocol: frames instead of bytes, in callbacks, on any asyncio event loop.

The life of one message: the transport calls :meth:`FramedProtocol.data_received` with the bytes of one read; the
codec's decoder turns them into frames; :meth:`frames_received` hands them on; what the application sends while it is
there is gathered and leaves in **one** ``transport.write`` when it returns. Outside that call a frame is written at
once.

Back pressure needs nothing from the application: when the peer does not read, asyncio calls ``pause_writing`` and the
protocol stops reading from that peer, so what is owed to it is bounded by the transport's high-water mark and one
read.

Everything that ends a connection goes through one place, :meth:`connection_lost`, and leaves one
:class:`~proactor_echo.errors.Disconnect` in :attr:`disconnect`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from ..addresses import format_address
from ..errors import Disconnect, Disconnected, DisconnectReason, FramingError, ProtocolStateError
from ..wire.framing import Codec, Decoder, RawCodec
from ..wire.state import ConnectionState, Event, Lifecycle
from .ending import Ending, log_level, lost_error
from .stats import ConnectionStats
from .timers import IdleTimer, StallTimer

__all__ = ["Buffer", "FramedProtocol", "Owner", "is_proactor"]

logger = logging.getLogger("proactor_echo.net")

Buffer = bytes | bytearray | memoryview


class FramedProtocol(asyncio.Protocol):
    """Receive and send frames; subclass it and override :meth:`frame_received`.

    ::

        class Shout(FramedProtocol):
            codec = LineCodec()

            def frame_received(self, frame):
                self.send_frame(frame.upper())

        await loop.create_server(Shout, "127.0.0.1", 9000)

    ``codec`` may be set on the class or given to the constructor; the default hands over the bytes of each read.
    ``write_limit`` is ``(high, low)`` in bytes for the transport's write buffer, ``None`` for asyncio's own.
    An exception in one of the callbacks below ends this connection with one log record, and nothing else.
    """

    codec: Codec = RawCodec()
    write_limit: tuple[int, int] | None = None
    #: Seconds a closing connection may make no progress with what is owed before the rest is dropped.
    close_timeout: float = 10.0

    def __init__(self, codec: Codec | None = None, *, write_limit: tuple[int, int] | None = None) -> None:
        self.configure(codec, write_limit=write_limit)
        #: What passed so far.
        self.stats = ConnectionStats()
        #: Why the connection ended; ``None`` while it is open.
        self.disconnect: Disconnect | None = None
        self._lifecycle = Lifecycle(self._state_changed)
        self._transport: asyncio.Transport = cast("asyncio.Transport", None)
        self._decoder: Decoder = cast("Decoder", None)
        self._out: list[bytes] = []
        self._gathering = False
        self._write_paused = False
        self._resetting = False
        self._end_told = False
        self._ending = Ending()
        self._peer: str = ""
        self._owner: Owner | None = None
        self._socket: socket.socket | None = None
        self._idle: IdleTimer | None = None
        self._closer: StallTimer | None = None

    # -- for subclasses ------------------------------------------------------------------------------------------

    def connection_opened(self) -> None:
        """Handle the new connection; :meth:`send_frame` works from here on."""

    def frame_received(self, frame: bytes) -> None:
        """Handle one frame."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Handle every frame of one read; override it to work on whole batches."""
        for frame in frames:
            if self._transport.is_closing():
                break  # closed by the frame before
            self.frame_received(frame)

    def end_received(self) -> None:
        """Handle the peer's end of file, after its last frame. The default sends what is owed, then ends too."""
        self.close()

    def connection_closed(self, disconnect: Disconnect) -> None:
        """Handle the end of the connection, called exactly once; ``disconnect`` tells why."""

    # -- sending and closing -------------------------------------------------------------------------------------

    def send_frame(self, frame: Buffer) -> None:
        """Encode and send one frame.

        Raises :class:`FramingError` for a frame that the codec cannot carry, :class:`ProtocolStateError` after our
        own end of file, :class:`Disconnected` when the connection has ended.
        """
        self._check_sendable()
        encoded = self.codec.encode(frame)
        self.stats.frames_out += 1
        if self._gathering or self._out:
            self._out.append(encoded)
        else:
            self._write(encoded)

    def send_frames(self, frames: Sequence[Buffer]) -> None:
        """Encode and send several frames in one write; raises as :meth:`send_frame` does, and then sends none."""
        self._check_sendable()
        encoded = self.codec.encode_many(frames)
        self.stats.frames_out += len(frames)
        if self._out:
            self._out.append(encoded)
        else:
            self._write(encoded)

    def send_eof(self) -> None:
        """Send our end of file after everything sent so far; receiving goes on. Doing it twice is harmless."""
        if self._lifecycle.state is ConnectionState.OPENING:
            raise ProtocolStateError("cannot send an end of file: the connection is opening")
        if not self._lifecycle.can_send or self._transport.is_closing():
            return
        if not self._transport.can_write_eof():
            raise ProtocolStateError("this transport (TLS) cannot send an end of file and go on receiving")
        self._flush()
        # The stock transports let the shutdown() of a socket fail that the peer has just reset. Reading tells why.
        with contextlib.suppress(OSError):
            self._transport.write_eof()
        if self._lifecycle.on(Event.SEND_EOF) is ConnectionState.CLOSING:
            self._close(DisconnectReason.LOCAL_CLOSE)

    def close(self) -> Any:
        """Send what is owed, then end the connection. Doing it twice is harmless."""
        self._close(DisconnectReason.LOCAL_CLOSE)

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is dropped."""
        self.cut(DisconnectReason.ABORTED)

    def reset(self) -> None:
        """End the connection at once with a TCP reset: the peer gets an error where :meth:`abort` may look orderly."""
        if self._lifecycle.state is ConnectionState.CLOSED:
            return
        # Closing a socket that lingers for 0 seconds sends a reset, unless it has been shut down before.
        linger = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)
        with contextlib.suppress(OSError):
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._resetting = True
        self.abort()

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Where the connection is in its life."""
        return self._lifecycle.state

    @property
    def peer(self) -> str:
        """The peer's address as text: ``127.0.0.1:50001``, ``[::1]:50001``."""
        return self._peer

    @property
    def local(self) -> str:
        """Our own address as text."""
        return _address(self._transport, "sockname") if self._transport else ""

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport below."""
        return self._transport

    @property
    def idle(self) -> bool:
        """Whether nothing is owed either way: no frame half received, nothing waiting to be sent."""
        if self._decoder is None:
            return True
        return not (self._decoder.buffered or self._out or self._transport.get_write_buffer_size())

    # -- for whoever made the protocol, before and while it is connected -----------------------------------------

    def configure(
        self,
        codec: Codec | None = None,
        *,
        write_limit: tuple[int, int] | None = None,
        close_timeout: float | None = None,
    ) -> None:
        """Set what is given, before the connection is made; ``None`` keeps what the class or constructor says."""
        if codec is not None:
            self.codec = codec
        if write_limit is not None:
            high, low = write_limit
            if not high >= low >= 0:
                raise ValueError(f"write_limit is (high, low) with high >= low >= 0, not {write_limit!r}")
            self.write_limit = write_limit
        if close_timeout is not None:
            self.close_timeout = close_timeout

    def own(self, owner: Owner | None, sock: socket.socket | None = None, *, peer: str = "") -> None:
        """Tell ``owner`` about the connection's beginning and end; close ``sock`` when it has ended.

        ``peer`` is the peer's address as it was accepted: a socket that was reset since does not know it any more.
        """
        self._owner = owner
        self._socket = sock
        self._peer = peer

    def limit_idle(self, seconds: float) -> None:
        """End the connection once nothing passed either way for so many seconds."""
        self._idle = IdleTimer(seconds, self._idle_expired)

    def finish(self) -> None:
        """Come to an end as if the peer had sent its end of file here, unless it is coming to one already."""
        if self._lifecycle.can_receive:
            self._tell_end()

    def cut(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        """Abort for ``reason``."""
        self._ending.note(reason, error, forced=True)
        if self._lifecycle.state is not ConnectionState.CLOSED:
            self._out.clear()
            self._lifecycle.on(Event.ABORT)
            if self._transport is not None:
                self._transport.abort()

    def crashed(self, error: BaseException) -> None:
        """End this connection because of an exception in the code that serves it, with one log record."""
        who = self._peer or "connection"
        logger.error("%s: serving the connection failed; it is closed", who, exc_info=error)
        self.cut(DisconnectReason.HANDLER_FAILED, error)

    # -- asyncio.Protocol: called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection (called by the event loop)."""
        self._transport = cast("asyncio.Transport", transport)
        self._peer = self._peer or _address(transport, "peername")
        if self._lifecycle.state is not ConnectionState.OPENING:
            self._transport.abort()  # closed before it was there
            return
        self._lifecycle.on(Event.CONNECTED)
        if self._owner is not None:
            self._owner.connection_opened(self)
        self._call(self._begin)

    def data_received(self, data: bytes) -> None:
        """Decode the bytes of one read and hand the frames on (called by the transport)."""
        if not self._lifecycle.can_receive:
            return  # the stock proactor transport hands over a read that had completed when it was closed
        stats = self.stats
        stats.bytes_in += len(data)
        if self._idle is not None:
            self._idle.touch()
        try:
            frames = self._decoder.feed(data)
        except Exception as error:
            self._decoding_failed(error)
        else:
            if frames:
                self._deliver(frames)

    def eof_received(self) -> bool:
        """Note the peer's end of file, once: a paused proactor transport of the standard library reports it twice."""
        if self._lifecycle.can_receive:
            self._ending.peer_ended = True
            both_ended = self._lifecycle.on(Event.PEER_EOF) is ConnectionState.CLOSING
            try:
                frames = self._decoder.eof()
            except Exception as error:
                self._decoding_failed(error)
            else:
                if frames:
                    self._deliver(frames)
                self._tell_end()
            if both_ended:
                self._close(DisconnectReason.LOCAL_CLOSE)
        # Keeping the transport open is ours to decide; TLS cannot be half closed and asyncio warns when asked to.
        return self._transport.get_extra_info("sslcontext") is None

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection's life (called by the transport, once)."""
        self._lifecycle.on(Event.LOST)
        self._out.clear()
        for timer in (self._idle, self._closer):
            if timer is not None:
                timer.cancel()
        self.disconnect = disconnect = self._ending.disconnect(exc)
        if self._socket is not None:
            # The stock proactor transport shuts the socket down after this call, unguarded: an error there leaves the
            # socket open and logs "Exception in callback" (gh-83191). It skips that for a socket already closed.
            with contextlib.suppress(OSError):
                if not self._resetting:
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()
        logger.log(log_level(disconnect), "%s: %s", self._peer or "connection", disconnect.text)
        self._call(self.connection_closed, disconnect)
        if self._owner is not None:
            self._owner.connection_closed(self, disconnect)

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read (called by the transport)."""
        self._write_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """Read on (called by the transport)."""
        self._write_paused = False
        self._resume_reading()

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    def _begin(self) -> None:
        self._decoder = self.codec.decoder()
        if self.write_limit is not None:
            self._transport.set_write_buffer_limits(*self.write_limit)
        self.connection_opened()

    def _deliver(self, frames: list[bytes]) -> None:
        self.stats.frames_in += len(frames)
        self._gathering = True
        self._call(self.frames_received, frames)
        self._gathering = False
        if self._out:
            self._flush()

    def _tell_end(self) -> None:
        if not self._end_told:
            self._end_told = True
            self._call(self.end_received)

    def _decoding_failed(self, error: Exception) -> None:
        if not isinstance(error, FramingError):
            self.crashed(error)
            return
        frames, error.frames = error.frames, []  # handed over here, so nobody else may find them
        if frames:
            self._deliver(frames)
        self._fail(error)

    def _flush(self) -> None:
        if out := self._out:
            self._out = []
            self._write(b"".join(out))

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # it broke, and connection_lost() is on its way; asyncio would warn
        self.stats.bytes_out += len(data)
        if self._idle is not None:
            self._idle.touch()
        self._transport.write(data)

    def _pause_reading(self) -> None:
        if self._lifecycle.can_receive and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        # Not after the end of file: the stock transports would find and report it once more.
        if self._lifecycle.can_receive and not self._transport.is_closing():
            self._transport.resume_reading()

    def _check_sendable(self) -> None:
        if self._lifecycle.can_send:
            return
        if self.disconnect is not None:
            raise self.lost_error()
        raise ProtocolStateError(f"cannot send: the connection is {self._lifecycle.state}")

    def lost_error(self) -> Disconnected:
        """Return the exception that tells why the connection ended."""
        return lost_error(self._peer, self.disconnect or self._ending.disconnect(None))

    def _close(self, reason: DisconnectReason) -> None:
        self._ending.note(reason)
        if self._transport is None:
            self._lifecycle.on(Event.CLOSE)
        elif not self._transport.is_closing():
            self._flush()
            self._lifecycle.on(Event.CLOSE)
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self._closer = StallTimer(self.close_timeout, self._transport.get_write_buffer_size, self.abort)

    def _fail(self, error: FramingError) -> None:
        """End the connection because of what the peer sent; what is owed to it still goes out."""
        self._ending.note(DisconnectReason.FRAMING, error)
        self._close(DisconnectReason.FRAMING)

    def _idle_expired(self) -> None:
        self._close(DisconnectReason.IDLE_TIMEOUT)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # CancelledError too: the result of a cancelled future raises it
            self.crashed(error)

    def _state_changed(self, before: ConnectionState, after: ConnectionState) -> None:
        """Tell whoever waits for a change; the callback form has nobody."""


class Owner(Protocol):
    """What a server that owns connections is told."""

    def connection_opened(self, protocol: FramedProtocol) -> None:
        """Count a connection in."""

    def connection_closed(self, protocol: FramedProtocol, disconnect: Disconnect) -> None:
        """Count it out."""


def is_proactor(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether operations are completions of the kernel on this loop, so that it has no ``add_reader``."""
    return sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop)


def _address(transport: asyncio.BaseTransport, name: str) -> str:
    address = transport.get_extra_info(name)
    return format_address(address) if address else ""
