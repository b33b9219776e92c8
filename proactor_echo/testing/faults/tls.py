"""Faults of TLS, each above its effect: they count records, which can be told apart without decrypting them.

What is no TLS passes unharmed. Records are counted from when the fault begins to work on a connection: on a new one
from its first, on an open one from then on.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from random import Random
from typing import Final

from proactor_echo.arguments import check_instance, check_seconds, check_whole
from proactor_echo.testing.faults.base import End, Piece, StreamEffect, StreamFault, bounds, check_range
from proactor_echo.testing.faults.records import HEADER, Part, Record, Records

__all__ = ["CorruptRecord", "CutHandshake", "StallHandshake", "WithholdCloseNotify"]

ALERT: Final = 21
APPLICATION_DATA: Final = 23

#: An alert in TLS 1.3 looks like application data: 2 bytes, 1 for its kind, and 16 or 8 that authenticate them.
ENCRYPTED_ALERT: Final = (2 + 1 + 16, 2 + 1 + 8)


class _RecordEffect(StreamEffect):
    """Works on parts of records."""

    def __init__(self) -> None:
        self._records = Records()

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Cut a piece where records begin."""
        if piece.end:
            yield from self._end(piece)
        for part in self._records.feed(piece.data):
            yield from self._part(_with(piece, part.data), part)

    def release(self, now: float) -> Iterator[Piece]:
        """Yield the beginning of a header."""
        if rest := self._records.rest():
            yield Piece(now, rest)

    def _part(self, piece: Piece, part: Part) -> Iterator[Piece]:
        """Yield what becomes of a part of a record."""
        raise NotImplementedError

    def _end(self, piece: Piece) -> Iterator[Piece]:
        """Yield what becomes of the end."""
        yield from self.release(piece.arrived)
        yield piece


def _with(piece: Piece, data: bytes) -> Piece:
    return dataclasses.replace(piece, data=data, holds=piece.holds.copy())


@dataclasses.dataclass(frozen=True, kw_only=True)
class _AtRecord(StreamFault):
    """Something that happens ``after_records`` records and ``after_bytes`` bytes of the next."""

    after_records: int = 1
    after_bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("after_records", self.after_records, unit="records")
        check_whole("after_bytes", self.after_bytes, unit="bytes")


class _PlaceEffect(_RecordEffect):
    """Tells what is before a place from what is after it."""

    def __init__(self, fault: _AtRecord) -> None:
        super().__init__()
        self._after_records = fault.after_records
        self._after_bytes = fault.after_bytes
        self._reached = not fault.after_records and not fault.after_bytes

    def _before(self, part: Part) -> int:
        """Return how many bytes of the part are before the place, and note whether it is reached with them."""
        if self._reached or part.record is None:
            return 0 if self._reached else len(part.data)
        if part.record.number < self._after_records:
            self._reached = part.last and part.record.number == self._after_records - 1 and not self._after_bytes
            return len(part.data)
        self._reached = part.last or part.start + len(part.data) >= self._after_bytes
        return max(0, self._after_bytes - part.start)


@dataclasses.dataclass(frozen=True)
class StallHandshake(_AtRecord):
    """After ``after_records`` TLS records, let nothing through for ``duration`` seconds; ``None``: until it is removed.

    The first record is the hello of a side; its rest, with which the handshake would be done, does not come. With
    ``after_records=0`` the hello does not come either, with ``after_bytes=3`` three bytes of it.
    """

    duration: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("duration", self.duration, zero=True, optional=True)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _StallHandshakeEffect(self, math.inf if self.duration is None else self.duration)


class _StallHandshakeEffect(_PlaceEffect):
    """Stall handshake: what is past the place is held, once."""

    def __init__(self, fault: _AtRecord, duration: float) -> None:
        super().__init__(fault)
        self._duration = duration
        self._until: float | None = None

    def _part(self, piece: Piece, part: Part) -> Iterator[Piece]:
        before = self._before(part)
        if before:
            yield piece.part(0, before)
        if before < len(part.data):
            yield self._hold(piece.part(before))

    def _end(self, piece: Piece) -> Iterator[Piece]:
        for last in super()._end(piece):
            yield self._hold(last) if self._reached else last

    def _hold(self, piece: Piece) -> Piece:
        if self._until is None:
            self._until = piece.due + self._duration
        piece.holds[self] = self._until
        return piece


@dataclasses.dataclass(frozen=True)
class CutHandshake(_AtRecord):
    """End the connection, of both sides, after ``after_records`` TLS records this way, by default after the hello.

    It is closed in good order, or with ``reset=True`` by a TCP reset. ``after_bytes`` of the next record still come.
    """

    reset: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_instance("reset", self.reset, bool)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _CutHandshakeEffect(self, End.RESET if self.reset else End.CLOSE)


class _CutHandshakeEffect(_PlaceEffect):
    """Cut handshake: at the place everything ends."""

    def __init__(self, fault: _AtRecord, end: End) -> None:
        super().__init__(fault)
        self._end_with = end

    def start(self, now: float) -> Iterator[Piece]:
        """End at once when nothing is to pass."""
        if self._reached:
            yield Piece(now, end=self._end_with)

    def _part(self, piece: Piece, part: Part) -> Iterator[Piece]:
        if self._reached:
            return
        before = self._before(part)
        if before:
            yield piece.part(0, before)
        if self._reached:
            yield dataclasses.replace(_with(piece, b""), end=self._end_with)


@dataclasses.dataclass(frozen=True)
class WithholdCloseNotify(StreamFault):
    """Let the end of the TCP stream come without the close_notify before it, as when somebody cuts a stream short.

    In TLS 1.3 a close_notify cannot be told from two bytes of data. So two bytes that are written alone come together
    with what is written after them, and if nothing is, they do not come.
    """

    def stream_effect(self, random: Random) -> StreamEffect:
        return _WithholdCloseNotifyEffect()


class _WithholdCloseNotifyEffect(_RecordEffect):
    """Withhold close_notify: a record that may be one is held until another follows it, and dropped at the end."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[Piece] = []

    def _part(self, piece: Piece, part: Part) -> Iterator[Piece]:
        if not part.start:
            yield from self._flush()
        if part.record is not None and _may_be_close_notify(part.record):
            self._held.append(piece)
        else:
            yield piece

    def _end(self, piece: Piece) -> Iterator[Piece]:
        self._held.clear()
        return super()._end(piece)

    def release(self, now: float) -> Iterator[Piece]:
        """Yield what is held."""
        yield from self._flush()
        yield from super().release(now)

    def _flush(self) -> Iterator[Piece]:
        held, self._held = self._held, []
        yield from held


def _may_be_close_notify(record: Record) -> bool:
    if record.kind == ALERT:
        return record.length > 2  # else it is in clear: the handshake has failed
    return record.kind == APPLICATION_DATA and record.length in ENCRYPTED_ALERT


@dataclasses.dataclass(frozen=True)
class CorruptRecord(StreamFault):
    """Change one byte of one TLS record, that after ``after_records`` of them; ``(least, most)`` draws the number.

    Headers stay as they are: the record arrives whole, and does not decrypt.
    """

    after_records: int | tuple[int, int] = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("after_records", self.after_records, 0, unit="records")

    def stream_effect(self, random: Random) -> StreamEffect:
        return _CorruptRecordEffect(random.randint(*bounds(self.after_records)), random)


class _CorruptRecordEffect(_RecordEffect):
    """Corrupt record: one byte is changed, at a place that the seed decides."""

    def __init__(self, number: int, random: Random) -> None:
        super().__init__()
        self._number = number
        self._random = random
        self._victim: Record | None = None
        self._place = 0

    def _part(self, piece: Piece, part: Part) -> Iterator[Piece]:
        record = part.record
        if self._victim is None and record is not None and record.number >= self._number and record.length:
            self._victim = record
            self._place = HEADER + self._random.randrange(record.length)
        if record is not None and record is self._victim and part.start <= self._place < part.start + len(part.data):
            data = bytearray(part.data)
            data[self._place - part.start] ^= self._random.randint(1, 255)
            piece.data = bytes(data)
        yield piece
