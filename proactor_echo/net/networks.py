"""Lists of networks that may connect and that may not, as ``192.0.2.0/24`` or ``2001:db8::/32``.

The longest prefix that an address is in decides. Where none does, an address is let in unless there is a list of those
that are. What an IPv4 network says holds for IPv4 addresses in IPv6 too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from typing import Final

from proactor_echo.net.sources import ip_of

__all__ = ["AccessList", "Network", "networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_MAPPED: Final = ipaddress.IPv6Network("::ffff:0:0/96")


def networks(name: str, values: object) -> tuple[Network, ...]:
    """Return the argument ``name``, a list of networks as text, as networks.

    Raises TypeError or ValueError with one sentence for what is none.
    """
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(f'{name} must be a list of networks, as in ["192.0.2.0/24"], not {values!r}')
    return tuple(_network(name, value) for value in values)


def _network(name: str, value: object) -> Network:
    if isinstance(value, ipaddress.IPv4Network | ipaddress.IPv6Network):
        found: Network = value
    elif not isinstance(value, str):
        raise TypeError(f'{name} must be networks as text, as in "192.0.2.0/24", not {value!r}')
    elif "%" in value:
        raise ValueError(f"{name}: {value!r} has a zone, which no network has: leave out the percent sign and the rest")
    else:
        try:
            found = ipaddress.ip_network(value)
        except ValueError:
            try:
                meant = ipaddress.ip_network(value, strict=False)
            except ValueError:
                raise ValueError(
                    f'{name}: {value!r} is no network: write one as in "192.0.2.0/24" or "2001:db8::/32"'
                ) from None
            raise ValueError(f'{name}: {value!r} is an address within a network: write "{meant}"') from None
    if isinstance(found, ipaddress.IPv6Network) and found.subnet_of(_MAPPED):
        return ipaddress.IPv4Network((int(found.network_address) & 0xFFFFFFFF, found.prefixlen - 96))
    return found


class AccessList:
    """Who is let in: ``allow`` and ``deny`` are networks; the longest prefix wins.

    With ``allow``, what is in no network at all is not let in. Raises ValueError for a network in both lists.
    """

    __slots__ = ("_default", "_rules")

    def __init__(self, allow: Iterable[Network] = (), deny: Iterable[Network] = ()) -> None:
        allow, deny = tuple(allow), tuple(deny)
        both = sorted(map(str, set(allow) & set(deny)))
        if both:
            raise ValueError(f"{both[0]} is in both allow and deny: take it out of one of them")
        self._default = not allow
        # For each version of IP, from the longest prefix: how far to shift an address, and the networks' first bits.
        self._rules: dict[int, list[tuple[int, dict[int, bool]]]] = {4: [], 6: []}
        by_shift: dict[tuple[int, int], dict[int, bool]] = {}
        for listed, allowed in ((allow, True), (deny, False)):
            for network in listed:
                shift = network.max_prefixlen - network.prefixlen
                found = by_shift.setdefault((network.version, shift), {})
                found[int(network.network_address) >> shift] = allowed
        for (version, shift), found in sorted(by_shift.items()):
            self._rules[version].append((shift, found))

    def __bool__(self) -> bool:
        return not self._default or any(self._rules.values())

    def lets_in(self, address: object) -> bool:
        """Return whether a socket address is let in; what has no IP address, such as a Unix socket's peer, is."""
        ip = ip_of(address)
        if ip is None:
            return True
        number = int.from_bytes(ip[1], "big")
        for shift, found in self._rules[ip[0]]:
            allowed = found.get(number >> shift)
            if allowed is not None:
                return allowed
        return self._default
