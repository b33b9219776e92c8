"""What every fault has: a direction, a probability, a seed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal

from proactor_echo.arguments import check_choice, check_number, check_whole

if TYPE_CHECKING:
    from random import Random

    from proactor_echo.testing.faults.tcp_effects import Effect as StreamEffect
    from proactor_echo.testing.faults.udp_effects import Effect as DatagramEffect

__all__ = [
    "Address",
    "DatagramFault",
    "Fault",
    "StreamFault",
    "Towards",
    "bounds",
    "check_range",
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


def check_range(name: str, value: object, least: int) -> None:
    """Check a number of bytes, or ``(least, most)`` of them between which one is drawn."""
    if not isinstance(value, tuple) or len(value) != 2:
        check_whole(name, value, least=least, unit="bytes")
        return
    for end in value:
        check_whole(f"each end of {name}", end, least=least, unit="bytes")
    if value[0] > value[1]:
        raise ValueError(f"{name} must be (least, most) with least <= most, not {value!r}")
