"""What a network does to a connection or a datagram: descriptions of faults, to be given to ``server.fault()``.

::

    with server.fault(Latency(0.1, jitter=0.02)), server.fault(Slice(1)):
        ...

A fault works in one direction: ``towards="client"`` (the default), ``"server"``, or ``"both"``. Its ``probability`` is
the share of connections it hits, or of datagrams. Everything that is left to chance comes from its ``seed``, from the
connection's number and from the place in the stream (or the datagram's number), never from the clock or from how the
bytes happen to arrive: the same seed gives the same schedule. Without a seed the fault gets one from its server; it is
shown when a test fails.

Nothing here does any I/O or looks at a clock.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from typing import TYPE_CHECKING

from proactor_echo.arguments import check_number, check_seconds, check_whole
from proactor_echo.testing.faults import tcp_effects as streams
from proactor_echo.testing.faults import udp_effects as datagrams
from proactor_echo.testing.faults.base import Address, DatagramFault, Fault, StreamFault, Towards, bounds, check_range

if TYPE_CHECKING:
    from random import Random

    from proactor_echo.testing.proxy import fault_proxy, udp_fault_proxy


__all__ = [
    "Address",
    "Bandwidth",
    "Coalesce",
    "Corrupt",
    "DatagramFault",
    "Duplicate",
    "Fault",
    "HalfClose",
    "Latency",
    "Limit",
    "Loss",
    "Refuse",
    "Reorder",
    "Reset",
    "Silent",
    "Slice",
    "SlowClose",
    "Stall",
    "StreamFault",
    "Towards",
    "Truncate",
    "fault_proxy",
    "udp_fault_proxy",
]


if not TYPE_CHECKING:  # the proxies import the faults; these two names are here for those who use them together

    def __getattr__(name: str) -> object:
        if name in ("fault_proxy", "udp_fault_proxy"):
            return getattr(importlib.import_module("proactor_echo.testing.proxy"), name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


# -- for both ----------------------------------------------------------------------------------------------------------


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

    def stream_effect(self, random: Random) -> streams.Effect:
        """Delay every piece."""
        return streams.Late(self.delay, self.jitter, random)

    def datagram_effect(self) -> datagrams.Effect:
        """Delay every datagram by itself."""
        return datagrams.Late(self.delay, self.jitter)


@dataclasses.dataclass(frozen=True)
class Corrupt(StreamFault, DatagramFault):
    """Change bytes: a share ``rate`` of those of a stream; of a datagram that is hit the same, but one at least."""

    rate: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("rate", self.rate, above=0, most=1)

    def stream_effect(self, random: Random) -> streams.Effect:
        """Change bytes at places drawn beforehand."""
        return streams.Corruption(self.rate, random)

    def datagram_effect(self) -> datagrams.Effect:
        """Change bytes of each datagram."""
        return datagrams.Corruption(self.rate)


# -- TCP ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Bandwidth(StreamFault):
    """Let no more than ``rate`` bytes a second through."""

    rate: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("rate", self.rate, above=0, most=math.inf)

    def stream_effect(self, random: Random) -> streams.Effect:
        """Send in portions of a hundredth of a second."""
        return streams.Throttle(self.rate)


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

    def stream_effect(self, random: Random) -> streams.Effect:
        """Cut at places drawn beforehand."""
        return streams.Slicer(*bounds(self.size), self.gap, random)


@dataclasses.dataclass(frozen=True)
class Coalesce(StreamFault):
    """Hold what is written for ``delay`` seconds; whatever is written meanwhile leaves in the same write."""

    delay: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("delay", self.delay, zero=True)

    def stream_effect(self, random: Random) -> streams.Effect:
        """Gather."""
        return streams.Gather(self.delay)


@dataclasses.dataclass(frozen=True)
class Stall(StreamFault):
    """After ``after_bytes``, let nothing through for ``duration`` seconds, once; ``None``: until it is removed."""

    duration: float | None = None
    after_bytes: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("after_bytes", self.after_bytes, unit="bytes")
        check_seconds("duration", self.duration, zero=True, optional=True)

    def stream_effect(self, random: Random) -> streams.Effect:
        """Hold back."""
        return streams.Standstill(self.after_bytes, math.inf if self.duration is None else self.duration)


@dataclasses.dataclass(frozen=True)
class Silent(StreamFault):
    """Accept, take everything and say nothing: what comes this way is thrown away, an end of file included."""

    def stream_effect(self, random: Random) -> streams.Effect:
        """Swallow."""
        return streams.Swallow()


@dataclasses.dataclass(frozen=True)
class Limit(StreamFault):
    """Let ``after_bytes`` through, then close the connection in good order; ``(least, most)`` draws the number."""

    after_bytes: int | tuple[int, int]

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("after_bytes", self.after_bytes, 0)

    def stream_effect(self, random: Random) -> streams.Effect:
        """Count, then end."""
        return streams.CutOff(streams.End.CLOSE, random.randint(*bounds(self.after_bytes)), None)


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

    def _cut_off(self, end: streams.End, random: Random) -> streams.Effect:
        place = None if self.after_bytes is None else random.randint(*bounds(self.after_bytes))
        return streams.CutOff(end, 0 if place is None and self.after is None else place, self.after)


@dataclasses.dataclass(frozen=True)
class Reset(_After):
    """End the connection with a TCP reset, of both sides, ``after_bytes`` this way or ``after`` seconds.

    Bytes that a system has received and the program has not read may be lost with it; Windows does that.
    """

    def stream_effect(self, random: Random) -> streams.Effect:
        """Count, then reset."""
        return self._cut_off(streams.End.RESET, random)


@dataclasses.dataclass(frozen=True)
class HalfClose(_After):
    """Say end of file this way early, ``after_bytes`` or ``after`` seconds; the other direction goes on."""

    def stream_effect(self, random: Random) -> streams.Effect:
        """Count, then end this direction."""
        return self._cut_off(streams.End.EOF, random)


@dataclasses.dataclass(frozen=True)
class SlowClose(StreamFault):
    """Let the end of the stream come ``delay`` seconds late."""

    delay: float

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("delay", self.delay, zero=True)

    def stream_effect(self, random: Random) -> streams.Effect:
        """Delay the end."""
        return streams.LateEnd(self.delay)


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


# -- UDP ---------------------------------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Loss(DatagramFault):
    """Lose datagrams: ``Loss(probability=0.1)`` loses a tenth of them."""

    def datagram_effect(self) -> datagrams.Effect:
        """Lose."""
        return datagrams.Lost()


@dataclasses.dataclass(frozen=True)
class Duplicate(DatagramFault):
    """Deliver datagrams ``copies`` times more than once, ``gap`` seconds apart."""

    copies: int = 1
    gap: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("gap", self.gap, zero=True)
        check_whole("copies", self.copies, least=1)

    def datagram_effect(self) -> datagrams.Effect:
        """Repeat."""
        return datagrams.Repeat(self.copies, self.gap)


@dataclasses.dataclass(frozen=True)
class Reorder(DatagramFault):
    """Let datagrams be overtaken by the next ``depth``; after ``timeout`` seconds without so many they come anyway."""

    depth: int = 1
    timeout: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_seconds("timeout", self.timeout, zero=True)
        check_whole("depth", self.depth, least=1)

    def datagram_effect(self) -> datagrams.Effect:
        """Hold back until others have passed."""
        return datagrams.Overtaken(self.depth, self.timeout)


@dataclasses.dataclass(frozen=True)
class Truncate(DatagramFault):
    """Cut datagrams to ``size`` bytes."""

    size: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole("size", self.size, unit="bytes")

    def datagram_effect(self) -> datagrams.Effect:
        """Cut short."""
        return datagrams.Cut(self.size)
