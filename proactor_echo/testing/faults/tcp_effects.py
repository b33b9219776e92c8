"""What each fault does to one direction of one connection: pieces of a stream in, pieces with a due time out.

A piece is some bytes, or the end of the stream, and the time at which it may leave. An effect changes, splits, delays
or swallows pieces; several effects are a chain. Time is a number in the piece, so all of it can be tested without
waiting. Where an effect does something is decided by the number of bytes that have passed it, not by how they were cut
into pieces.
"""

from __future__ import annotations

import dataclasses
import enum
import math
from collections.abc import Iterator
from random import Random

__all__ = [
    "Corruption",
    "CutOff",
    "Effect",
    "End",
    "Gather",
    "Late",
    "LateEnd",
    "Piece",
    "Slicer",
    "Standstill",
    "Swallow",
    "Throttle",
]


class End(enum.StrEnum):
    """The ways in which a stream ends."""

    EOF = "end of file"
    CLOSE = "closed"
    RESET = "reset"


@dataclasses.dataclass(slots=True)
class Piece:
    """Bytes or an end, arrived at ``arrived``; effects put holds on it, and it leaves when all are over."""

    arrived: float
    data: bytes = b""
    end: End | None = None
    #: Whether it may leave in one write with the piece before it.
    joins: bool = False
    holds: dict[Effect, float] = dataclasses.field(default_factory=dict)

    @property
    def due(self) -> float:
        """When it may leave."""
        return max(self.arrived, *self.holds.values()) if self.holds else self.arrived

    def part(self, start: int, stop: int | None = None) -> Piece:
        """Return a piece of the piece."""
        return dataclasses.replace(self, data=self.data[start:stop], holds=self.holds.copy())


class Effect:
    """What a fault does to one direction of one connection."""

    #: An end that comes after so many seconds whatever passes, or None.
    timer: tuple[float, End] | None = None

    def start(self, now: float) -> Iterator[Piece]:
        """Yield what leaves before anything has arrived."""
        return iter(())

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Yield what becomes of a piece."""
        yield piece


class Late(Effect):
    """Latency: each piece is held for a while."""

    def __init__(self, delay: float, jitter: float, random: Random) -> None:
        self._delay = delay
        self._jitter = jitter
        self._random = random

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Hold."""
        wait = self._delay + self._random.uniform(-self._jitter, self._jitter)
        piece.holds[self] = piece.due + max(0.0, wait)
        yield piece


class LateEnd(Effect):
    """Slow close: the end is held for a while."""

    def __init__(self, delay: float) -> None:
        self._delay = delay

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Hold the end."""
        if piece.end:
            piece.holds[self] = piece.due + self._delay
        yield piece


class Throttle(Effect):
    """Bandwidth: bytes leave no faster than at a rate, in portions of a hundredth of a second."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._portion = max(1, int(rate / 100))
        self._free = -math.inf

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Hold each portion until the line has carried it."""
        if piece.end:
            yield piece
        for start in range(0, len(piece.data), self._portion):
            part = piece.part(start, start + self._portion)
            self._free = max(part.due, self._free) + len(part.data) / self._rate
            part.holds[self] = self._free
            yield part


class Slicer(Effect):
    """Slice: small pieces with gaps between them."""

    def __init__(self, least: int, most: int, gap: float, random: Random) -> None:
        self._least = least
        self._most = most
        self._gap = gap
        self._random = random
        self._left = 0
        self._next = -math.inf

    def passing(self, piece: Piece) -> Iterator[Piece]:
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


class Gather(Effect):
    """Coalesce: what comes within a while leaves together."""

    def __init__(self, delay: float) -> None:
        self._delay = delay
        self._until = -math.inf

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Hold until the while that the first piece began is over."""
        if piece.end:
            self._until = -math.inf
        else:
            piece.joins = piece.due <= self._until
            if not piece.joins:
                self._until = piece.due + self._delay
            piece.holds[self] = self._until
        yield piece


class Standstill(Effect):
    """Stall: after so many bytes nothing leaves for a while, once."""

    def __init__(self, after: int, duration: float) -> None:
        self._left = after
        self._duration = duration
        self._until: float | None = None

    def passing(self, piece: Piece) -> Iterator[Piece]:
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


class Swallow(Effect):
    """Silent: nothing leaves."""

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Throw it away."""
        return iter(())


class CutOff(Effect):
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

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Let through what may pass, then end."""
        if self._left is None:
            yield piece
        elif self._left:
            part = piece.part(0, self._left)
            self._left -= len(part.data)
            yield part
            if not self._left:
                yield dataclasses.replace(part, data=b"", end=self._end, holds=part.holds.copy())


class Corruption(Effect):
    """Corrupt: bytes changed at places that the seed decides."""

    def __init__(self, rate: float, random: Random) -> None:
        self._rate = rate
        self._random = random
        self._until_next = self._draw()

    def passing(self, piece: Piece) -> Iterator[Piece]:
        """Change the bytes whose turn it is."""
        if self._until_next < len(piece.data):
            data = bytearray(piece.data)
            place = self._until_next
            while place < len(data):
                data[place] ^= self._random.randint(1, 255)
                place += 1 + self._draw()
            self._until_next = place
            piece.data = bytes(data)
        self._until_next -= len(piece.data)
        yield piece

    def _draw(self) -> int:
        """Draw how many bytes stay as they are before the next one that is changed."""
        if self._rate >= 1:
            return 0
        return int(math.log(1 - self._random.random()) / math.log(1 - self._rate))
