"""Which connections are let in, by where they come from. No socket and no clock: callers pass addresses and times.

What is remembered of a source that has a connection stays until that has ended. Of all others, 65,536 IPv4 sources and
as many IPv6 ones are remembered, the least recently seen go first, and nothing of it needs a timer.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, TypeGuard

from proactor_echo.errors import DisconnectReason
from proactor_echo.net.rates import FULL, Rate, as_rate
from proactor_echo.net.sources import Source, SourceGroups, SourceTable
from proactor_echo.net.tcp.limits import Limits, Penalties

if TYPE_CHECKING:
    from proactor_echo.net.networks import AccessList

__all__ = ["Admission", "RefusalReason"]


class RefusalReason(enum.StrEnum):
    """Why a connection was refused: accepted, and reset at once. ``str()`` is a text for the log."""

    DENIED = "its network is denied"
    SOURCE_CONNECTIONS = "too many connections from one source"
    NETWORK_CONNECTIONS = "too many connections from one IPv6 network"
    SOURCE_RATE = "one source connects too often"
    PENALTY = "its source has misbehaved"
    UNTRUSTED = "it is no trusted proxy"
    PROXY_HEADER = "its PROXY header is missing or wrong"


class Admission:
    """Decide on connections as ``limits`` says; :meth:`left` must be called for each that was let in."""

    def __init__(self, limits: Limits) -> None:
        self._access: AccessList | None = limits.access()
        self._groups = SourceGroups(limits.ipv4_prefix, limits.ipv6_prefix)
        self._wider = SourceGroups(32, limits.network_prefix)
        self._per_source = limits.connections_per_source
        self._per_network = limits.connections_per_network
        # Connections by source or network. An IPv4 address that is a source by itself is its own text:
        # that answers the most frequent question without reading the address.
        self._connections: dict[object, int] = {}
        self._rate: Rate | None = as_rate("accept_rate_per_source", limits.accept_rate_per_source)
        self._full_at = SourceTable()  # of the bucket of a source
        self._penalties = None if limits.penalties is None else _PenaltyTable(limits.penalties)
        self._counts_alone = self._access is None and self._rate is None and self._penalties is None
        self._hosts_are_sources = limits.ipv4_prefix == 32 and self._per_source is not None

    def admit(self, address: object, now: float) -> RefusalReason | None:
        """Let a connection in, which takes a slot of its source; or return why not, and it has taken none."""
        if self._counts_alone and self._hosts_are_sources and _is_ipv4(address):
            return self._take_slot(address[0])
        if self._access is not None and not self._access.lets_in(address):
            return RefusalReason.DENIED
        source = self._groups.of(address)
        if source is None:
            return None
        if self._penalties is not None and self._penalties.refuses(source, now):
            return RefusalReason.PENALTY
        key, network = self._key(source), self._network(address)
        if self._per_source is not None and self._connections.get(key, 0) >= self._per_source:
            return RefusalReason.SOURCE_CONNECTIONS
        if self._per_network is not None and network and self._connections.get(network, 0) >= self._per_network:
            return RefusalReason.NETWORK_CONNECTIONS
        if self._rate is not None:
            after = self._rate.take(self._full_at.get(source, FULL), now)
            if after is None:
                return RefusalReason.SOURCE_RATE
            self._full_at.set(source, after)
        for slot in self._slots(key, network):
            self._connections[slot] = self._connections.get(slot, 0) + 1
        return None

    def left(self, address: object, reason: DisconnectReason | None, now: float) -> None:
        """Free the slot of a connection that was let in, and remember how it ended; None: nothing to remember."""
        if self._counts_alone and self._hosts_are_sources and _is_ipv4(address):
            self._free_slot(address[0])
            return
        source = self._groups.of(address)
        if source is None:
            return
        for slot in self._slots(self._key(source), self._network(address)):
            self._free_slot(slot)
        if self._penalties is not None and reason is not None:
            self._penalties.note(source, address, reason, now)

    def source_of(self, address: object) -> Source | None:
        """Return the source that an address belongs to; None for what has no IP address."""
        return self._groups.of(address)

    # -- slots ---------------------------------------------------------------------------------------------------

    def _take_slot(self, slot: object) -> RefusalReason | None:
        taken = self._connections.get(slot, 0)
        if self._per_source is not None and taken >= self._per_source:
            return RefusalReason.SOURCE_CONNECTIONS
        self._connections[slot] = taken + 1
        return None

    def _free_slot(self, slot: object) -> None:
        left = self._connections[slot] - 1
        if left:
            self._connections[slot] = left
        else:
            del self._connections[slot]

    def _slots(self, key: object, network: object) -> list[object]:
        """Return what a connection is counted under."""
        limited = (self._per_source is not None, key), (self._per_network is not None and network is not None, network)
        return [slot for counts, slot in limited if counts]

    def _key(self, source: Source) -> object:
        return str(source) if source.version == 4 and self._hosts_are_sources else source

    def _network(self, address: object) -> object:
        """Return the wider IPv6 network; None for an IPv4 address."""
        if self._per_network is None:
            return None
        network = self._wider.of(address)
        return None if network is None or network.version == 4 else network


def _is_ipv4(address: object) -> TypeGuard[tuple[str, int]]:
    """Tell an address of AF_INET, which has two parts, from one of AF_INET6, which has four."""
    return type(address) is tuple and len(address) == 2


class _PenaltyTable:
    """Until when each source has a penalty; negative once it is enforced."""

    def __init__(self, penalties: Penalties) -> None:
        self._given = penalties
        self._exempt = penalties.exempts()
        self._until = SourceTable()
        self._seconds: Final = {
            DisconnectReason.FRAMING: penalties.framing,
            DisconnectReason.TLS_HANDSHAKE: penalties.handshake,
            DisconnectReason.FIRST_BYTE_TIMEOUT: penalties.unfinished,
            DisconnectReason.FRAME_TIMEOUT: penalties.unfinished,
            DisconnectReason.MIN_RATE: penalties.unfinished,
            DisconnectReason.BUFFER_LIMIT: penalties.unfinished,
        }

    def refuses(self, source: Source, now: float) -> bool:
        until = self._until.get(source, 0.0)
        return until < 0 and -until > now

    def note(self, source: Source, address: object, reason: DisconnectReason, now: float) -> None:
        seconds = self._seconds.get(reason)
        if seconds is None or (self._exempt is not None and self._exempt.lets_in(address)):
            return
        before = self._until.get(source, 0.0)
        enforced = before < 0 and -before > now
        until = min(max(abs(before), now) + seconds, now + self._given.maximum)
        enforced = enforced or until - now > self._given.threshold
        self._until.set(source, -until if enforced else until)
