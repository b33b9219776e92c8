"""Types of command line options: sizes, times, limits that can be off, keepalive."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import click

from proactor_echo.net.rates import Rate
from proactor_echo.net.tcp.deadlines import Deadlines
from proactor_echo.sockets.addresses import parse_host_port
from proactor_echo.sockets.options import KeepAlive

__all__ = [
    "ByteSize",
    "CountOrAuto",
    "HostPort",
    "KeepAliveTimes",
    "LimitOrOff",
    "MinRate",
    "NetworkText",
    "ParamType",
    "RateOrOff",
    "Seconds",
    "format_size",
]

if TYPE_CHECKING:
    from click import ParamType
else:

    class ParamType(click.ParamType):
        """click's own, which in older versions does not take the type that it makes in brackets."""

        def __class_getitem__(cls, made: object) -> type:
            return cls


OFF: Final = "off"

T = TypeVar("T")

_FACTORS: Final = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}

_UNITS: Final = {"s": 1, "m": 60, "h": 3600}


class ByteSize(ParamType[int | None]):
    """A number of bytes: ``512``, ``64k``, ``1m``, ``2g`` (of 1024), from ``low`` to ``high`` bytes.

    With ``can_be_off``, ``off`` is None.
    """

    name = "size"

    def __init__(self, low: int, high: int, *, can_be_off: bool = False) -> None:
        self.low = low
        self.high = high
        self.can_be_off = can_be_off

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the bytes, or fail with a usage error."""
        if isinstance(value, int):
            return value
        if self.can_be_off and value == OFF:
            return None
        found = re.fullmatch(r"([0-9]+)([kmg]?)", value.strip().lower())
        if found is None:
            self.fail(f"{value!r} is not a size: write bytes, or k, m or g after the number, as in 64k.", param, ctx)
        size = int(found[1]) * _FACTORS[found[2]]
        if not self.low <= size <= self.high:
            self.fail(
                f"{value!r} is not between {format_size(self.low)} and {format_size(self.high)} bytes.", param, ctx
            )
        return size


def format_size(size: int) -> str:
    """Write a number of bytes as short as :class:`ByteSize` reads it: ``64k`` for 65536."""
    for letter, factor in reversed(_FACTORS.items()):
        if size and size % factor == 0:
            return f"{size // factor}{letter}"
    return str(size)


class Seconds(ParamType[float | None]):
    """A time in seconds, or with a unit: ``5``, ``0.5``, ``90s``, ``5m``, ``1h``.

    With ``can_be_off``, 0 is not one, and ``off`` is None.
    """

    name = "seconds"

    def __init__(self, *, can_be_off: bool = False) -> None:
        self.can_be_off = can_be_off

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float | None:
        """Return the seconds, or fail with a usage error."""
        if self.can_be_off and value == OFF:
            return None
        try:
            seconds = _seconds(value)
        except ValueError:
            seconds = math.nan
        if not 0 <= seconds < math.inf or (self.can_be_off and not seconds):
            allowed = "a number of seconds above 0, or off" if self.can_be_off else "a number of seconds, 0 or more"
            self.fail(f"{value!r} is not {allowed}; s, m or h may follow, as in 5m.", param, ctx)
        return seconds


def _seconds(value: Any) -> float:
    """Return a time in seconds. Raises ValueError for what is no number."""
    text = str(value).strip().lower()
    factor = _UNITS.get(text[-1:])
    return float(text) if factor is None else float(text[:-1]) * factor


class LimitOrOff(ParamType[int | None]):
    """A whole number of 1 or more, or ``off``, which is None."""

    name = "limit"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        """Return the limit, or fail with a usage error."""
        if isinstance(value, int):
            return value
        if value == OFF:
            return None
        if not re.fullmatch(r"[0-9]+", value) or not int(value):
            self.fail(f"{value!r} is not a whole number of 1 or more, or off.", param, ctx)
        return int(value)


class _ValueOrOff(ParamType[T | None]):
    """A value that is written as numbers, or ``off``, which is None. A subclass says how."""

    kind: type
    wanted: str  # what is said to whoever has written something else

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> T | None:
        """Return the value, or fail with a usage error."""
        if isinstance(value, self.kind):
            return cast("T", value)
        if value == OFF:
            return None
        try:
            numbers = self.read(value)
        except ValueError:
            self.fail(f"{value!r} is not {self.wanted} off.", param, ctx)
        try:
            return self.make(numbers)
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)

    def read(self, text: str) -> Any:
        """Return the numbers. Raises ValueError for what is written in another way."""
        raise NotImplementedError

    def make(self, numbers: Any) -> T:
        """Return the value. Raises ValueError, with a sentence, for numbers that make no sense."""
        raise NotImplementedError


class RateOrOff(_ValueOrOff[Rate]):
    """Events a second as a :class:`Rate`: ``100``, ``0.5``, with a burst ``100/500``; or ``off``, which is None."""

    name = "rate"
    kind = Rate
    wanted = "a number a second, as in 100, or with a burst 100/500; or"

    def read(self, text: str) -> tuple[float, float | None]:
        """Return events a second, and the burst."""
        per_second, slash, burst = text.partition("/")
        return float(per_second), float(burst) if slash else None

    def make(self, numbers: tuple[float, float | None]) -> Rate:
        """Return the rate."""
        return Rate(*numbers)


class MinRate(_ValueOrOff[tuple[float, float]]):
    """``BYTES,GRACE`` (bytes a second, seconds) as a pair, or ``off``, which is None."""

    name = "minimum rate"
    kind = tuple
    wanted = "BYTES,GRACE, as in 240,5, or"

    def read(self, text: str) -> tuple[float, float]:
        """Return bytes a second and seconds."""
        least, grace = text.split(",")
        return float(least), _seconds(grace)

    def make(self, numbers: tuple[float, float]) -> tuple[float, float]:
        """Return the pair as it is, once :class:`Deadlines` has accepted it."""
        Deadlines(min_rate=numbers)
        return numbers


class KeepAliveTimes(_ValueOrOff[KeepAlive]):
    """``IDLE,INTERVAL,COUNT`` (seconds, seconds, probes) as a :class:`KeepAlive`, or ``off``, which is None."""

    name = "keepalive"
    kind = KeepAlive
    wanted = "IDLE,INTERVAL,COUNT, as in 60,5,10, or"

    def read(self, text: str) -> tuple[float, float, int]:
        """Return seconds, seconds and probes."""
        idle, interval, count = text.split(",")
        return _seconds(idle), _seconds(interval), int(count)

    def make(self, numbers: tuple[float, float, int]) -> KeepAlive:
        """Return the times."""
        return KeepAlive(*numbers)


class CountOrAuto(ParamType[int | str]):
    """A number of processes, or ``auto``."""

    name = "count"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number, or ``"auto"``, or fail with a usage error."""
        if value == "auto":
            return "auto"
        if not str(value).isdecimal() or not 1 <= int(value) <= 1024:
            self.fail(f"{value!r} is not a number of processes from 1 to 1024, nor auto.", param, ctx)
        return int(value)


class HostPort(ParamType[tuple[str, int]]):
    """An address as ``HOST:PORT``, with an IPv6 address in brackets; port 0 only to listen on."""

    name = "address"

    def __init__(self, *, listening: bool = False) -> None:
        self.listening = listening

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, int]:
        """Return host and port, or fail with a usage error."""
        try:
            host, port = parse_host_port(value)
            if not port and not self.listening:
                raise ValueError(f"{value!r} is not an address to connect to: the port must be 1 to 65535")
        except ValueError as error:
            self.fail(f"{error}.", param, ctx)
        return host, port


class NetworkText(ParamType[str]):
    """A network, ``192.0.2.0/24``, or one address."""

    name = "network"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return it as it was written, or fail with a usage error."""
        from proactor_echo.net.networks import networks  # ipaddress takes a while to load

        try:
            return str(networks("the network", [value])[0])
        except ValueError as error:
            self.fail(f"{str(error).partition(': ')[2]}.", param, ctx)
