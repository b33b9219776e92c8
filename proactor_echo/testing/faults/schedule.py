"""Faults that are switched on: their seeds, which connections and datagrams they hit, how they are switched off."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Callable, Iterator
from random import Random
from typing import Generic, Literal, Self, TypeVar

from proactor_echo.testing.faults.base import DatagramEffect, DatagramFault, Fault, StreamEffect, StreamFault

__all__ = ["ActiveFault", "ActiveFaults", "Direction"]

Direction = Literal["client", "server"]

F = TypeVar("F", bound=Fault)


class ActiveFault(Generic[F]):
    """A fault that is switched on, until :meth:`remove` or the end of its ``with`` block."""

    def __init__(self, fault: F, seed: int, remove: Callable[[ActiveFault[F]], None]) -> None:
        #: The description.
        self.fault = fault
        #: The number its schedule comes from.
        self.seed = seed
        #: How many connections it has worked on (TCP), or how many datagrams it has hit (UDP).
        self.hits = 0
        self._remove = remove
        self._on = True

    @property
    def on(self) -> bool:
        """Whether it is switched on."""
        return self._on

    def remove(self) -> None:
        """Switch it off; what it holds back leaves at once. Doing it twice is harmless."""
        if self._on:
            self._on = False
            self._remove(self)

    def works(self, direction: Direction) -> bool:
        """Return whether it works in this direction."""
        return self.fault.towards in (direction, "both")

    def hits_connection(self, number: int) -> bool:
        """Return whether it hits the connection of this number, counted from 1; the seed decides."""
        return Random(f"{self.seed}/{number}").random() < self.fault.probability

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def __str__(self) -> str:
        return str(dataclasses.replace(self.fault, seed=self.seed))

    def __repr__(self) -> str:
        return f"<{self} hits={self.hits}{'' if self._on else ' removed'}>"


def stream_effect(active: ActiveFault[StreamFault], number: int, direction: Direction) -> StreamEffect:
    """Return what the fault does to one direction of a connection that it hits."""
    return active.fault.stream_effect(Random(f"{active.seed}/{number}/{direction}"))


class DatagramSampler:
    """Decides which datagrams of one client, in one direction, a fault hits."""

    def __init__(self, active: ActiveFault[DatagramFault], client: int, direction: Direction) -> None:
        self.effect: DatagramEffect = active.fault.datagram_effect()
        self._active = active
        self._name = f"{active.seed}/{client}/{direction}"
        self._number = 0

    def draw(self) -> Random | None:
        """Return the random numbers for the next datagram if it is hit, ``None`` if it is not."""
        self._number += 1
        random = Random(f"{self._name}/{self._number}")
        if random.random() >= self._active.fault.probability:
            return None
        self._active.hits += 1
        return random


class ActiveFaults(Generic[F]):
    """The faults of one server or proxy, in the order in which they were switched on."""

    def __init__(self, seed: int) -> None:
        #: The number from which faults without a seed of their own get theirs.
        self.seed = seed
        #: Every fault that was ever switched on, so that a run can be repeated.
        self.history: list[ActiveFault[F]] = []

    def add(self, fault: F, removed: Callable[[ActiveFault[F]], None]) -> ActiveFault[F]:
        """Switch a fault on; ``removed`` is called when it is switched off."""
        seed = fault.seed
        if seed is None:
            seed = zlib.crc32(f"{self.seed}/{len(self.history)}".encode())
        active = ActiveFault(fault, seed, removed)
        self.history.append(active)
        return active

    def __iter__(self) -> Iterator[ActiveFault[F]]:
        return (active for active in self.history if active.on)
