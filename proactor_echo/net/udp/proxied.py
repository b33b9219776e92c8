"""Datagrams with a PROXY header in front of each, as a load balancer sends them on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proactor_echo.errors import ProxyHeaderError
from proactor_echo.net.proxy_protocol import ProxyProtocol
from proactor_echo.sockets.addresses import Address

if TYPE_CHECKING:
    from proactor_echo.wire.proxy_header import ProxyHeader

__all__ = ["ProxiedAddress", "unwrap"]


class ProxiedAddress(tuple[object, ...]):
    """The address of a load balancer, to which answers go, with the client that it told of.

    :ivar client: the client's address; the load balancer's own where the header says none.
    :ivar header: the whole :class:`ProxyHeader`.
    """

    client: Address
    header: ProxyHeader

    @classmethod
    def of(cls, proxy: Address, header: ProxyHeader) -> ProxiedAddress:
        """Return the address of a datagram that had this header."""
        made = cls(proxy)
        made.header = header
        made.client = header.source or proxy
        return made


def unwrap(proxy: ProxyProtocol, data: bytes, address: Address) -> tuple[bytes, Address] | None:
    """Return what is behind the header of a datagram, and where it came from; None for one that is not taken."""
    if not proxy.trusts(address):
        return (data, address) if proxy.untrusted == "direct" else None
    parser = proxy.parser()
    try:
        header = parser.feed(data)
    except ProxyHeaderError:
        return None
    return None if header is None else (parser.rest, ProxiedAddress.of(address, header))
