"""Limits of a TCP server: how many connections, how often, from where; and penalties for sources that misbehave."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, cast

from proactor_echo.arguments import check_instance, check_seconds, check_whole
from proactor_echo.net.rates import Rate, as_rate

if TYPE_CHECKING:
    from proactor_echo.net.networks import AccessList, Network

__all__ = ["Limits", "Penalties"]

#: No limit of bytes is larger: a petabyte.
_MOST_BYTES: Final = 1 << 50


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Penalties:
    """Seconds for which a source that misbehaved may not connect, after the model of OpenSSH's ``PerSourcePenalties``.

    Each offence adds its seconds to those that are left of earlier ones. Once more than ``threshold`` is left, the
    source is refused until all of it has passed. So an honest mistake costs nothing.

    :param framing: seconds for bytes that are no frame; None: no penalty.
    :param handshake: for a TLS handshake that failed.
    :param unfinished: for a frame, or a first byte, that did not come in time (see :class:`Deadlines`), and for
        keeping the server's memory.
    :param threshold: seconds up to which nothing is refused.
    :param maximum: seconds that a source has to wait, at most.
    :param exempt: networks without penalties, as in ``["192.0.2.0/24"]``.

    Raises TypeError or ValueError for a wrong argument.
    """

    framing: float | None = 5.0
    handshake: float | None = 2.0
    unfinished: float | None = 10.0
    threshold: float = 15.0
    maximum: float = 600.0
    exempt: Sequence[str | Network] = ()

    def __post_init__(self) -> None:
        for name in ("framing", "handshake", "unfinished"):
            check_seconds(name, getattr(self, name), optional=True)
        check_seconds("threshold", self.threshold, zero=True)
        check_seconds("maximum", self.maximum)
        if self.maximum <= self.threshold:
            raise ValueError(f"maximum must be above threshold ({self.threshold:g}), not {self.maximum:g}")
        if self.exempt != ():
            from proactor_echo.net.networks import networks

            object.__setattr__(self, "exempt", networks("exempt", self.exempt))

    def exempts(self) -> AccessList | None:
        """Return who has no penalties; None: nobody."""
        if not self.exempt:
            return None
        from proactor_echo.net.networks import AccessList

        return AccessList(allow=cast("Sequence[Network]", self.exempt))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a TCP server takes on; everything but ``max_buffered`` is off unless given.

    The limits of the whole server **wait**: nothing is accepted for a while, and clients stay in the listen backlog.
    Those of one source **refuse**: the connection is accepted, reset and counted, so that one source cannot hold up
    the queue for all others.

    A source is an IPv4 address or an IPv6 /64, unless the prefixes say otherwise.

    :param connections: connections at once; more wait.
    :param accept_rate: connections that are accepted in a second, a number or a :class:`Rate`; more wait.
    :param connections_per_source: connections at once from one source; more are refused.
    :param connections_per_network: the same from one IPv6 network of ``network_prefix`` bits, as a provider gives to
        one customer.
    :param accept_rate_per_source: connections in a second from one source; more are refused.
    :param allow: networks that may connect. With it, nobody else may.
    :param deny: networks that may not. An address that is in several networks goes by the longest prefix.
    :param max_buffered: bytes that all connections together may hold of unfinished frames and unsent output, 512 MiB by
        default. Above it those that hold the most are ended, until three quarters are left. ``None``: no limit.
    :param penalties: what sources have to wait that misbehaved.
    :param ipv4_prefix: bits of an IPv4 address that make a source.
    :param ipv6_prefix: bits of an IPv6 address that make a source.
    :param network_prefix: bits of an IPv6 address that make a network.

    Raises TypeError or ValueError for a wrong argument.
    """

    connections: int | None = None
    accept_rate: Rate | float | None = None
    connections_per_source: int | None = None
    connections_per_network: int | None = None
    accept_rate_per_source: Rate | float | None = None
    allow: Sequence[str | Network] = ()
    deny: Sequence[str | Network] = ()
    max_buffered: int | None = 512 << 20
    penalties: Penalties | None = None
    ipv4_prefix: int = 32
    ipv6_prefix: int = 64
    network_prefix: int = 48

    def __post_init__(self) -> None:
        for name in ("connections", "connections_per_source", "connections_per_network"):
            check_whole(name, getattr(self, name), least=1, optional=True)
        for name in ("accept_rate", "accept_rate_per_source"):
            object.__setattr__(self, name, as_rate(name, getattr(self, name)))
        if not (self.allow == () == self.deny):
            from proactor_echo.net.networks import networks

            for name in ("allow", "deny"):
                object.__setattr__(self, name, networks(name, getattr(self, name)))
            self.access()  # raises for a network in both
        check_whole("max_buffered", self.max_buffered, least=1, most=_MOST_BYTES, optional=True, unit="bytes")
        check_instance("penalties", self.penalties, Penalties, optional=True)
        check_whole("ipv4_prefix", self.ipv4_prefix, least=1, most=32)
        check_whole("ipv6_prefix", self.ipv6_prefix, least=1, most=128)
        check_whole("network_prefix", self.network_prefix, least=1, most=128)
        if self.connections_per_network is not None and self.network_prefix >= self.ipv6_prefix:
            raise ValueError(
                f"network_prefix must be shorter than ipv6_prefix ({self.ipv6_prefix}), not {self.network_prefix}"
            )

    def access(self) -> AccessList | None:
        """Return who is let in; None: everybody."""
        if not (self.allow or self.deny):
            return None
        from proactor_echo.net.networks import AccessList  # ipaddress takes a while to load

        return AccessList(cast("Sequence[Network]", self.allow), cast("Sequence[Network]", self.deny))

    @property
    def by_source(self) -> bool:
        """Whether anything is asked of a connection's source."""
        asked = self.connections_per_source, self.connections_per_network, self.accept_rate_per_source, self.penalties
        return bool(self.allow or self.deny) or any(each is not None for each in asked)
