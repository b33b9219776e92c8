"""Addresses as people write them, as the socket module wants them, and as a log shows them.

An IPv6 link-local address (fe80::/10) means something else on every network interface, so it goes with a scope: the
interface's index, written after a percent sign as a number or as the interface's name (RFC 4007 section 11). The
socket module wants that index as the fourth member of the address.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any, Final

from proactor_echo.arguments import check_host, check_port, check_text
from proactor_echo.errors import BindError, ConnectFailed
from proactor_echo.escaping import escaped

__all__ = [
    "Address",
    "AddressInfo",
    "format_address",
    "is_ip",
    "is_link_local",
    "parse_host_port",
    "port_of",
    "resolve",
]

#: The address of an internet socket, as the socket module has it: ``(host, port)``, and for IPv6 flow and scope too.
#:
#: Not a union of the two, which nothing that asks for pairs would take, such as ``socket.create_connection``.
Address = tuple[Any, ...]

#: Family, type, protocol, canonical name, socket address: what ``socket.getaddrinfo`` returns.
AddressInfo = tuple[int, int, int, str, Address]

_PORTS: Final = range(65536)
_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


def format_address(address: object) -> str:
    """Write a socket address as one word: ``127.0.0.1:9000``, ``[::1]:9000``, ``[fe80::1%eth0]:9000``.

    A scope is written as the system's own tools write it, so that the text can be used with them: the interface's
    name, or its index where it has no name any more, and on Windows always the index. What is not an internet address
    (a Unix socket's path, which its owner chooses) is written as it is, but for what is not printable.
    """
    if not isinstance(address, tuple) or len(address) < 2:
        return repr(address) if isinstance(address, bytes) else escaped(str(address))
    host, port = address[0], address[1]
    if ":" not in host:
        return f"{host}:{port}"
    host, _, scope = host.partition("%")
    index = address[3] if len(address) > 3 else 0
    if index or scope:
        return f"[{host}%{_scope_name(index) if index else scope}]:{port}"
    return f"[{host}]:{port}"


def port_of(address: object) -> int:
    """Return the port of a socket address. Raises AttributeError for one that has none, a Unix socket's path."""
    if not isinstance(address, tuple):
        raise AttributeError(f"{format_address(address)!r} is no internet address, and has no port")
    return int(address[1])


def parse_host_port(text: str) -> tuple[str, int]:
    """Read ``host:port``, with an IPv6 address in brackets; the reverse of :func:`format_address`.

    Raises ValueError with a sentence that says what is wrong.
    """
    check_text("an address", text)
    if "://" in text:
        raise ValueError(f"{text!r} is a URL and not an address: write HOST:PORT, as in 127.0.0.1:9000 or [::1]:9000")
    host, colon, port = text.rpartition(":")
    if not colon or not host:
        raise ValueError(f"{text!r} is not an address: write HOST:PORT, as in 127.0.0.1:9000 or [::1]:9000")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        if not is_ip(socket.AF_INET6, host.partition("%")[0]):
            raise ValueError(f"{text!r} is not an address: {host!r} in the brackets is not an IPv6 address")
    elif ":" in host or "[" in host or "]" in host:
        raise ValueError(f"{text!r} is not an address: write an IPv6 address in brackets, as in [::1]:9000")
    if not (port.isascii() and port.isdigit() and int(port) in _PORTS):
        raise ValueError(f"{text!r} is not an address: the port must be a number from 0 to 65535, not {port!r}")
    return host, int(port)


async def resolve(
    host: str,
    port: int,
    *,
    type: int = socket.SOCK_STREAM,  # noqa: A002 (getaddrinfo's own word)
    family: int = 0,
    passive: bool = False,
) -> list[AddressInfo]:
    """Find every address of a name, in the system's order and each once, with the running loop's ``getaddrinfo``.

    An address instead of a name is used without a look-up; so is one with a scope (``fe80::1%eth0``, ``%12``).

    :param host: a name or an address.
    :param port: the port that the addresses get.
    :param type: ``socket.SOCK_STREAM`` or ``SOCK_DGRAM``.
    :param family: ``AF_INET`` or ``AF_INET6`` to look for these alone; 0 for both.
    :param passive: whether the addresses are to be bound, and not connected to.

    Raises :class:`~proactor_echo.errors.BindError` if ``passive``, else
    :class:`~proactor_echo.errors.ConnectFailed`, with one sentence: an empty host, an unknown one.
    """
    error = BindError if passive else ConnectFailed
    check_host("host", host)
    check_port("port", port)
    if not host:
        raise error("the host is empty: give a name or an address" + (", 0.0.0.0 or :: for all" if passive else ""))
    if _has_port(host):
        raise error(f"the host {host!r} has a port in it: give host and port apart")
    try:
        address = _literal(host, port, family)
        if address is not None:
            return [(address[0], type, 0, "", address[1])]
        flags = socket.AI_PASSIVE if passive else 0
        found = await asyncio.get_running_loop().getaddrinfo(host, port, family=family, type=type, flags=flags)
    except _LiteralError as exc:
        raise error(str(exc)) from None
    except OSError as exc:
        # getaddrinfo's numbers are no errno (on macOS they look like one), so the number stays in the cause.
        raise error(_unknown(host, family, exc)) from exc
    except (UnicodeError, ValueError) as exc:  # a label that IDNA cannot encode, a null character
        raise error(f"{host!r} is not a host name: {exc}") from exc
    kept = [(info[0], type, info[2], "", info[4]) for info in found if info[0] in _INTERNET]
    return list(dict.fromkeys(kept))


def is_ip(family: int, text: str) -> bool:
    """Return whether a text is an address of a family, ``AF_INET`` or ``AF_INET6``, without a scope."""
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):  # ValueError: a null character
        return False
    return "\0" not in text  # at which PyPy's inet_pton ends


def _has_port(host: str) -> bool:
    """Tell ``host:port`` from a host, so that nobody is asked for the address of such a name."""
    name, colon, port = host.rpartition(":")
    return bool(colon) and port.isascii() and port.isdigit() and (":" not in name or name.endswith("]"))


def is_link_local(host: str) -> bool:
    """Return whether an IPv6 address, without its scope, needs one: fe80::/10, and multicast on one link, ff02::/16."""
    if not is_ip(socket.AF_INET6, host):
        return False
    packed = socket.inet_pton(socket.AF_INET6, host)
    return (packed[0] == 0xFE and packed[1] & 0xC0 == 0x80) or (packed[0] == 0xFF and packed[1] & 0x0F == 0x02)


class _LiteralError(Exception):
    """An address that cannot be meant; the text is a sentence."""


def _literal(host: str, port: int, family: int) -> tuple[int, Address] | None:
    """Return the family and socket address if the host is an address and not a name."""
    if is_ip(socket.AF_INET, host):
        if family == socket.AF_INET6:
            raise _LiteralError(f"{host} is an IPv4 address, and only IPv6 is allowed")
        return socket.AF_INET, (host, port)
    if host.startswith("[") and host.endswith("]"):  # as in a URL; people type it everywhere
        host = host[1:-1]
    ip, percent, scope = host.partition("%")
    if not is_ip(socket.AF_INET6, ip):
        return None
    if family == socket.AF_INET:
        raise _LiteralError(f"{host} is an IPv6 address, and only IPv4 is allowed")
    index = _scope_index(host, scope) if percent else 0
    if not is_link_local(ip):
        index = 0  # the interface does not change which address this is, and the systems ignore it too
    elif not index:
        raise _LiteralError(f"{host} exists on every interface: say which one, as in {ip}%{_example_interface()}")
    return socket.AF_INET6, (ip, port, 0, index)


def _scope_index(host: str, scope: str) -> int:
    """Return the interface's index for a number or a name. getaddrinfo on Windows would take the number only."""
    if scope.isascii() and scope.isdigit():
        return int(scope)
    try:
        return socket.if_nametoindex(scope)
    except (OSError, ValueError):
        raise _LiteralError(f"{host}: this machine has no network interface named {scope!r}") from None


def _scope_name(index: int) -> str:
    if sys.platform == "win32":  # ping, netsh and ipconfig know the number alone
        return str(index)
    try:
        return socket.if_indextoname(index)
    except OSError:
        return str(index)


def _example_interface() -> str:
    """Return a scope that makes sense on this machine, for a message: a real interface that is not loopback."""
    interfaces = socket.if_nameindex()
    index, name = interfaces[-1] if interfaces else (1, "eth0")
    return str(index) if sys.platform == "win32" else name


def _unknown(host: str, family: int, exc: OSError) -> str:
    if not isinstance(exc, socket.gaierror):
        return f"cannot look up {host!r}: {exc.strerror or exc}"
    if exc.errno == socket.EAI_AGAIN:
        return f"cannot look up {host!r} now: {exc.strerror}"
    which = {socket.AF_INET: "IPv4 ", socket.AF_INET6: "IPv6 "}.get(socket.AddressFamily(family), "")
    return f"unknown host {host!r}: no {which}address was found for it"
