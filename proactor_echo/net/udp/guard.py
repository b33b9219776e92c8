"""UdpGuard: what a UDP server must not answer, so that it is no use to an attacker and never talks to itself.

Whoever forges the source of a datagram chooses who gets the answer. So a server that answers everybody can be set on
another one that does, and the two go on for ever (CVE-2024-2169); it can be made to flood a third party; and a datagram
to a whole network is answered by all of its servers at once. Nothing in UDP tells a forged source from a real one. What
can be told:

**A loop.** An echo that is set on another echo gets its own answer back, at once, and again, and again. Answers are
remembered by a digest with a key of this process (Python's own hash of bytes, SipHash). The same bytes from the same
address more than :data:`REPEATS` times within half a second are a loop, whatever its ports: a client that repeats a
ping ten times a second does that five times. The address is muted for a second, which ends the loop, since nothing of
it is left on the way; and for twice as long each time it comes back, up to ten minutes. A loop over so long a way that
it comes back more rarely is not ended, and does no more harm than such a client.

**Addresses and ports.** Nobody answers from port 0, from a multicast, broadcast or unspecified address; no client sends
from the port of a well-known responder (:data:`RESPONDERS`), nor from a port that this server listens on.

**Rates.** So many datagrams a second for each source, and for all. This machine's own loopback addresses have no rate
of their own.

Everything is decided for a whole batch of datagrams with one look at the clock. Of a large batch only some are looked
at for a loop: a server that is as busy as that notices one which takes more than a small part of its time.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal

from proactor_echo.arguments import check_choice, check_whole
from proactor_echo.net.guard_rule import GuardRule
from proactor_echo.net.rates import FULL, Rate, TokenBucket, as_rate
from proactor_echo.net.sources import RecentTable, Source, SourceGroups, SourceTable, ip_of
from proactor_echo.sockets.addresses import Address

__all__ = ["Guard", "UdpGuard"]

Datagrams = Sequence[tuple[bytes, Address]]

#: The ports of services that answer whatever they are sent: echo, daytime, qotd, chargen, time, DNS, TFTP, sunrpc, NTP,
#: NetBIOS, SNMP, CLDAP, RIP, SSDP, WS-Discovery, mDNS, memcached.
RESPONDERS: Final = (7, 13, 17, 19, 37, 53, 69, 111, 123, 137, 161, 389, 520, 1900, 3702, 5353, 11211)

#: How often the same bytes may come from one address within WINDOW seconds.
REPEATS: Final = 12
WINDOW: Final = 0.5
#: Seconds for which an address is muted, the first time and at most.
FIRST_MUTE: Final = 1.0
LONGEST_MUTE: Final = 600.0
#: Seconds without a loop after which the next one is the first again.
FORGET: Final = 60.0
#: Datagrams of a batch that are looked at for a loop: all of a small one, so many and at most twice as many of a large.
SAMPLE: Final = 4
#: Digests in a window, and addresses that are known to be good: forgotten all together when there are more.
MOST: Final = 65536


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class UdpGuard:
    """What a UDP server does not answer.

    :param mode: ``"drop"`` drops and counts it, ``"log"`` counts it and answers all the same.
    :param rate: datagrams a second from everybody, a number or a :class:`Rate`; ``None``: no limit.
    :param rate_per_source: datagrams a second from one source; ``None``: no limit.
    :param responders: ports that no client sends from.
    :param ipv4_prefix: bits of an IPv4 address that make a source.
    :param ipv6_prefix: bits of an IPv6 address that make a source.

    Raises TypeError or ValueError for a wrong argument.
    """

    mode: Literal["drop", "log"] = "drop"
    rate: Rate | float | None = None
    rate_per_source: Rate | float | None = None
    responders: Collection[int] = RESPONDERS
    ipv4_prefix: int = 32
    ipv6_prefix: int = 64

    def __post_init__(self) -> None:
        check_choice("mode", self.mode, ("drop", "log"))
        for name in ("rate", "rate_per_source"):
            object.__setattr__(self, name, as_rate(name, getattr(self, name)))
        if isinstance(self.responders, str) or not isinstance(self.responders, Iterable):
            raise TypeError(f"responders must be a list of ports, as in [7, 19], not {self.responders!r}")
        object.__setattr__(self, "responders", tuple(self.responders))
        for port in self.responders:
            check_whole("a port of responders", port, least=1, most=65535)
        check_whole("ipv4_prefix", self.ipv4_prefix, least=1, most=32)
        check_whole("ipv6_prefix", self.ipv6_prefix, least=1, most=128)


class Guard:
    """Decide on datagrams as ``given`` says. ``refused`` gets each rule and address."""

    def __init__(self, given: UdpGuard, refused: Callable[[GuardRule, Address], None]) -> None:
        self._drops = given.mode == "drop"
        self._ports = set(given.responders)
        self._refused = refused
        rate = as_rate("rate", given.rate)
        self._bucket = None if rate is None else TokenBucket(rate)
        self._source_rate = as_rate("rate_per_source", given.rate_per_source)
        self._groups = SourceGroups(given.ipv4_prefix, given.ipv6_prefix)
        self._full_at = SourceTable()
        self._good: dict[Address, Source | None] = {}  # addresses that may be answered, and what their rate goes by
        self._muted: RecentTable[Address, tuple[float, float]] = RecentTable(MOST)  # until when, and for how long
        self._digests: dict[int, int] = {}  # how often, in this window
        self._window_ends = 0.0

    def own(self, ports: Iterable[int]) -> None:
        """Answer no datagram that comes from one of these ports, which are the server's."""
        self._ports.update(ports)

    def filter(self, datagrams: Datagrams, now: float) -> Datagrams:
        """Return those that are to be answered."""
        digests = self._count(datagrams[:: len(datagrams) // SAMPLE or 1], now)
        good = self._good
        try:
            sources = [good[address] for _, address in datagrams]
        except KeyError:
            sources = []  # somebody is new
        if (
            sources
            and max(map(self._digests.__getitem__, digests)) <= REPEATS
            and (self._source_rate is None or self._all_within_rate(sources, now))
            and (self._bucket is None or self._bucket.take(now, len(datagrams)))
        ):
            return datagrams
        answered = [each for each in datagrams if self._answers(each[1], hash(each), now)]
        return answered if self._drops else datagrams

    def count_longer(self, address: Address) -> bool:
        """Count an answer that is longer than the question; return whether it is to be dropped."""
        self._refused(GuardRule.LONGER, address)
        return self._drops

    def _count(self, datagrams: Datagrams, now: float) -> list[int]:
        """Count the bytes and the address of each; return their digests."""
        counts = self._digests
        if now >= self._window_ends or len(counts) > MOST:
            counts.clear()
            self._window_ends = now + WINDOW
        digests = list(map(hash, datagrams))
        for digest in digests:
            counts[digest] = counts.get(digest, 0) + 1
        return digests

    # -- one by one, when something may be wrong -----------------------------------------------------------------

    def _answers(self, address: Address, digest: int, now: float) -> bool:
        rule = self._broken_rule(address, digest, now)
        if rule is not None:
            self._refused(rule, address)
        return rule is None

    def _broken_rule(self, address: Address, digest: int, now: float) -> GuardRule | None:
        if address not in self._good:
            if rule := self._wrong_address(address):
                return rule
            if now < self._muted.get(address, (0.0, 0.0))[0]:
                return GuardRule.LOOP
            if len(self._good) >= MOST:
                self._good.clear()
            self._good[address] = None if _is_loopback(address) else self._groups.of(address)
        if self._digests.get(digest, 0) > REPEATS:
            self._mute(address, now)
            return GuardRule.LOOP
        if self._source_rate is not None and not self._within_rate(self._good[address], 1, now):
            return GuardRule.SOURCE_RATE
        if self._bucket is not None and not self._bucket.take(now):
            return GuardRule.RATE
        return None

    def _mute(self, address: Address, now: float) -> None:
        until, seconds = self._muted.get(address, (0.0, 0.0))
        seconds = min(2 * seconds, LONGEST_MUTE) if seconds and now < until + FORGET else FIRST_MUTE
        self._muted.set(address, (now + seconds, seconds))
        self._good.pop(address, None)

    def _wrong_address(self, address: Address) -> GuardRule | None:
        ip = ip_of(address)
        if ip is None:
            return None  # of a Unix socket
        version, packed, _ = ip
        if address[1] == 0 or not any(packed):
            return GuardRule.ADDRESS
        many = 0xE0 if version == 4 else 0xFF  # multicast, and in IPv4 the reserved and broadcast addresses above
        if packed[0] >= many:
            return GuardRule.ADDRESS
        return GuardRule.PORT if address[1] in self._ports else None

    # -- rates ---------------------------------------------------------------------------------------------------

    def _all_within_rate(self, sources: list[Source | None], now: float) -> bool:
        """Take what all of these need. If one has not got it, what the others took is lost to them."""
        if sources.count(None) == len(sources):
            return True
        within = [self._within_rate(source, count, now) for source, count in Counter(sources).items()]
        return all(within)

    def _within_rate(self, source: Source | None, count: int, now: float) -> bool:
        if source is None or self._source_rate is None:
            return True
        after = self._source_rate.take(self._full_at.get(source, FULL), now, count)
        if after is None:
            return False
        self._full_at.set(source, after)
        return True


def _is_loopback(address: Address) -> bool:
    host: str = address[0]
    return host.startswith(("127.", "::ffff:127.")) or host == "::1"
