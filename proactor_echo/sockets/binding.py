"""Making listening and datagram sockets, with the differences between the systems.

A host may have several addresses, and a service on all of them has one port. So first every address is found, then
every socket is bound, and only then does any of them listen; whatever fails closes them all. With port 0 the system
picks a port for the first socket and the others must get the same one; when somebody else has it there, all of it
starts again.

Every interface (host None) is two sockets, 0.0.0.0 and ``::`` for IPv6 alone, and not one dual-stack socket: an IPv4
peer then has its IPv4 address and not ``::ffff:192.0.2.1``, an answer to it leaves an IPv4 socket, and a system without
IPv6 is served too. Host ``"::"`` is one socket, and takes IPv4 too if ``SocketOptions.dual_stack`` is on and
no IPv4 address is bound beside it (both at once is "in use" on Linux).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from proactor_echo.arguments import check_hosts, check_instance, check_whole
from proactor_echo.errors import BindError
from proactor_echo.sockets.addresses import Address, format_address, resolve
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.sockets.winsock import disable_udp_connreset

__all__ = ["adopt_datagram_sockets", "adopt_listeners", "bind_udp_sockets", "listen_tcp", "open_socket"]

logger: logging.Logger = logging.getLogger("proactor_echo.sockets")

Hosts = str | Sequence[str] | None

#: How often a fresh port is asked for when the one the system picked is taken on another address.
PORT_ATTEMPTS: Final = 32


async def listen_tcp(
    host: Hosts, port: int, *, options: SocketOptions | None = None, backlog: int = 1024
) -> list[socket.socket]:
    """Return non-blocking sockets that listen on every address of every host, all on one port.

    Addresses that occur twice or that a wildcard covers are bound once. An address family that this system lacks is
    left out with a line in the log, if there is another address.

    :param host: a name, an address, several of them, or None for every interface.
    :param port: 0 lets the system pick a free one.
    :param options: what to set on the sockets.
    :param backlog: how many connections may wait to be accepted; the system may set a lower limit.

    Raises :class:`~proactor_echo.errors.BindError` with one sentence, and then leaves no socket open.
    """
    check_whole("backlog", backlog, least=1)
    options = options or SocketOptions()
    targets = await _targets(host, port, socket.SOCK_STREAM, options)
    return bind_all(targets, options, lambda sock: sock.listen(backlog))


async def bind_udp_sockets(host: Hosts, port: int, *, options: SocketOptions | None = None) -> list[socket.socket]:
    """Return non-blocking datagram sockets bound to every address of every host, all on one port.

    The rules are those of :func:`listen_tcp`. On Windows the errors that ICMP messages cause are turned off
    (:func:`~proactor_echo.sockets.winsock.disable_udp_connreset`).
    """
    options = options or SocketOptions()
    targets = await _targets(host, port, socket.SOCK_DGRAM, options)
    return bind_all(targets, options, disable_udp_connreset)


def open_socket(family: int, kind: int, options: SocketOptions) -> socket.socket:
    """Return a non-blocking socket that is neither bound nor connected: what a client starts from.

    ``kind`` is ``socket.SOCK_STREAM`` or ``socket.SOCK_DGRAM``. Buffer sizes are set, for datagrams the ICMP errors
    are turned off. Raises OSError.
    """
    sock = socket.socket(family, kind)
    try:
        sock.setblocking(False)
        options.apply_buffers(sock)
        if kind == socket.SOCK_DGRAM:
            disable_udp_connreset(sock)
    except BaseException:
        sock.close()
        raise
    return sock


class Target(NamedTuple):
    """One address to bind, and whether its socket takes IPv4 beside IPv6."""

    family: int
    kind: int
    address: Address
    dual_stack: bool = False


async def _targets(host: Hosts, port: int, kind: int, options: SocketOptions) -> list[Target]:
    """Find the addresses to bind: every host's, each once, without those that a wildcard covers."""
    family = socket.AF_INET6 if options.ipv6_only else socket.AF_UNSPEC
    if host is None:
        hosts: Sequence[str] = ["::"] if options.ipv6_only else ["0.0.0.0", "::"]
    else:
        check_hosts("host", host)
        hosts = [host] if isinstance(host, str) else host
    found = [info for name in hosts for info in await resolve(name, port, type=kind, family=family, passive=True)]
    addresses = dict.fromkeys((info[0], info[4]) for info in found)
    wild = {family for family, address in addresses if is_wildcard(family, address)}
    both = options.dual_stack and not any(family == socket.AF_INET for family, _ in addresses)
    return [
        Target(family, kind, address, family == socket.AF_INET6 and _takes_ipv4(address, both))
        for family, address in addresses
        if family not in wild or is_wildcard(family, address)
    ]


def is_wildcard(family: int, address: Address) -> bool:
    """Tell the address of every interface, 0.0.0.0 or ``::``, of an IP family."""
    return not any(socket.inet_pton(family, address[0].partition("%")[0]))


def _takes_ipv4(address: Address, both: bool) -> bool:
    """Return whether an IPv6 socket must take IPv4: a wildcard with no IPv4 beside it, or an IPv4-mapped address."""
    packed = socket.inet_pton(socket.AF_INET6, address[0].partition("%")[0])
    return (both and not any(packed)) or packed.startswith(bytes(10) + b"\xff\xff")


def bind_all(
    targets: Sequence[Target], options: SocketOptions, finish: Callable[[socket.socket], object]
) -> list[socket.socket]:
    """Bind every target to one port, then ``finish`` every socket. All of them, or none and BindError.

    Blocks for no longer than the system calls take: nothing here waits for a network.
    """
    attempts = PORT_ATTEMPTS if targets[0].address[1] == 0 else 1
    while True:
        attempts -= 1
        bound: list[socket.socket] = []
        try:
            missing = _bind_each(targets, options, bound)
            for sock in bound:
                with _explained(sock.type, sock.getsockname()):
                    finish(sock)
        except BaseException as exc:
            for sock in bound:
                sock.close()
            if not (attempts and bound and isinstance(exc, BindError) and exc.errno in _TAKEN):
                raise
            # The port was free on the first address and is not on another one: ask for a new port.
        else:
            for failure in missing:
                logger.warning("%s; going on without it", failure)
            return bound


def _bind_each(targets: Sequence[Target], options: SocketOptions, bound: list[socket.socket]) -> list[BindError]:
    """Bind the targets, all to the first one's port. Return the failures of families that this system lacks."""
    missing: list[BindError] = []
    for target in targets:
        address = target.address
        if bound:
            address = (address[0], bound[0].getsockname()[1], *address[2:])
        try:
            with _explained(target.kind, address):
                bound.append(_bind_one(target, address, options))
        except BindError as exc:
            if not _family_is_missing(exc, address):
                raise
            missing.append(exc)
    if not bound:
        raise missing[0]
    return missing


def _bind_one(target: Target, address: Address, options: SocketOptions) -> socket.socket:
    sock = socket.socket(target.family, target.kind)
    try:
        sock.setblocking(False)
        options.apply_before_bind(sock, dual_stack=target.dual_stack)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def _family_is_missing(exc: BindError, address: Address) -> bool:
    """Return whether the family is missing. A Linux with IPv6 turned off still makes the socket, without ::1."""
    return exc.errno in _UNSUPPORTED or (exc.errno == errno.EADDRNOTAVAIL and address[0] in ("::", "::1"))


# The errno module of Windows gives these names Winsock's numbers, and OSError.errno is the same there.
_TAKEN: Final = (errno.EADDRINUSE, errno.EACCES)  # EACCES: Windows keeps ranges of ports back
_UNSUPPORTED: Final = (errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT)


@contextlib.contextmanager
def _explained(kind: int, address: Address) -> Iterator[None]:
    """Turn an OSError into a BindError whose text is one sentence."""
    try:
        yield
    except OSError as exc:
        protocol = "udp" if kind == socket.SOCK_DGRAM else "tcp"
        where = f"{protocol} {format_address(address)}"
        raise BindError(f"cannot bind {where}: {_why(exc, address)}", errno=exc.errno) from exc


def _why(exc: OSError, address: Address) -> str:
    match exc.errno:
        case errno.EADDRINUSE:
            return "the port is in use"
        case errno.EADDRNOTAVAIL:
            return f"{address[0]} is not an address of this machine"
        case errno.EAFNOSUPPORT | errno.EPROTONOSUPPORT:
            return "this system does not support " + ("IPv6" if ":" in address[0] else "this kind of address")
        case errno.EACCES if sys.platform == "win32":
            # WSAEACCES is also what a port gives whose holder set SO_EXCLUSIVEADDRUSE (the table in "Using SO_REUSEADDR
            # and SO_EXCLUSIVEADDRUSE"), and one that Windows reserves (netsh int ipv4 show excludedportrange).
            return "not permitted: the port is in use by a program that shares it with nobody, or Windows reserves it"
        case errno.EACCES | errno.EPERM:
            return "not permitted" + (": ports below 1024 need privileges" if 0 < address[1] < 1024 else "")
        case errno.ENODEV if len(address) == 4:  # Linux; others say that the address is not theirs
            return f"this machine has no network interface {address[3]}"
    return exc.strerror or str(exc)


def adopt_listeners(sockets: Iterable[socket.socket], *, backlog: int = 1024) -> list[socket.socket]:
    """Take over TCP (or Unix stream) sockets that another program bound, a supervisor for example, and listen on them.

    They become non-blocking, and listening if they were not. Raises
    :class:`~proactor_echo.errors.BindError` with one sentence for a socket that cannot listen; none of them is closed
    then, because they are still the caller's.
    """
    taken = _adopt(sockets, socket.SOCK_STREAM)
    for sock in taken:
        if not _is_listening(sock):
            with _explained(sock.type, sock.getsockname()):
                sock.listen(backlog)
    return taken


def adopt_datagram_sockets(sockets: Iterable[socket.socket]) -> list[socket.socket]:
    """Take over UDP sockets that another program bound. As :func:`adopt_listeners`; the ICMP errors are turned off."""
    taken = _adopt(sockets, socket.SOCK_DGRAM)
    for sock in taken:
        disable_udp_connreset(sock)
    return taken


def _adopt(sockets: Iterable[socket.socket], kind: int) -> list[socket.socket]:
    if isinstance(sockets, socket.socket):
        raise TypeError("sockets must be a list of sockets, not one: write [sock]")
    taken = list(sockets)
    if not taken:
        raise ValueError("sockets is empty: give one or more, or leave it out and give a host and port")
    for sock in taken:
        check_instance("each of sockets", sock, socket.socket)
        wrong = _unfit(sock, kind)
        if wrong:
            raise BindError(f"cannot use the socket that was handed in: it {wrong}")
    for sock in taken:
        sock.setblocking(False)
    return taken


def _unfit(sock: socket.socket, kind: int) -> str | None:
    """Say what makes a socket unfit to be handed in, or return None."""
    if sock.fileno() < 0:
        return "is closed"
    if sock.type != kind:
        return "is not a stream socket" if kind == socket.SOCK_STREAM else "is not a datagram socket"
    try:
        name = sock.getsockname()
    except OSError:  # Windows: WSAEINVAL before bind
        return "is not bound"
    if not name or (isinstance(name, tuple) and name[1] == 0):
        return "is not bound"
    if kind == socket.SOCK_STREAM:
        try:
            peer = format_address(sock.getpeername())
        except OSError:
            return None
        return f"is connected to {peer}"
    return None


def _is_listening(sock: socket.socket) -> bool:
    try:
        return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    except OSError:
        return False  # listen() once more does no harm
