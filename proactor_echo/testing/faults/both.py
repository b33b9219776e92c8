"""Faults of connections and of datagrams, each above its two effects."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from random import Random

from proactor_echo.arguments import check_number, check_seconds
from proactor_echo.testing.faults.base import (
    Datagram,
    DatagramEffect,
    DatagramFault,
    Piece,
    StreamEffect,
    StreamFault,
)

__all__ = ["Corrupt", "Latency"]


@dataclasses.dataclass(frozen=True)
class Latency(StreamFault, DatagramFault):
    """Everything comes ``delay`` seconds late, give or take up to ``jitter`` seconds.

    A stream stays in order; datagrams with jitter may overtake each other, as they do in a network.
    """

    delay: float
    jitter: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("delay", self.delay, zero=True)
        check_seconds("jitter", self.jitter, zero=True)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _StreamLatencyEffect(self.delay, self.jitter, random)

    def datagram_effect(self) -> DatagramEffect:
        return _DatagramLatencyEffect(self.delay, self.jitter)


class _StreamLatencyEffect(StreamEffect):
    """Latency: each piece is held for a while."""

    def __init__(self, delay: float, jitter: float, random: Random) -> None:
        self._delay = delay
        self._jitter = jitter
        self._random = random

    def apply(self, piece: Piece) -> Iterator[Piece]:
        wait = self._delay + self._random.uniform(-self._jitter, self._jitter)
        piece.holds[self] = piece.due + max(0.0, wait)
        yield piece


class _DatagramLatencyEffect(DatagramEffect):
    """Latency: each datagram leaves late, by itself."""

    def __init__(self, delay: float, jitter: float) -> None:
        self._delay = delay
        self._jitter = jitter

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        datagram.due += max(0.0, self._delay + random.uniform(-self._jitter, self._jitter))
        return [datagram]


@dataclasses.dataclass(frozen=True)
class Corrupt(StreamFault, DatagramFault):
    """Change bytes: a share ``rate`` of those of a stream; of a datagram that is hit the same, but one at least."""

    rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("rate", self.rate, above=0, most=1)

    def stream_effect(self, random: Random) -> StreamEffect:
        return _StreamCorruptEffect(self.rate, random)

    def datagram_effect(self) -> DatagramEffect:
        return _DatagramCorruptEffect(self.rate)


class _StreamCorruptEffect(StreamEffect):
    """Corrupt: bytes changed at places that the seed decides."""

    def __init__(self, rate: float, random: Random) -> None:
        self._rate = rate
        self._random = random
        self._until_next = self._draw()

    def apply(self, piece: Piece) -> Iterator[Piece]:
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


class _DatagramCorruptEffect(DatagramEffect):
    """Corrupt: bytes changed, one at least."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Change a share of its bytes, one at least; an empty one stays as it is."""
        data = bytearray(datagram.data)
        if data:
            places = [place for place in range(len(data)) if random.random() < self._rate]
            for place in places or [random.randrange(len(data))]:
                data[place] ^= random.randint(1, 255)
        datagram.data = bytes(data)
        return [datagram]
