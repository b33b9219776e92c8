"""What each fault does to the datagrams between one client and its server, in one direction.

A datagram has a due time; an effect loses, copies, changes, delays or holds it. Whether the n-th datagram is hit, and
how, is drawn from the fault's seed, the client's number and n, so that neither the clock nor other datagrams have a
say in it. Time is a number in the datagram.
"""

from __future__ import annotations

import dataclasses
from random import Random

__all__ = ["Corruption", "Cut", "Datagram", "Effect", "Late", "Lost", "Overtaken", "Repeat"]


@dataclasses.dataclass(slots=True, eq=False)
class Datagram:
    """A datagram and the time at which it may leave. Those due at the same time leave in the order of ``rank``."""

    due: float
    data: bytes
    rank: int = 0


class Effect:
    """What a fault does to one direction."""

    def passing(self, datagram: Datagram) -> list[Datagram]:
        """Note that a datagram passes unharmed; return what leaves because of it, in this order."""
        return [datagram]

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Return what becomes of a datagram that is hit."""
        raise NotImplementedError

    def forget(self) -> list[Datagram]:
        """Return the datagrams that are held back, when the fault is removed."""
        return []


class Lost(Effect):
    """Loss."""

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Lose it."""
        return []


class Repeat(Effect):
    """Duplicate."""

    def __init__(self, copies: int, gap: float) -> None:
        self._copies = copies
        self._gap = gap

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Repeat it."""
        return [Datagram(datagram.due + number * self._gap, datagram.data) for number in range(self._copies + 1)]


class Late(Effect):
    """Latency."""

    def __init__(self, delay: float, jitter: float) -> None:
        self._delay = delay
        self._jitter = jitter

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Delay it."""
        datagram.due += max(0.0, self._delay + random.uniform(-self._jitter, self._jitter))
        return [datagram]


class Overtaken(Effect):
    """Reorder: held until others have passed, or until a timeout."""

    def __init__(self, depth: int, timeout: float) -> None:
        self._depth = depth
        self._timeout = timeout
        self._held: dict[Datagram, int] = {}

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Hold it; it counts as passed for those that are held already."""
        freed = self._count(datagram.due)
        datagram.due += self._timeout
        self._held[datagram] = self._depth
        return [datagram, *freed]

    def passing(self, datagram: Datagram) -> list[Datagram]:
        """Let it pass, and free those that have been overtaken often enough."""
        return [datagram, *self._count(datagram.due)]

    def forget(self) -> list[Datagram]:
        """Free all."""
        held, self._held = list(self._held), {}
        return held

    def _count(self, now: float) -> list[Datagram]:
        freed = []
        for held in list(self._held):
            if held.due <= now:
                del self._held[held]  # gone by its timeout
                continue
            self._held[held] -= 1
            if not self._held[held]:
                del self._held[held]
                held.due = now
                freed.append(held)
        return freed


class Corruption(Effect):
    """Corrupt."""

    def __init__(self, rate: float) -> None:
        self._rate = rate

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Change a share of its bytes, one at least; an empty one stays as it is."""
        data = bytearray(datagram.data)
        if data:
            places = [place for place in range(len(data)) if random.random() < self._rate]
            for place in places or [random.randrange(len(data))]:
                data[place] ^= random.randint(1, 255)
        datagram.data = bytes(data)
        return [datagram]


class Cut(Effect):
    """Truncate."""

    def __init__(self, size: int) -> None:
        self._size = size

    def hit(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Cut it short."""
        datagram.data = datagram.data[: self._size]
        return [datagram]
