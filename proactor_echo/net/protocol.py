"""FramedProtocol: frames instead of bytes, in callbacks, on any asyncio event loop.

The life of one message: the transport calls :meth:`FramedProtocol.data_received` with the bytes of one read; the
codec's decoder turns them into frames; :meth:`frames_received` hands them on; what the application sends while it is
there is gathered and leaves in **one** ``transport.write`` when it returns. Outside that call a frame is written at
once.

Back pressure needs nothing from the application: when the peer does not read, asyncio calls ``pause_writing`` and the
protocol stops reading from that peer, so what is owed to it is bounded by the transport's high-water mark and one
read.

How a connection begins and ends is in :mod:`proactor_echo.net.stream_protocol`.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from typing import cast

from ..arguments import check_instance, check_seconds, check_write_limit
from ..errors import DisconnectReason, FramingError
from ..wire.framing import Codec, Decoder, RawCodec
from .stream_protocol import StreamProtocol

__all__ = ["Buffer", "FramedProtocol", "is_proactor"]

Buffer = bytes | bytearray | memoryview


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

    def __init__(self, codec: Codec | None = None, *, write_limit: tuple[int, int] | None = None) -> None:
        super().__init__()
        if codec is not None or write_limit is not None:
            self.configure(codec, write_limit=write_limit)

    # -- for subclasses ------------------------------------------------------------------------------------------

    def frame_received(self, frame: bytes) -> None:
        """Handle one frame."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Handle every frame of one read; override it to work on whole batches."""
        for frame in frames:
            if self._transport.is_closing():
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
        self._fail(error)

    def _fail(self, error: FramingError) -> None:
        """End the connection because of what the peer sent; what is owed to it still goes out."""
        self._ending.note(DisconnectReason.FRAMING, error)
        self._close(DisconnectReason.FRAMING)


def is_proactor(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether operations are completions of the kernel on this loop, so that it has no ``add_reader``."""
    return sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop)
