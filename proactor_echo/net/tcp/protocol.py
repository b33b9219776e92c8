"""FramedProtocol: frames instead of bytes, in callbacks, on any asyncio event loop.

The life of one message: the transport calls :meth:`FramedProtocol.data_received` with the bytes of one read; the
codec's decoder turns them into frames; :meth:`frames_received` hands them on; what the application sends while it is
there is gathered and leaves in **one** ``transport.write`` when it returns. Outside that call a frame is written at
once.

Back pressure needs nothing from the application: when the peer does not read, asyncio calls ``pause_writing`` and the
protocol stops reading from that peer, so what is owed to it is bounded by the transport's high-water mark and one
read.

One read may hold tens of thousands of tiny frames. They are handed on in portions of :data:`FRAMES_AT_ONCE`, one in
each iteration of the loop, so that other connections get their turn. Reading is paused meanwhile, and what came after
the frames (an end of file, a framing error, the loss of the connection) waits until they have been delivered.

How a connection begins and ends is in :mod:`proactor_echo.net.tcp.core`.
"""

from __future__ import annotations

import asyncio
import copy
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import cast

from proactor_echo.arguments import check_instance, check_seconds, check_write_limit
from proactor_echo.errors import DisconnectReason, FramingError
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.wire import Codec, Decoder, RawCodec

__all__ = ["FRAMES_AT_ONCE", "Buffer", "FramedProtocol"]

Buffer = bytes | bytearray | memoryview

#: Frames of one connection that are handled in one iteration of the loop; more wait for the next one.
FRAMES_AT_ONCE = 256


class FramedProtocol(StreamProtocol):
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

    _decoder: Decoder = cast("Decoder", None)
    _gathering = False

    # While a rest of a read waits, and not otherwise: its frames, what comes after them, and the callback for the next.
    _portion = FRAMES_AT_ONCE
    _at_once = _portion  # 0 then, so that asking for the length of what came is enough
    _rest: deque[bytes] | None = None
    _after_rest: list[Callable[[], object]]
    _next_portion: asyncio.Handle | None = None
    _broken_off = False  # the connection was lost while a rest waited

    def __init__(self, codec: Codec | None = None, *, write_limit: tuple[int, int] | None = None) -> None:
        super().__init__()
        if codec is not None or write_limit is not None:
            self.configure(codec, write_limit=write_limit)

    # -- for subclasses ------------------------------------------------------------------------------------------

    def frame_received(self, frame: bytes) -> None:
        """Handle one frame."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Handle the frames of one read, up to 256 of them; override it to work on whole batches."""
        for frame in frames:
            if self._transport.is_closing() and not (self._broken_off and self._lifecycle.can_receive):
                break  # closed by the frame before
            self.frame_received(frame)

    # -- sending -------------------------------------------------------------------------------------------------

    def send_frame(self, frame: Buffer) -> None:
        """Encode and send one frame.

        Raises :class:`FramingError` for a frame that the codec cannot carry, :class:`ProtocolStateError` after our
        own end of file, :class:`Disconnected` when the connection has ended.
        """
        self._check_sendable()
        encoded = self.codec.encode(frame)
        self._stats.frames_out += 1
        if self._gathering or self._out:
            self._out.append(encoded)
        else:
            self._write(encoded)

    def send_frames(self, frames: Sequence[Buffer]) -> None:
        """Encode and send several frames in one write; raises as :meth:`send_frame` does, and then sends none."""
        self._check_sendable()
        encoded = self.codec.encode_many(frames)
        self._stats.frames_out += len(frames)
        if self._out:
            self._out.append(encoded)
        else:
            self._write(encoded)

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether nothing is owed either way: no frame half received, nothing waiting to be sent."""
        if self._decoder is None:
            return True
        return not (self._decoder.buffered or self._rest or self._out or self._transport.get_write_buffer_size())

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
            check_instance("codec", codec, Codec, optional=True)
            self.codec = codec
        if write_limit is not None:
            check_write_limit(write_limit)
            self.write_limit = write_limit
        if close_timeout is not None:
            check_seconds("close_timeout", close_timeout)
            self.close_timeout = close_timeout

    # -- asyncio.Protocol: called by the transport ---------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Decode the bytes of one read and hand the frames on (called by the transport)."""
        if not self._lifecycle.can_receive:
            return  # the stock proactor transport hands over a read that had completed when it was closed
        stats = self._stats
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
        """Note the peer's end of file (called by the transport)."""
        if self._rest is None:
            return super().eof_received()
        self._after_rest.append(super().eof_received)
        return not self._tls

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection's life (called by the transport, once)."""
        if self._rest is not None and exc is not None and self._lifecycle.can_receive:
            self._broken_off = True
            self._after_rest.append(functools.partial(super().connection_lost, exc))
            self._close_socket()
            self._plan_portion()
            return
        if self._rest is not None:  # closed here: what was not delivered is dropped
            self._rest = None
            self._after_rest.clear()
        super().connection_lost(exc)

    def resume_writing(self) -> None:
        """Go on (called by the transport)."""
        if self._rest is None:
            super().resume_writing()
        else:
            self._write_paused = False
            self._plan_portion()

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    def _begin(self) -> None:
        self._decoder = self.codec.decoder()
        if self.write_limit is not None:
            self._transport.set_write_buffer_limits(*self.write_limit)
        super()._begin()

    def _stream_ended(self) -> None:
        try:
            frames = self._decoder.eof()
        except Exception as error:
            self._decoding_failed(error)
        else:
            if frames:
                self._deliver(frames)
            super()._stream_ended()

    def _deliver(self, frames: list[bytes]) -> None:
        if len(frames) > self._at_once and self._lifecycle.can_receive:
            self._deliver_in_portions(frames)
        else:
            self._hand_over(frames)

    def _hand_over(self, frames: list[bytes]) -> None:
        self._stats.frames_in += len(frames)
        self._gathering = True
        self._call(self.frames_received, frames)
        self._gathering = False
        if self._out:
            self._flush()

    def _decoding_failed(self, error: Exception) -> None:
        if not isinstance(error, FramingError):
            self.crashed(error)
            return
        frames, error.frames = error.frames, []  # handed over here, so nobody else may find them
        if frames:
            self._deliver(frames)
        if self._rest is None:
            self._fail(error)
        else:
            self._after_rest.append(functools.partial(self._fail, copy.copy(error)))

    def _fail(self, error: FramingError) -> None:
        """End the connection because of what the peer sent; what is owed to it still goes out."""
        self._ending.note(DisconnectReason.FRAMING, error)
        self._close(DisconnectReason.FRAMING)

    def _close(self, reason: DisconnectReason) -> None:
        if self._broken_off and self._rest is not None:  # closed by a frame that came before the loss was told
            self._broken_off = False
            self._rest.clear()
        super()._close(reason)

    # -- a read of many frames -----------------------------------------------------------------------------------

    def _deliver_in_portions(self, frames: list[bytes]) -> None:
        if self._rest is not None:  # the transport had read on already
            self._rest.extend(frames)
            return
        self._rest = deque(frames)
        self._after_rest = []
        self._pause_reading()
        self._rest_waits(True)
        self._deliver_portion()

    def _rest_waits(self, waits: bool) -> None:
        """Note that all that comes has to wait from now on, or has no longer to."""
        self._at_once = 0 if waits else self._portion

    def _plan_portion(self) -> None:
        if self._next_portion is None:
            self._next_portion = asyncio.get_running_loop().call_soon(self._deliver_portion)

    def _deliver_portion(self) -> None:
        self._next_portion = None
        rest = self._rest
        if rest is None:
            return
        if self._lifecycle.can_receive:
            if not self._broken_off and (self._write_paused or self._transport.is_closing()):
                return  # resume_writing() or connection_lost() goes on
            if self._idle is not None:
                self._idle.touch()
            portion = [rest.popleft() for _ in range(min(len(rest), self._portion))]
            self._hand_over(portion)
            if rest and self._lifecycle.can_receive:
                self._plan_portion()
                return
        # All are delivered, or the connection is closing and the others are dropped.
        self._rest = None
        self._rest_waits(False)
        if not self._after_rest:
            if not self._write_paused:
                self._resume_reading()
            return
        after, self._after_rest = self._after_rest, []
        for each in after:
            each()
