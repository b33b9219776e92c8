"""What every fault has: a direction, a probability, a seed."""

from __future__ import annotations

import dataclasses
import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from random import Random

    from .datagram_faults import Effect as DatagramEffect
    from .stream_faults import Effect as StreamEffect

__all__ = [
    "Address",
    "DatagramFault",
    "Fault",
    "StreamFault",
    "Towards",
    "bounds",
    "check_place",
    "check_seconds",
    "check_size",
]

Towards = Literal["client", "server", "both"]
#: ``(host, port)``; an address as ``getsockname()`` of an IPv6 socket gives it will do.
Address = tuple[str, int] | tuple[str, int, int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fault:
    """What all faults have in common.

    ``towards``      the direction in which it works.
    ``probability``  the share of connections (TCP) or datagrams (UDP) that it hits, 0 to 1.
    ``seed``         a number from which its schedule comes; ``None``: one from the server's seed.

    Raises ValueError for what makes no sense; sizes are bytes, times are seconds, rates are per second.
    """

    towards: Towards = "client"
    probability: float = 1.0
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.towards not in ("client", "server", "both"):
            raise ValueError(f'towards must be "client", "server" or "both", not {self.towards!r}')
        if not 0 <= self.probability <= 1:
            raise ValueError(f"probability must be from 0 to 1, not {self.probability!r}")

    def __str__(self) -> str:
        """Return the fault as it would be written, without what is at its default."""
        fields = sorted(dataclasses.fields(self), key=lambda field: bool(field.kw_only))
        said = [f"{f.name}={value!r}" for f in fields if (value := getattr(self, f.name)) != f.default]
        return f"{type(self).__name__}({', '.join(said)})"


class StreamFault(Fault):
    """A fault of TCP connections."""

    def stream_effect(self, random: Random) -> StreamEffect:
        """Return what it does to one direction of one connection."""
        raise NotImplementedError


class DatagramFault(Fault):
    """A fault of UDP datagrams."""

    def datagram_effect(self) -> DatagramEffect:
        """Return what it does to the datagrams between one client and the server, in one direction."""
        raise NotImplementedError


def bounds(value: int | tuple[int, int]) -> tuple[int, int]:
    """Return (least, most) of a number, or of such a pair."""
    return (value, value) if isinstance(value, int) else value


def check_place(value: int | tuple[int, int]) -> None:
    """Raise ValueError for what is no place in a stream."""
    least, most = bounds(value)
    if not 0 <= least <= most:
        raise ValueError(f"after_bytes must be 0 or more, or (least, most), not {value!r}")


def check_size(**values: int) -> None:
    """Raise ValueError for what is no number of bytes."""
    for name, value in values.items():
        if value < 0:
            raise ValueError(f"{name} must be 0 or more bytes, not {value!r}")


def check_seconds(**values: float) -> None:
    """Raise ValueError for what is no time."""
    for name, value in values.items():
        if not 0 <= value < math.inf:  # not so for NaN either
            raise ValueError(f"{name} must be 0 or more seconds, not {value!r}")
