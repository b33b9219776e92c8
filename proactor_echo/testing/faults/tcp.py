"""Faults of TCP connections, each above its effect on one direction of one connection."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from random import Random

from proactor_echo.arguments import check_number, check_seconds, check_whole
from proactor_echo.testing.faults.base import End, Piece, StreamEffect, StreamFault, bounds, check_range

__all__ = [
    "Bandwidth",
    "Coalesce",
    "HalfClose",
    "Limit",
    "Refuse",
    "Reset",
    "Silent",
    "Slice",
    "SlowClose",
    "Stall",
]


@dataclasses.dataclass(frozen=True)
class Bandwidth(StreamFault):
    """Let no more than ``rate`` bytes a second through."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("rate", self.rate, above=0, most=math.inf)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _BandwidthEffect(self.rate)


class _BandwidthEffect(StreamEffect):
    """Bandwidth: bytes leave no faster than at a rate, in portions of a hundredth of a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._portion = max(1, int(rate / 100))
        self._free = -math.inf

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Hold each portion until the line has carried it."""
        if piece.end:
            yield piece
        for start in range(0, len(piece.data), self._portion):
            part = piece.part(start, start + self._portion)
            self._free = max(part.due, self._free) + len(part.data) / self._rate
            part.holds[self] = self._free
            yield part


@dataclasses.dataclass(frozen=True)
class Slice(StreamFault):
    """Cut what is written into pieces of ``size`` bytes, or of ``(least, most)``, ``gap`` seconds apart.

    With ``gap=0`` the receiver may find several pieces in one read: TCP keeps no boundaries.
    """

    size: int | tuple[int, int] = 1
    gap: float = 0.002

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("gap", self.gap, zero=True)
        check_range("size", self.size, 1)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _SliceEffect(*bounds(self.size), self.gap, random)


class _SliceEffect(StreamEffect):
    """Slice: small pieces with gaps between them."""

    def __init__(self, least: int, most: int, gap: float, random: Random) -> None:
        self._least = least
        self._most = most
        self._gap = gap
        self._random = random
        self._left = 0
        self._next = -math.inf

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Cut, and hold each piece until the gap after the one before it is over."""
        if piece.end:
            yield piece
        start = 0
        while start < len(piece.data):
            self._left = self._left or self._random.randint(self._least, self._most)
            part = piece.part(start, start + self._left)
            start += len(part.data)
            self._left -= len(part.data)
            part.joins = False
            part.holds[self] = max(part.due, self._next)
            self._next = part.holds[self] + self._gap
            yield part


@dataclasses.dataclass(frozen=True)
class Coalesce(StreamFault):
    """Hold what is written for ``delay`` seconds; whatever is written meanwhile leaves in the same write."""

    delay: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("delay", self.delay, zero=True)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _CoalesceEffect(self.delay)


class _CoalesceEffect(StreamEffect):
    """Coalesce: what comes within a while leaves together."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._until = -math.inf

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Hold until the while that the first piece began is over."""
        if piece.end:
            self._until = -math.inf
        else:
            piece.joins = piece.due <= self._until
            if not piece.joins:
                self._until = piece.due + self._delay
            piece.holds[self] = self._until
        yield piece


@dataclasses.dataclass(frozen=True)
class Stall(StreamFault):
    """After ``after_bytes``, let nothing through for ``duration`` seconds, once; ``None``: until it is removed."""

    duration: float | None = None
    after_bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("after_bytes", self.after_bytes, unit="bytes")
        check_seconds("duration", self.duration, zero=True, optional=True)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _StallEffect(self.after_bytes, math.inf if self.duration is None else self.duration)


class _StallEffect(StreamEffect):
    """Stall: after so many bytes nothing leaves for a while, once."""

    def __init__(self, after: int, duration: float) -> None:
        self._left = after
        self._duration = duration
        self._until: float | None = None

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Hold what is past the place."""
        before = min(self._left, len(piece.data))
        self._left -= before
        if before:
            yield piece.part(0, before)
        if before < len(piece.data) or piece.end:
            rest = piece.part(before)
            if self._until is None and not self._left:
                self._until = rest.due + self._duration
            if self._until is not None:
                rest.holds[self] = self._until
            yield rest


@dataclasses.dataclass(frozen=True)
class Silent(StreamFault):
    """Accept, take everything and say nothing: what comes this way is thrown away, an end of file included."""

    def stream_effect(self, random: Random) -> StreamEffect:
        return _SilentEffect()


class _SilentEffect(StreamEffect):
    """Silent: nothing leaves."""

    def apply(self, piece: Piece) -> Iterator[Piece]:
        return iter(())


@dataclasses.dataclass(frozen=True)
class Limit(StreamFault):
    """Let ``after_bytes`` through, then close the connection in good order; ``(least, most)`` draws the number."""

    after_bytes: int | tuple[int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("after_bytes", self.after_bytes, 0)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _EndEffect(End.CLOSE, random.randint(*bounds(self.after_bytes)), None)


@dataclasses.dataclass(frozen=True)
class _After(StreamFault):
    """Something that happens after so many bytes or after so many seconds, whichever comes first.

    ``after_bytes`` may be ``(least, most)``. Seconds count from the connection's beginning, or from when the fault was
    added. With neither it happens at once.
    """

    after_bytes: int | tuple[int, int] | None = None
    after: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.after_bytes is not None:
            check_range("after_bytes", self.after_bytes, 0)
        check_seconds("after", self.after, zero=True, optional=True)

    def _cut_off(self, end: End, random: Random) -> StreamEffect:
        place = None if self.after_bytes is None else random.randint(*bounds(self.after_bytes))
        return _EndEffect(end, 0 if place is None and self.after is None else place, self.after)


@dataclasses.dataclass(frozen=True)
class Reset(_After):
    """End the connection with a TCP reset, of both sides, ``after_bytes`` this way or ``after`` seconds.

    Bytes that a system has received and the program has not read may be lost with it; Windows does that.
    """

    def stream_effect(self, random: Random) -> StreamEffect:
        return self._cut_off(End.RESET, random)


@dataclasses.dataclass(frozen=True)
class HalfClose(_After):
    """Say end of file this way early, ``after_bytes`` or ``after`` seconds; the other direction goes on."""

    def stream_effect(self, random: Random) -> StreamEffect:
        return self._cut_off(End.EOF, random)


class _EndEffect(StreamEffect):
    """Limit, Reset, HalfClose: an end after so many bytes, or by a timer; nothing after it."""

    def __init__(self, end: End, after_bytes: int | None, seconds: float | None) -> None:
        self._end = end
        self._left = after_bytes
        if seconds is not None:
            self.timer: tuple[float, End] | None = (seconds, end)

    def start(self, now: float) -> Iterator[Piece]:
        """End at once when nothing is to pass."""
        if self._left == 0:
            yield Piece(now, end=self._end)

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Let through what may pass, then end."""
        if self._left is None:
            yield piece
        elif self._left:
            part = piece.part(0, self._left)
            self._left -= len(part.data)
            yield part
            if not self._left:
                yield dataclasses.replace(part, data=b"", end=self._end, holds=part.holds.copy())


@dataclasses.dataclass(frozen=True)
class SlowClose(StreamFault):
    """Let the end of the stream come ``delay`` seconds late."""

    delay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("delay", self.delay, zero=True)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _SlowCloseEffect(self.delay)


class _SlowCloseEffect(StreamEffect):
    """Slow close: the end is held for a while."""

    def __init__(self, delay: float) -> None:
        self._delay = delay

    def apply(self, piece: Piece) -> Iterator[Piece]:
        if piece.end:
            piece.holds[self] = piece.due + self._delay
        yield piece


@dataclasses.dataclass(frozen=True)
class Refuse(StreamFault):
    """Refuse new connections: nothing listens on the port until it is removed. Open connections go on.

    A connection that the server has not accepted yet ends, as it does when a server stops. It has no direction and no
    probability.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.probability != 1 or self.towards != "client":
            raise ValueError("Refuse has no direction and no probability: either something listens or nothing does")
