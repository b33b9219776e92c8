"""A connection of frames without socket, clock and event loop (sans-I/O): :class:`FramedStream`.

It has the whole state of one connection: the decoder and the encoder, the state of :mod:`proactor_echo.wire.lifecycle`,
the first cause of its end, and the counters. It does no I/O. The owner of a transport reports to it what has happened,
writes the bytes that it returns, and asks it what may be done.

Its methods are of four kinds:

1. **What has happened on the transport**, reported by its owner in the order of events:
   :meth:`~FramedStream.connected`, :meth:`~FramedStream.feed`, :meth:`~FramedStream.feed_eof`,
   :meth:`~FramedStream.lost`.
2. **What the application wants**: :meth:`~FramedStream.encode`, :meth:`~FramedStream.encode_many`,
   :meth:`~FramedStream.send_eof`, :meth:`~FramedStream.close`, :meth:`~FramedStream.abort`,
   :meth:`~FramedStream.set_reason`. They change the state or return bytes; the owner of the transport does the rest.
3. **Questions**: ``state``, ``can_receive``, ``can_send``, ``is_closing``, ``failure``, ``disconnect``,
   :attr:`~FramedStream.buffered`, :attr:`~FramedStream.stats`. Those that are asked for every message are plain
   attributes, for reading only. (An owner that passes frames on without decoding them may add to the counters.)
4. **Errors**: :meth:`~FramedStream.cannot_send`, :meth:`~FramedStream.lost_error`,
   :meth:`~FramedStream.end_of_stream`, :meth:`~FramedStream.sign`, :meth:`~FramedStream.without_end_errors`. Every
   exception that is raised because the connection has ended knows its connection, so a program with several can tell.

**The first cause.** What follows from an end is not the reason for it: a reset after our abort, an error while closing.
So the first cause counts, with one exception: if a close fails or is cut short, the reason for that counts.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, Final, NoReturn, TypeVar

from proactor_echo.errors import (
    Disconnect,
    Disconnected,
    DisconnectReason,
    EndOfStream,
    FramingError,
    ProactorEchoError,
    ProtocolStateError,
    classify,
)
from proactor_echo.escaping import escaped
from proactor_echo.wire.codec import BytesLike, Codec, Decoder, as_bytes
from proactor_echo.wire.lifecycle import MAY_RECEIVE, MAY_SEND, TRANSITIONS, ConnectionState, Event, next_state
from proactor_echo.wire.raw import RawCodec

__all__ = ["LOCAL_CLOSE", "ConnectionStats", "FramedStream"]

#: The most frequent reason, by a name of its own: looking a member up in its enumeration takes 30 ns on Python 3.11.
LOCAL_CLOSE: Final = DisconnectReason.LOCAL_CLOSE

E = TypeVar("E", bound=ProactorEchoError)


@dataclasses.dataclass(slots=True)
class ConnectionStats:
    """The counters of one connection."""

    bytes_in: int = 0
    bytes_out: int = 0
    frames_in: int = 0
    frames_out: int = 0

    def add(self, other: ConnectionStats | FramedStream) -> None:
        """Add the traffic of another connection."""
        self.bytes_in += other.bytes_in
        self.bytes_out += other.bytes_out
        self.frames_in += other.frames_in
        self.frames_out += other.frames_out

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, ready for JSON."""
        return dataclasses.asdict(self)


class FramedStream:
    """One connection of frames, without its socket.

    :param codec: how bytes become frames. Another may be set until :meth:`connected`.
    :param peer: the other side; errors name it as :meth:`peer_name` does.
    """

    __slots__ = (
        "_decoder",
        "_peer_ended",
        "_reason",
        "_text",
        "bytes_in",
        "bytes_out",
        "can_receive",
        "can_send",
        "codec",
        "disconnect",
        "failure",
        "frames_in",
        "frames_out",
        "is_closing",
        "peer",
        "state",
    )

    def __init__(self, codec: Codec, peer: object = None) -> None:
        self.codec: Codec = codec
        self.peer: object = peer
        #: The state of the connection.
        self.state: ConnectionState = ConnectionState.OPENING
        #: Whether the peer may still send: OPEN and OUR_EOF.
        self.can_receive: bool = False
        #: Whether we may still send: OPEN and PEER_EOF.
        self.can_send: bool = False
        #: Whether it was closed or aborted here, or is lost: frames are no longer handled.
        self.is_closing: bool = False
        #: The framing error in the bytes of the peer, if there was one: nothing is decoded after it.
        self.failure: FramingError | None = None
        #: Why the connection ended; None while it has not.
        self.disconnect: Disconnect | None = None
        self.bytes_in: int = 0
        self.bytes_out: int = 0
        self.frames_in: int = 0
        self.frames_out: int = 0
        self._decoder: Decoder = _RAW_DECODER
        self._peer_ended = False
        # Of the cause only the text is kept. The error itself refers, by its traceback, to the frames of the code that
        # raised it and so to the connection: a cycle, which would keep everything received from being freed.
        self._reason: DisconnectReason | None = None
        self._text = ""

    def __repr__(self) -> str:
        return f"<FramedStream {self.peer_name() or 'unconnected'} {self.state}>"

    # -- 1. what has happened below ------------------------------------------------------------------------------

    def connected(self) -> None:
        """Open the connection. If the codec's ``decoder()`` raises, the state has changed nevertheless."""
        self.state, self.can_receive, self.can_send = _CONNECTED.get(self.state) or self._refuse(Event.CONNECTED)
        if type(self.codec) is RawCodec:
            return  # whose decoder holds nothing, so one does for all connections
        decoder = self.codec.decoder()
        kind = type(decoder)
        usual = kind.feed is Decoder.feed and kind.eof is Decoder.eof
        self._decoder = decoder if usual else _FeedDecoder(decoder)

    def feed(self, data: BytesLike) -> list[bytes]:
        """Decode the bytes that arrived; return the frames that are complete with them, which may be none.

        Bytes that arrive when nothing may arrive are ignored. If the codec does not allow them, :attr:`failure` is set
        and the frames before them are returned: the caller handles those, and then ends the connection. Any other
        exception of a codec is raised.
        """
        frames: list[bytes] = []
        if not self.can_receive or self.failure is not None:
            return frames
        if type(data) is not bytes:
            data = as_bytes(data)  # asyncio's own proactor transport has a bytearray
        self.bytes_in += len(data)
        try:
            self._decoder.decode_chunk(data, frames)  # what feed() does around it is done here
        except FramingError as error:
            self._failed(error)
        self.frames_in += len(frames)
        return frames

    def feed_eof(self) -> list[bytes]:
        """Handle the peer's end of file; return the frames that are complete by that. A second one changes nothing.

        :attr:`failure` is set when it came inside a frame; what else is raised is as for :meth:`feed`.
        """
        frames: list[bytes] = []
        if not self.can_receive:
            return frames
        self._peer_ended = True
        self.state, self.can_receive, self.can_send = _PEER_EOF.get(self.state) or self._refuse(Event.PEER_EOF)
        if self.failure is None and self._decoder is not _RAW_DECODER:
            try:
                self._decoder.decode_end(frames)
            except FramingError as error:
                self._failed(error)
        self.frames_in += len(frames)
        return frames

    def lost(self, error: BaseException | None = None) -> Disconnect:
        """Set the state to CLOSED: the connection has ended, with ``error`` or without. Return the first cause."""
        self.state, self.can_receive, self.can_send = _LOST
        self.is_closing = True
        self.disconnect = disconnect = self._final_disconnect(error)
        return disconnect

    # -- 2. what the application wants ---------------------------------------------------------------------------

    def encode(self, frame: BytesLike) -> bytes:
        """Return the bytes that carry a frame, which counts as sent.

        Raises :class:`~proactor_echo.errors.FramingError` for a frame that the codec cannot carry, and what
        :meth:`cannot_send` says when nothing may be sent.
        """
        if not self.can_send:
            raise self.cannot_send()
        encoded = self.codec.encode(frame)
        self.frames_out += 1
        return encoded

    def encode_many(self, frames: Sequence[BytesLike]) -> bytes:
        """Return the bytes that carry several frames; raises as :meth:`encode` does, and then none counts as sent."""
        if not self.can_send:
            raise self.cannot_send()
        encoded = self.codec.encode_many(frames)
        self.frames_out += len(frames)
        return encoded

    def send_eof(self) -> bool:
        """End sending. Return whether an end of file is to be sent: not when sending had ended before.

        Raises :class:`~proactor_echo.errors.ProtocolStateError` while the connection is opening.
        """
        if self.state is ConnectionState.OPENING:
            raise ProtocolStateError("cannot send an end of file: the connection is opening")
        if not self.can_send:
            return False
        self.state, self.can_receive, self.can_send = _SEND_EOF.get(self.state) or self._refuse(Event.SEND_EOF)
        return True

    def close(self, reason: DisconnectReason = LOCAL_CLOSE, error: BaseException | None = None) -> bool:
        """Close the connection. Return whether that is new: not when it was closing or closed before."""
        if self._reason is None:
            self.set_reason(reason, error)
        if self.is_closing:
            return False
        self.is_closing = True
        self.state, self.can_receive, self.can_send = _CLOSE.get(self.state) or self._refuse(Event.CLOSE)
        return True

    def abort(self, reason: DisconnectReason, error: BaseException | None = None) -> bool:
        """Abort the connection. Return whether that is new: not when it had ended before."""
        self.set_reason(reason, error, forced=True)
        if self.state is ConnectionState.CLOSED:
            return False
        self.is_closing = True
        self.state, self.can_receive, self.can_send = _ABORT
        return True

    def set_reason(self, reason: DisconnectReason, error: BaseException | None = None, *, forced: bool = False) -> None:
        """Set why the connection is going to end, unless that is set. ``forced``: pending output will be dropped."""
        if self._reason is None or (forced and self._reason is LOCAL_CLOSE):
            self._reason = reason
            self._text = "" if error is None else f"{reason}: {escaped(str(error))}"

    # -- 3. questions --------------------------------------------------------------------------------------------

    def peer_name(self) -> str:
        """Return the peer as text; a subclass may override it."""
        return str(self.peer or "")

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return self._decoder.buffered

    @property
    def decoder(self) -> Decoder:
        """The decoder; for an owner that passes frames on as they came: see :meth:`Decoder.skim`."""
        return self._decoder

    @property
    def stats(self) -> ConnectionStats:
        """The counters, as they are now."""
        return ConnectionStats(self.bytes_in, self.bytes_out, self.frames_in, self.frames_out)

    # -- 4. errors -----------------------------------------------------------------------------------------------

    def cannot_send(self) -> ProactorEchoError:
        """Return the exception for sending when nothing may be sent."""
        if self.disconnect is not None or self._reason not in (None, DisconnectReason.LOCAL_CLOSE):
            return self.lost_error(self.disconnect or self._final_disconnect(None))
        if self.state is ConnectionState.OUR_EOF:
            return ProtocolStateError("cannot send after send_eof(), which told the peer that nothing more comes")
        return ProtocolStateError(f"cannot send: the connection is {self.state}")

    def lost_error(self, disconnect: Disconnect) -> Disconnected:
        """Return the exception for using a connection that has ended like this."""
        text = f"{self.peer_name()}: {disconnect.text}"
        return self.sign(Disconnected(text, reason=disconnect.reason, number=disconnect.number))

    def end_of_stream(self) -> EndOfStream:
        """Return the exception for receiving after the last frame."""
        return self.sign(EndOfStream(f"{self.peer_name()}: no more frames"))

    def sign(self, error: E) -> E:
        """Mark ``error`` as raised because this connection has ended, and return it."""
        error.ending = self
        return error

    def without_end_errors(self, error: BaseException) -> BaseException | None:
        """Return ``error`` without the errors that :meth:`sign` has marked; None if none is left.

        Out of a group, as :class:`asyncio.TaskGroup` raises it, only the marked errors are taken, however deep.
        """
        if isinstance(error, BaseExceptionGroup):
            return error.split(lambda each: self._is_end_error(each))[1]  # noqa: PLW0108 - split() refuses a bound method
        return None if self._is_end_error(error) else error

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    def _refuse(self, event: Event) -> NoReturn:
        next_state(self.state, event)  # raises
        raise AssertionError(f"{event} is possible in {self.state}")

    def _failed(self, error: FramingError) -> None:
        self._decoder._fail(error, [])  # frees its buffer; the frames before the error are the caller's
        self.failure = copy.copy(error)  # without a traceback, which would refer to us

    def _final_disconnect(self, error: BaseException | None) -> Disconnect:
        """Return why the connection ended: the first cause, else the error of the transport."""
        reason = self._reason
        if reason is not None and reason is not LOCAL_CLOSE:
            return Disconnect(reason, None, self._text or str(reason))
        if error is not None:
            return classify(error)
        return _END_OF_FILE if self._peer_ended else _LOCAL_CLOSE

    def _is_end_error(self, error: BaseException) -> bool:
        return isinstance(error, ProactorEchoError) and error.ending is self


def _after(event: Event) -> dict[ConnectionState, tuple[ConnectionState, bool, bool]]:
    """Return what ``event`` makes of each state it may come in: the next, and whether that can receive and can send."""
    return {
        state: (after, after in MAY_RECEIVE, after in MAY_SEND)
        for (state, cause), after in TRANSITIONS.items()
        if cause is event
    }


# The table by events. Each event is looked up where it is handled, since connections are made often.
_CONNECTED, _PEER_EOF, _SEND_EOF, _CLOSE = map(_after, (Event.CONNECTED, Event.PEER_EOF, Event.SEND_EOF, Event.CLOSE))
# These two lead from every state to the same one.
_ABORT, _LOST = (_after(event)[ConnectionState.OPEN] for event in (Event.ABORT, Event.LOST))

_END_OF_FILE, _LOCAL_CLOSE = (
    Disconnect(reason, None, str(reason)) for reason in (DisconnectReason.END_OF_FILE, DisconnectReason.LOCAL_CLOSE)
)


class _FeedDecoder(Decoder):
    """A decoder of the application that overrides ``feed()`` or ``eof()``."""

    def __init__(self, decoder: Decoder) -> None:
        super().__init__()
        self._own = decoder

    @property
    def buffered(self) -> int:
        return self._own.buffered

    def skim(self, data: bytes) -> tuple[int, int]:
        return self._own.skim(data)

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        try:
            frames += self._own.feed(data)
        except FramingError as error:
            frames += error.frames
            raise

    def decode_end(self, frames: list[bytes]) -> None:
        try:
            frames += self._own.eof()
        except FramingError as error:
            frames += error.frames
            raise


#: The decoder of every connection without a codec, and of those which are not open yet.
_RAW_DECODER: Final = RawCodec().decoder()
