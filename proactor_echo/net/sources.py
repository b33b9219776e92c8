"""Sources: the groups of addresses that limits count by, and tables of them that cannot grow.

Whoever has one IPv6 address has 2**64 of them, so an IPv6 source is a /64 unless told otherwise; an IPv4 source is one
address. An IPv4 address in IPv6 (``::ffff:192.0.2.1``) is an IPv4 source. The zone of a link-local address belongs to
it: fe80::/64 of one interface is another source than that of the next. A Unix socket's peer is no source.
"""

from __future__ import annotations

import socket
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

from proactor_echo.arguments import check_whole

__all__ = ["RecentTable", "Source", "SourceGroups", "SourceTable", "ip_of"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

_MAPPED: Final = bytes(10) + b"\xff\xff"
_INTERNET: Final = {4: socket.AF_INET, 6: socket.AF_INET6}


def ip_of(address: object) -> tuple[int, bytes, int] | None:
    """Return a socket address as (version, packed, zone); None for what has no IP address, such as a Unix socket's."""
    if not isinstance(address, tuple) or not address or not isinstance(address[0], str):
        return None
    host = address[0]
    try:
        if ":" not in host:
            return 4, socket.inet_pton(socket.AF_INET, host), 0
        packed = socket.inet_pton(socket.AF_INET6, host.partition("%")[0])
    except OSError:
        return None  # a name
    if packed.startswith(_MAPPED):
        return 4, packed[12:], 0
    return 6, packed, address[3] if len(address) > 3 else 0


class Source(NamedTuple):
    """A group of addresses: IP version, the number that its first bits are, how many bits, the zone."""

    version: int
    bits: int
    prefix: int
    zone: int = 0

    def __str__(self) -> str:
        size = 4 if self.version == 4 else 16
        packed = (self.bits << (size * 8 - self.prefix)).to_bytes(size, "big")
        zone = f"%{self.zone}" if self.zone else ""
        length = "" if self.prefix == size * 8 else f"/{self.prefix}"
        return f"{socket.inet_ntop(_INTERNET[self.version], packed)}{zone}{length}"


class SourceGroups:
    """Which source an address belongs to; ``ipv4`` and ``ipv6`` are the lengths of the prefixes."""

    __slots__ = ("_ipv4", "_ipv6")

    def __init__(self, ipv4: int = 32, ipv6: int = 64) -> None:
        check_whole("an IPv4 source's prefix", ipv4, least=1, most=32)
        check_whole("an IPv6 source's prefix", ipv6, least=1, most=128)
        self._ipv4 = ipv4
        self._ipv6 = ipv6

    def of(self, address: object) -> Source | None:
        """Return the source of a socket address; None for what has no IP address."""
        ip = ip_of(address)
        if ip is None:
            return None
        version, packed, zone = ip
        number = int.from_bytes(packed, "big")
        if version == 4:
            return Source(4, number >> (32 - self._ipv4), self._ipv4)
        return Source(6, number >> (128 - self._ipv6), self._ipv6, zone)


class RecentTable(Generic[K, V]):
    """A dict of at most ``most`` entries: those set longest ago go first.

    It is two dicts. When the young one holds half of ``most`` it becomes the old one, and the old one is dropped. So
    every entry that is dropped is older than all that stay, at least the ``most // 2`` youngest stay, and an entry
    costs what it costs in a dict: no links, and no search for the oldest.
    """

    __slots__ = ("_half", "_old", "_young")

    def __init__(self, most: int = 65536) -> None:
        check_whole("most", most, least=2)
        self._half = most // 2
        self._young: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def get(self, key: K, default: V) -> V:
        """Return the value of ``key``."""
        found = self._young.get(key)
        return found if found is not None else self._old.get(key, default)

    def set(self, key: K, value: V) -> None:
        """Set the value of ``key``, the youngest entry from now on. The value is never None."""
        self._old.pop(key, None)
        self._young[key] = value
        if len(self._young) >= self._half:
            self._old = self._young
            self._young = {}

    def pop(self, key: K) -> None:
        """Forget ``key``."""
        if self._young.pop(key, None) is None:
            self._old.pop(key, None)


class SourceTable:
    """A number for each of at most ``most`` IPv4 sources and as many IPv6 sources: the least recently set go first.

    The two are apart, so that whoever has many IPv6 networks cannot push IPv4 sources out. A key is one whole number,
    and no tuple: 131,072 sources take less than 16 MiB.
    """

    __slots__ = ("_tables",)

    def __init__(self, most: int = 65536) -> None:
        self._tables: dict[int, RecentTable[int, float]] = {4: RecentTable(most), 6: RecentTable(most)}

    def __len__(self) -> int:
        return sum(map(len, self._tables.values()))

    def get(self, source: Source, default: float) -> float:
        """Return the number of a source."""
        return self._tables[source.version].get(source.bits | source.zone << 128, default)

    def set(self, source: Source, value: float) -> None:
        """Set the number of a source."""
        self._tables[source.version].set(source.bits | source.zone << 128, value)

    def pop(self, source: Source) -> None:
        """Forget a source."""
        self._tables[source.version].pop(source.bits | source.zone << 128)
