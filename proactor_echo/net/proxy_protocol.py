"""ProxyProtocol: which peers are load balancers that say, in a PROXY header, whose connections they hand on."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import TYPE_CHECKING, Literal, NamedTuple

from proactor_echo.arguments import check_choice, check_seconds, check_whole
from proactor_echo.net.networks import AccessList, networks

if TYPE_CHECKING:
    from proactor_echo.sockets.addresses import Address
    from proactor_echo.wire.proxy_header import ProxyHeader
    from proactor_echo.wire.proxy_parser import ProxyParser

__all__ = ["Proxied", "ProxyProtocol"]

#: The longest header of version 2: its 16 bytes, and what their length can say.
_LONGEST = 16 + 0xFFFF


@dataclasses.dataclass(frozen=True)
class ProxyProtocol:
    """From whom a server takes PROXY headers; those peers must send one, and nobody else's is one.

    :param trusted: networks of the load balancers, as ``["10.0.0.0/8"]``. A peer without an IP address, of a Unix
        socket, is trusted.
    :param versions: which versions of the header are taken, of 1 and 2.
    :param timeout: seconds in which a header must be complete.
    :param untrusted: what a peer gets that is not trusted: ``"refuse"``, or ``"direct"``, which serves it as a client
        of its own, with all its bytes as data.
    :param max_header: bytes that a header of version 2 may have.

    Raises TypeError or ValueError with one sentence for a wrong argument.
    """

    trusted: Collection[str]
    versions: Collection[int] = (1, 2)
    timeout: float = 5.0
    untrusted: Literal["refuse", "direct"] = "refuse"
    max_header: int = 4096
    _access: AccessList = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        trusted = networks("trusted", self.trusted)
        if not trusted:
            raise ValueError('trusted is empty: name the networks of the load balancers, as in ["10.0.0.0/8"]')
        versions = self.versions
        if isinstance(versions, str) or not isinstance(versions, Collection):
            raise TypeError(f"versions must be a list of 1 and 2, not {versions!r}")
        if not versions or not set(versions) <= {1, 2}:
            raise ValueError(f"versions must be 1, 2 or both, not {versions!r}")
        check_seconds("timeout", self.timeout)
        check_choice("untrusted", self.untrusted, ("refuse", "direct"))
        check_whole("max_header", self.max_header, least=16, most=_LONGEST, unit="bytes")
        object.__setattr__(self, "_access", AccessList(trusted))

    def trusts(self, address: object) -> bool:
        """Return whether the peer with this socket address must send a header."""
        return self._access.lets_in(address)

    def parser(self) -> ProxyParser:
        """Return a parser for one header."""
        from proactor_echo.wire.proxy_parser import ProxyParser

        return ProxyParser(self.versions, self.max_header)


class Proxied(NamedTuple):
    """What a load balancer said of a client, and its own address."""

    header: ProxyHeader
    proxy: Address
