"""The base classes of faults, and what they work on: pieces of a stream, and datagrams.

A piece is some bytes, or the end of the stream, and the time at which it may leave. An effect changes, splits, delays
or drops pieces; several effects are a chain. Where an effect does something depends on the number of bytes that have
passed through it, not on how they were cut into pieces.

A datagram has a due time; an effect drops, copies, changes, delays or holds it. Whether the n-th datagram is hit, and
how, is drawn from the fault's seed, the client's number and n. It depends on neither the clock nor other datagrams.

Time is a number in the piece or the datagram, so all of it can be tested without waiting.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator
from random import Random
from typing import Literal

from proactor_echo.arguments import check_choice, check_number, check_whole

__all__ = [
    "Datagram",
    "DatagramEffect",
    "DatagramFault",
    "End",
    "Fault",
    "Piece",
    "StreamEffect",
    "StreamFault",
    "Towards",
    "bounds",
    "check_range",
]

Towards = Literal["client", "server", "both"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What all faults have in common.

    :param towards: the direction in which it works.
    :param probability: the share of connections (TCP) or datagrams (UDP) that it hits, 0 to 1.
    :param seed: a number from which its schedule comes; ``None``: one from the server's seed.

    Raises TypeError or ValueError for what makes no sense; sizes are bytes, times are seconds, rates are per second.
    """

    towards: Towards = "client"
    probability: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        check_choice("towards", self.towards, ("client", "server", "both"))
        check_number("probability", self.probability, least=0, most=1)
        check_whole("seed", self.seed, least=None, optional=True)

    def __str__(self) -> str:
        """Return the fault as it would be written, without what is at its default."""
        fields = sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only))
        said = [f"{f.name}={value!r}" for f in fields if (value := getattr(self, f.name)) != f.default]
        return f"{type(self).__name__}({', '.join(said)})"


def bounds(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (least, most) of a number, or of such a pair."""
    return (value, value) if isinstance(value, int) else value


def check_range(name: str, value: object, least: int, *, unit: str = "bytes") -> None:
    """Check a number of bytes (or of something else), or ``(least, most)`` of them between which one is drawn."""
    if not isinstance(value, tuple) or len(value) != 2:
        check_whole(name, value, least=least, unit=unit)
        return
    for end in value:
        check_whole(f"each end of {name}", end, least=least, unit=unit)
    if value[0] > value[1]:
        raise ValueError(f"{name} must be (least, most) with least <= most, not {value!r}")


# -- TCP ---------------------------------------------------------------------------------------------------------------


class StreamFault(Fault):
    """A fault of TCP connections."""

    def stream_effect(self, random: Random) -> StreamEffect:
        """Return what it does to one direction of one connection."""
        raise NotImplementedError


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
    holds: dict[StreamEffect, float] = dataclasses.field(default_factory=dict)

    @property
    def due(self) -> float:
        """When it may leave."""
        return max(self.arrived, *self.holds.values()) if self.holds else self.arrived

    def part(self, start: int, stop: int | None = None) -> Piece:
        """Return a piece of the piece."""
        return dataclasses.replace(self, data=self.data[start:stop], holds=self.holds.copy())


class StreamEffect:
    """What a fault does to one direction of one connection."""

    #: An end that comes after so many seconds whatever passes, or None.
    timer: tuple[float, End] | None = None

    def start(self, now: float) -> Iterator[Piece]:
        """Yield what leaves before any byte has arrived."""
        return iter(())

    def release(self, now: float) -> Iterator[Piece]:
        """Yield what it holds back itself, when the fault is removed."""
        return iter(())

    def apply(self, piece: Piece) -> Iterator[Piece]:
        """Yield what leaves instead of a piece: nothing, the piece, a changed one, or several."""
        yield piece


# -- UDP ---------------------------------------------------------------------------------------------------------------


class DatagramFault(Fault):
    """A fault of UDP datagrams."""

    def datagram_effect(self) -> DatagramEffect:
        """Return what it does to the datagrams between one client and the server, in one direction."""
        raise NotImplementedError


@dataclasses.dataclass(slots=True, eq=False)
class Datagram:
    """A datagram and the time at which it may leave. Those due at the same time leave in the order of ``rank``."""

    due: float
    data: bytes
    rank: int = 0


class DatagramEffect:
    """What a fault does to one direction."""

    def skip(self, datagram: Datagram) -> list[Datagram]:
        """Let a datagram through that is not hit; return what leaves because of it, in this order."""
        return [datagram]

    def apply(self, datagram: Datagram, random: Random) -> list[Datagram]:
        """Return what leaves instead of a datagram that is hit."""
        raise NotImplementedError

    def release(self) -> list[Datagram]:
        """Return the datagrams that are held back; called when the fault is removed."""
        return []
