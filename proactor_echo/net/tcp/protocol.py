"""FramedProtocol: frames instead of bytes, in callbacks, on any asyncio event loop.

The way of one message: the transport calls :meth:`FramedProtocol.data_received` with the bytes of one read. The codec's
decoder turns them into frames, and :meth:`frames_received` gets these. What the application sends during that call is
written in **one** ``transport.write`` when it returns. Outside that call a frame is written at once.

Back pressure is automatic: when the peer does not read, asyncio calls ``pause_writing`` and the protocol stops reading
from that peer. So the pending output is bounded by the transport's high-water mark and the answers to one read.

One read may hold tens of thousands of tiny frames. They are delivered in portions of :data:`FRAMES_AT_ONCE`, one in
each iteration of the loop, so that other connections are not delayed. Reading is paused meanwhile, and what came after
the frames (an end of file, a framing error, the loss of the connection) waits until they have been delivered.

How a connection begins and ends is in :mod:`proactor_echo.net.tcp.core`, its state in
:mod:`proactor_echo.wire.connection`.
"""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from proactor_echo.errors import DisconnectReason
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.wire import BytesLike, Codec

__all__ = ["FRAMES_AT_ONCE", "FramedProtocol"]

#: Frames of one connection that are handled in one iteration of the loop; more wait for the next one.
FRAMES_AT_ONCE: Final = 256


class FramedProtocol(StreamProtocol):
    """Receive and send frames; subclass it and override :meth:`frame_received`.

    ::

        class Shout(FramedProtocol):
            codec = LineCodec()

            def frame_received(self, frame):
                self.send_frame(frame.upper())

        await loop.create_server(Shout, "127.0.0.1", 9000)

    :param codec: how bytes become frames; may be set on the class instead. The default delivers the bytes of each read.
    :param write_limit: ``(high, low)`` in bytes for the transport's write buffer, ``None`` for asyncio's own.

    An exception in one of the callbacks below ends this connection with one log record, and nothing else.
    """

    _batching = False

    # Only while frames of a read remain to be delivered: these frames, what is to be done after them, and the callback
    # for the next portion.
    _portion = FRAMES_AT_ONCE
    _at_once = _portion  # 0 then, so that asking for the length of what came is enough
    _remaining: deque[bytes] | None = None
    _after_remaining: list[Callable[[], object]]
    _next_portion: asyncio.Handle | None = None
    _lost_early = False  # the connection was lost while frames remained

    def __init__(self, codec: Codec | None = None, *, write_limit: tuple[int, int] | None = None) -> None:
        StreamProtocol.__init__(self)
        if codec is not None or write_limit is not None:
            self.configure(codec, write_limit=write_limit)

    # -- for subclasses ------------------------------------------------------------------------------------------

    def frame_received(self, frame: bytes) -> None:
        """Handle one frame."""

    def frames_received(self, frames: list[bytes]) -> None:
        """Handle the frames of one read, up to 256 of them; override it to work on whole batches."""
        stream = self._stream
        for frame in frames:
            if stream.is_closing:
                break  # by the frame before
            self.frame_received(frame)

    # -- sending -------------------------------------------------------------------------------------------------

    def send_frame(self, frame: BytesLike) -> None:
        """Encode and send one frame.

        Raises :class:`FramingError` for a frame that the codec cannot carry, :class:`ProtocolStateError` after our
        own end of file, :class:`Disconnected` when the connection has ended.
        """
        encoded = self._stream.encode(frame)
        if self._batching or self._out:
            self._out.append(encoded)
        else:
            self._write(encoded)

    def send_frames(self, frames: Sequence[BytesLike]) -> None:
        """Encode and send several frames in one write; raises as :meth:`send_frame` does, and then sends none."""
        encoded = self._stream.encode_many(frames)
        if self._out:
            self._out.append(encoded)
        else:
            self._write(encoded)

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is no pending output, no part of a frame received, and no frame to be delivered."""
        return not self._remaining and super().idle

    @property
    def activity(self) -> int:
        """A number that is another one after anything was received, sent or delivered."""
        return super().activity - len(self._remaining or ())

    # -- asyncio.Protocol: called by the transport ---------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Decode the bytes of one read and deliver the frames (called by the transport)."""
        stream = self._stream
        try:
            frames = stream.feed(data)
        except Exception as error:  # of a codec of the application's own
            self.handler_failed(error)
            return
        if len(frames) > self._at_once:
            self._deliver_in_portions(frames)
        elif frames:
            self._deliver(frames)
        if stream.failure is not None:
            self._framing_failed()

    def eof_received(self) -> bool:
        """Handle the peer's end of file (called by the transport)."""
        if self._remaining is None:
            return StreamProtocol.eof_received(self)
        self._after_remaining.append(super().eof_received)
        return not self._asyncio_tls

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection (called by the transport, once)."""
        # Not closed here: it broke, or asyncio's TLS ends it at once when the peer has ended.
        if self._remaining is not None and (exc or self._after_remaining) and self._stream.can_receive:
            self._lost_early = True
            self._after_remaining.append(functools.partial(super().connection_lost, exc))
            self._close_socket()
            self._schedule_portion()
            return
        if self._remaining is not None:  # closed here: what was not delivered is dropped
            self._remaining = None
            self._after_remaining.clear()
        StreamProtocol.connection_lost(self, exc)

    def resume_writing(self) -> None:
        """Go on (called by the transport)."""
        if self._remaining is None:
            super().resume_writing()
        else:
            self._write_paused = False
            self._schedule_portion()

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    def _holds_frames(self) -> bool:
        return bool(self._remaining)

    def _clear_text_ends(self) -> None:
        self.frame_received = self._refuse_frame  # type: ignore[method-assign]  # for the frames behind this one

    def _clear_text_ended(self) -> None:
        vars(self).pop("frame_received", None)

    def _refuse_frame(self, frame: bytes) -> None:
        self._injected()

    def _handle_last(self, frames: list[bytes]) -> None:
        self._deliver(frames)

    def _deliver(self, frames: list[bytes]) -> None:
        self._batching = True
        try:
            self.frames_received(frames)
        except BaseException as error:
            self._raised(error)
        self._batching = False
        if self._lost_early:
            self._out.clear()  # the connection is lost
        elif self._out:
            self._flush()

    def _framing_failed(self) -> None:
        """Close the connection because of what the peer sent; the pending output is still sent."""
        if self._remaining is None:
            self._close(DisconnectReason.FRAMING, self._stream.failure)
        else:
            self._after_remaining.append(self._framing_failed)

    def _close(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        if self._lost_early and self._remaining is not None:  # a frame closed it before the loss is reported
            self._lost_early = False
            self._remaining.clear()
        StreamProtocol._close(self, reason, error)

    # -- a read of many frames -----------------------------------------------------------------------------------

    def _deliver_in_portions(self, frames: list[bytes]) -> None:
        if self._remaining is not None:  # the transport had read on already
            self._remaining.extend(frames)
            return
        self._remaining = deque(frames)
        self._after_remaining = []
        self._pause_reading()
        self._set_waiting(True)
        self._deliver_portion()

    def _set_waiting(self, waits: bool) -> None:
        """Note whether what arrives from now on has to wait for frames that remain."""
        self._at_once = 0 if waits else self._portion

    def _schedule_portion(self) -> None:
        if self._next_portion is None:
            self._next_portion = asyncio.get_running_loop().call_soon(self._deliver_portion)

    def _deliver_portion(self) -> None:
        self._next_portion = None
        rest = self._remaining
        if rest is None:
            return
        if self._stream.can_receive:
            if not self._lost_early and (self._write_paused or self._transport.is_closing()):
                return  # resume_writing() or connection_lost() goes on
            portion = [rest.popleft() for _ in range(min(len(rest), self._portion))]
            self._deliver(portion)
            if rest and self._stream.can_receive:
                self._schedule_portion()
                return
        # All are delivered, or the connection is closing and the others are dropped.
        self._remaining = None
        self._set_waiting(False)
        if not self._after_remaining:
            if not self._write_paused:
                self._resume_reading()
            return
        after, self._after_remaining = self._after_remaining, []
        for each in after:
            each()
