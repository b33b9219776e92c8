"""The base classes of codecs and decoders.

A :class:`Codec` is a description: how long frames may be and what goes around their payload. It has no memory, so one
object serves any number of connections, both ways. A :class:`Decoder` is the memory of one stream: it is made by
:meth:`Codec.decoder`, takes the bytes as they arrive, in pieces of any size, and hands out payloads.

Every codec of this package meets three requirements; a codec of your own should meet them too:

* ``decode(encode(x)) == x``; a payload for which that cannot hold is refused by ``encode``;
* the frames do not depend on how the stream was cut into pieces;
* a decoder holds no more than one frame, and frames are bounded.

Nothing here knows of sockets, clocks or event loops.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

from proactor_echo.arguments import check_bytes, check_choice, check_whole
from proactor_echo.errors import FrameTooLong, FrameTruncated, FramingError, ProtocolStateError

__all__ = ["BytesLike", "Codec", "Decoder", "PartialFrame"]

#: What can be fed to a decoder or encoded. Frames that come out are always ``bytes``.
BytesLike: TypeAlias = bytes | bytearray | memoryview


class Codec(ABC):
    """A way to put payloads into a byte stream and to find them again.

    To write your own, give it :meth:`encode` and :meth:`decoder`.
    """

    #: The longest payload, in bytes, that is sent or handed to the user. None: the codec has no bound of its own.
    max_frame_length: int | None = None

    #: Whether bytes that hold whole frames and nothing else are what encoding their payloads again would give.
    #:
    #: Then a program that passes frames on unchanged, as echo does, may pass on the bytes. False is always right.
    canonical: bool = False

    @abstractmethod
    def encode(self, payload: BytesLike) -> bytes:
        """Return the bytes that carry one payload.

        Raises :class:`~proactor_echo.errors.FrameTooLong` for a payload over ``max_frame_length``, and
        :class:`~proactor_echo.errors.FramingError` (a ``ValueError``) for one that would not come out as it went in.
        """

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the bytes that carry all payloads in their order: ``b"".join(map(encode, payloads))``, but faster."""
        return b"".join([self.encode(payload) for payload in payloads])

    @abstractmethod
    def decoder(self) -> Decoder:
        """Return a new decoder, for one stream."""


class Decoder(ABC):
    """Finds the frames in one stream of bytes.

    A subclass writes :meth:`decode_chunk` and keeps the bytes of an unfinished frame in ``pending``.
    """

    def __init__(self) -> None:
        #: The bytes of an unfinished frame, as they came.
        self.pending: bytearray = bytearray()
        #: How many frames were discarded because they were too long.
        self.skipped = 0
        self._error: FramingError | None = None
        self._over = False  # after an error or the end

    @property
    def buffered(self) -> int:
        """How many bytes of an unfinished frame are held."""
        return len(self.pending)

    def feed(self, data: BytesLike) -> list[bytes]:
        """Decode the next bytes of the stream; return the payloads that are complete with them, which may be none.

        Raises :class:`~proactor_echo.errors.FramingError` when the bytes are not what the codec allows. The payloads
        that were complete before the error are in the exception's ``frames``. Where the next frame begins is not known
        any more, so every later call raises the same error again. After :meth:`eof` it raises
        :class:`~proactor_echo.errors.ProtocolStateError`.
        """
        if type(data) is not bytes:
            data = as_bytes(data)
        if self._over:
            self._refuse()
        frames: list[bytes] = []
        try:
            self.decode_chunk(data, frames)
        except FramingError as error:
            self._fail(error, frames)
            raise
        return frames

    def skim(self, data: bytes) -> tuple[int, int]:
        """Count the whole frames that ``data`` begins with; return how many they are, and where the last one ends.

        It is for programs that pass frames on as they came (see :attr:`Codec.canonical`) and do not look into them.
        The frames that were counted are decoded; give :meth:`feed` only what follows them. Never raises. ``(0, 0)``
        is always right, and means "use feed() for all of it": in the middle of a frame, and for codecs where counting
        is as expensive as decoding.
        """
        return 0, 0

    def eof(self) -> list[bytes]:
        """Mark the end of the stream; return the payloads that are complete by that, which is almost always none.

        Raises :class:`~proactor_echo.errors.FrameTruncated` when the stream ended inside a frame. Its ``partial`` holds
        the bytes of that frame, with their header, as they came. A second call changes nothing.
        """
        frames: list[bytes] = []
        if self._error is not None:
            self._refuse()
        if not self._over:
            self._over = True
            try:
                self.decode_end(frames)
            except FramingError as error:
                self._fail(error, frames)
                raise
        return frames

    @abstractmethod
    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        """Append to ``frames`` every payload that is complete with ``data``, and keep the rest in ``pending``.

        It appends, and does not return a list, so that the frames before an error are not lost.
        """

    def decode_end(self, frames: list[bytes]) -> None:
        """Handle the bytes that are left at the end of the stream; raises FrameTruncated if there are any."""
        if self.pending:
            raise truncated(bytes(self.pending))

    def _fail(self, error: FramingError, frames: list[bytes]) -> None:
        """Keep a copy of the error for later calls: without the frames, which came once, and without a traceback."""
        self._error = copy.copy(error)
        error.frames = frames
        self._over = True
        self.pending.clear()

    def _refuse(self) -> None:
        if self._error is not None:
            raise copy.copy(self._error)
        raise ProtocolStateError("feed() was called after eof(): the decoder of a stream that has ended takes no more")


class PartialFrame(bytes):
    """A last frame without its delimiter: a codec made with ``partial="deliver"`` returns it when the stream ends.

    It compares and behaves as ``bytes`` do; ``isinstance(frame, PartialFrame)`` distinguishes it from a whole frame.
    """

    __slots__ = ()


def as_bytes(data: BytesLike) -> bytes:
    """Return the same bytes as ``bytes``. Unlike ``bytes()``, this takes no number for a size."""
    if type(data) is bytes:
        return data
    try:
        return memoryview(data).tobytes()
    except TypeError:
        check_bytes("the payload", data)
        raise


def join(separator: bytes, payloads: Sequence[BytesLike]) -> bytes:
    """Join payloads of any kind."""
    try:
        return separator.join(payloads)
    except (TypeError, BufferError):  # for a memoryview with gaps, CPython's and PyPy's; TypeError for much else too
        return separator.join(map(as_bytes, payloads))


def too_long(length: int, limit: int) -> FrameTooLong:
    """Make the error for a frame over the limit; both are bytes of payload."""
    return FrameTooLong(f"a frame of {length} bytes is over the limit of {limit}", length=length, limit=limit)


def truncated(partial: bytes) -> FrameTruncated:
    """Make the error for a stream that ended inside a frame."""
    return FrameTruncated(f"the stream ended inside a frame, {len(partial)} bytes into it", partial=partial)


def check_limit(max_frame_length: int, on_too_long: str) -> None:
    """Check ``max_frame_length`` and ``on_too_long``, which most codecs have."""
    check_whole("max_frame_length", max_frame_length, unit="bytes")
    check_choice("on_too_long", on_too_long, ("raise", "skip"))
