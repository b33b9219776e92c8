"""Faults of UDP datagrams, each above its effect on one direction between a client and its server."""

from __future__ import annotations

import dataclasses
from random import Random

from proactor_echo.arguments import check_seconds, check_whole
from proactor_echo.testing.faults.base import Datagram, DatagramEffect, DatagramFault

__all__ = ["Duplicate", "Loss", "Reorder", "Truncate"]


@dataclasses.dataclass(frozen=True)
class Loss(DatagramFault):
    """Lose datagrams: ``Loss(probability=0.1)`` loses a tenth of them."""

    def datagram_effect(self) -> DatagramEffect:
        return _LossEffect()


class _LossEffect(DatagramEffect):
    """Loss: it is gone."""

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        return []


@dataclasses.dataclass(frozen=True)
class Duplicate(DatagramFault):
    """Deliver datagrams ``copies`` times more than once, ``gap`` seconds apart."""

    copies: int = 1
    gap: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("gap", self.gap, zero=True)
        check_whole("copies", self.copies, least=1)

    def datagram_effect(self) -> DatagramEffect:
        return _DuplicateEffect(self.copies, self.gap)


class _DuplicateEffect(DatagramEffect):
    """Duplicate: it leaves more than once."""

    def __init__(self, copies: int, gap: float) -> None:
        self._copies = copies
        self._gap = gap

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        return [Datagram(datagram.due + number * self._gap, datagram.data) for number in range(self._copies + 1)]


@dataclasses.dataclass(frozen=True)
class Reorder(DatagramFault):
    """Let datagrams be overtaken by the next ``depth``; after ``timeout`` seconds without so many they come anyway."""

    depth: int = 1
    timeout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("timeout", self.timeout, zero=True)
        check_whole("depth", self.depth, least=1)

    def datagram_effect(self) -> DatagramEffect:
        return _ReorderEffect(self.depth, self.timeout)


class _ReorderEffect(DatagramEffect):
    """Reorder: held until others have passed, or until a timeout."""

    def __init__(self, depth: int, timeout: float) -> None:
        self._depth = depth
        self._timeout = timeout
        self._held: dict[Datagram, int] = {}

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Hold it; it counts as passed for those that are held already."""
        freed = self._count(datagram.due)
        datagram.due += self._timeout
        self._held[datagram] = self._depth
        return [datagram, *freed]

    def skip(self, datagram: Datagram) -> list[Datagram]:
        """Let it pass, and free those that have been overtaken often enough."""
        return [datagram, *self._count(datagram.due)]

    def release(self) -> list[Datagram]:
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


@dataclasses.dataclass(frozen=True)
class Truncate(DatagramFault):
    """Cut datagrams to ``size`` bytes."""

    size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("size", self.size, unit="bytes")

    def datagram_effect(self) -> DatagramEffect:
        return _TruncateEffect(self.size)


class _TruncateEffect(DatagramEffect):
    """Truncate: the rest is gone."""

    def __init__(self, size: int) -> None:
        self._size = size

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        datagram.data = datagram.data[: self._size]
        return [datagram]
