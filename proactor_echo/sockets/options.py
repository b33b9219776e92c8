"""Socket options in one value each, with the right calls for each system.

What differs, and why the calls are what they are:

======================  =========================================  ==============================================
wish                    POSIX                                      Windows
======================  =========================================  ==============================================
keepalive times         ``TCP_KEEPIDLE`` (``TCP_KEEPALIVE`` on     the same from Windows 10 1709; before that
                        macOS), ``TCP_KEEPINTVL``,                 ``SIO_KEEPALIVE_VALS``, in milliseconds, and
                        ``TCP_KEEPCNT``, in seconds                always 10 probes
nobody else on my port  the default; ``SO_REUSEADDR`` only lets    ``SO_EXCLUSIVEADDRUSE``; ``SO_REUSEADDR`` there
                        a server restart while old connections     lets anybody take the port over, so it is never
                        are in TIME_WAIT                           set
IPv4 on an IPv6 socket  ``IPV6_V6ONLY`` = 0; the default differs   ``IPV6_V6ONLY`` = 0; the default is 1
======================  =========================================  ==============================================

Sources: Microsoft's pages "Using SO_REUSEADDR and SO_EXCLUSIVEADDRUSE", "SIO_KEEPALIVE_VALS Control Code",
"IPPROTO_TCP socket options", "IPPROTO_IPV6 Socket Options"; Linux ``socket(7)``, ``tcp(7)``, ``ipv6(7)``; RFC 9293
section 3.8.4 (keepalives) and RFC 3493 section 5.3 (``IPV6_V6ONLY``).
"""

from __future__ import annotations

import math
import socket
import struct
import sys
from dataclasses import dataclass, field
from typing import Final, Protocol

from proactor_echo.arguments import check_flag, check_instance, check_seconds, check_whole
from proactor_echo.sockets import winsock
from proactor_echo.sockets.refusals import report_refusal

__all__ = ["ACCEPTED_INHERIT", "KeepAlive", "SocketLike", "SocketOptions", "reset_on_close"]

#: Whether an accepted socket has its listener's TCP options, so that setting them there once is enough (tcp(7)).
ACCEPTED_INHERIT: Final = sys.platform == "linux"

#: The option with which the system shares what comes to a port out among the sockets that are bound to it; None where
#: none does. macOS and others have an SO_REUSEPORT too, with which the last socket, or any, gets everything.
_SHARED_PORT: Final[int | None] = (
    getattr(socket, "SO_REUSEPORT", None)
    if sys.platform == "linux"
    else getattr(socket, "SO_REUSEPORT_LB", 0x10000)
    if sys.platform.startswith("freebsd")
    else None
)

_INTERNET: Final = (socket.AF_INET, socket.AF_INET6)


class SocketLike(Protocol):
    """A socket, or the one that asyncio's ``transport.get_extra_info("socket")`` returns."""

    @property
    def family(self) -> int:
        """The address family."""
        ...

    def fileno(self) -> int:
        """Return the socket's descriptor or handle."""
        ...

    def getsockopt(self, level: int, optname: int, /) -> int:
        """Return an option that is a whole number."""
        ...

    def setsockopt(self, level: int, optname: int, value: int, /) -> None:
        """Set an option that is a whole number."""
        ...


@dataclass(frozen=True, slots=True)
class KeepAlive:
    """When and how often TCP asks a silent peer whether it is still there.

    After ``idle`` seconds without a byte the system sends a probe, then one every ``interval`` seconds; when ``count``
    of them stay without an answer, the connection is over (``DisconnectReason.TIMED_OUT``).

    The limits are the narrowest of the systems': 32,767 seconds and 127 probes (Linux). Most systems count in whole
    seconds, so fractions are rounded up. Raises ValueError for anything outside, TypeError for what is no number.
    """

    idle: float = 60.0
    interval: float = 5.0
    count: int = 10

    def __post_init__(self) -> None:
        check_seconds("keepalive idle", self.idle, most=32767)
        check_seconds("keepalive interval", self.interval, most=32767)
        check_whole("keepalive count", self.count, least=1, most=127)

    def apply(self, sock: SocketLike) -> None:
        """Turn keepalive on for a TCP socket, with these times. Raises OSError when the system refuses.

        Where the socket module lacks ``TCP_KEEPIDLE`` and ``TCP_KEEPINTVL`` this is ``SIO_KEEPALIVE_VALS``, which
        takes milliseconds and leaves the number of probes at what Windows fixes: 10.
        """
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        idle, interval, count = _tcp_names()
        if idle is not None and interval is not None:
            sock.setsockopt(socket.IPPROTO_TCP, idle, math.ceil(self.idle))
            sock.setsockopt(socket.IPPROTO_TCP, interval, math.ceil(self.interval))
        elif hasattr(socket, "SIO_KEEPALIVE_VALS"):
            _set_keepalive_vals(sock, (1, math.ceil(self.idle * 1000), math.ceil(self.interval * 1000)))
        if count is not None:
            sock.setsockopt(socket.IPPROTO_TCP, count, self.count)

    @classmethod
    def read(cls, sock: SocketLike) -> KeepAlive | None:
        """Return what a socket really uses, or None when keepalive is off or the system does not let one read it.

        ``SIO_KEEPALIVE_VALS`` can only be written, so Windows before 10 1709 (and Wine 8) gives None.
        """
        idle, interval, count = _tcp_names()
        if idle is None or interval is None or count is None:
            return None
        if not sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE):
            return None
        idle_s, interval_s, probes = (sock.getsockopt(socket.IPPROTO_TCP, name) for name in (idle, interval, count))
        return cls(float(idle_s), float(interval_s), probes)


def _tcp_names() -> tuple[int | None, int | None, int | None]:
    """Return the option numbers for idle, interval and count, None for those this system has not.

    CPython removes them at import on a Windows that does not know them. Only macOS calls the first one TCP_KEEPALIVE;
    Windows has a constant of that name too, and uses it where it has TCP_KEEPIDLE.
    """
    idle = "TCP_KEEPALIVE" if sys.platform == "darwin" else "TCP_KEEPIDLE"
    names = (idle, "TCP_KEEPINTVL", "TCP_KEEPCNT")
    found = [getattr(socket, name, None) for name in names]
    return found[0], found[1], found[2]


def _set_keepalive_vals(sock: SocketLike, values: tuple[int, int, int]) -> None:
    control = getattr(sock, "ioctl", None)
    if control is not None:
        control(winsock.SIO_KEEPALIVE_VALS, values)
    elif sys.platform == "win32":  # asyncio's TransportSocket hides ioctl
        winsock.ioctl(sock, winsock.SIO_KEEPALIVE_VALS, struct.pack("=LLL", *values))


@dataclass(frozen=True, slots=True)
class SocketOptions:
    """How sockets are made. One value serves listeners, connections and datagram sockets.

    - ``nodelay``: TCP_NODELAY, so that a small write leaves at once.
    - ``keepalive``: a :class:`KeepAlive`, or None for the system's default, which is off.
    - ``exclusive``: on Windows, let no other socket bind the same port (SO_EXCLUSIVEADDRUSE). With it on, a restart
      can meet "in use" while connections of the last run are still closing; False avoids that, and lets other
      programs bind the port with SO_REUSEADDR. Elsewhere ports are exclusive by themselves and this does nothing.
    - ``dual_stack``: an IPv6 socket bound to every address (``::``) takes IPv4 too.
    - ``ipv6_only``: use IPv6 addresses alone; goes before ``dual_stack``.
    - ``reuse_port``: several sockets, of this user's processes, may be bound to the port, and the system gives each its
      part of the connections or datagrams (SO_REUSEPORT; on FreeBSD SO_REUSEPORT_LB). Raises ValueError where the
      system does not share out.
    - ``receive_buffer``, ``send_buffer``: the kernel's buffers, bytes; None for the system's own sizes, which adapt.
      They are set before connect and listen, because TCP settles its window scale when the connection opens
      (RFC 7323 section 2.2). Linux doubles the number it is given.
    """

    nodelay: bool = True
    keepalive: KeepAlive | None = field(default_factory=KeepAlive)
    exclusive: bool = True
    dual_stack: bool = True
    ipv6_only: bool = False
    receive_buffer: int | None = None
    send_buffer: int | None = None
    reuse_port: bool = False

    def __post_init__(self) -> None:
        for name in ("nodelay", "exclusive", "dual_stack", "ipv6_only", "reuse_port"):
            check_flag(name, getattr(self, name))
        if self.reuse_port and _SHARED_PORT is None:
            raise ValueError("reuse_port: this system shares no port out among several sockets; Linux and FreeBSD do")
        check_instance("keepalive", self.keepalive, KeepAlive, optional=True)
        for name in ("receive_buffer", "send_buffer"):
            check_whole(name, getattr(self, name), least=1, most=0x7FFFFFFF, unit="bytes", optional=True)

    def apply_before_bind(self, sock: socket.socket, *, dual_stack: bool | None = None) -> None:
        """Set what must be set on a listening or datagram socket before it is bound.

        ``dual_stack`` goes before the option of that name; a caller that also binds the port's IPv4 side says False.
        Raises OSError when an option about sharing the port is refused; a refused buffer size is only logged.
        """
        if sys.platform == "win32":
            if self.exclusive:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        elif sock.type == socket.SOCK_STREAM and sys.platform != "cygwin":
            # Not for datagrams: there it would let a second socket bind the same port and share the traffic.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if self.reuse_port and _SHARED_PORT is not None:
            sock.setsockopt(socket.SOL_SOCKET, _SHARED_PORT, 1)
        if sock.family == socket.AF_INET6:
            wanted = (self.dual_stack if dual_stack is None else dual_stack) and not self.ipv6_only
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not wanted))
        self.apply_buffers(sock)

    def apply_buffers(self, sock: SocketLike) -> None:
        """Set the buffer sizes, before connect or listen. A refusal is one line in the log."""
        if self.receive_buffer is not None:
            _set(sock, "SO_RCVBUF", socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
        if self.send_buffer is not None:
            _set(sock, "SO_SNDBUF", socket.SOL_SOCKET, socket.SO_SNDBUF, self.send_buffer)

    def apply_stream(self, sock: SocketLike) -> None:
        """Set TCP_NODELAY, on or off, and keepalive on a connected or accepted socket. A refusal is a line in the log.

        Does nothing to a socket that is not TCP, such as a Unix one that was handed in.
        """
        if sock.family not in _INTERNET:
            return
        # Off is set too: a listener that was handed in, or asyncio when it made the transport, may have turned it on.
        _set(sock, "TCP_NODELAY", socket.IPPROTO_TCP, socket.TCP_NODELAY, int(self.nodelay))
        if self.keepalive is not None:
            try:
                self.keepalive.apply(sock)
            except OSError as exc:
                report_refusal("SO_KEEPALIVE", exc)


def _set(sock: SocketLike, name: str, level: int, option: int, value: int) -> None:
    try:
        sock.setsockopt(level, option, value)
    except OSError as exc:
        report_refusal(name, exc)


def reset_on_close(sock: socket.socket) -> None:
    """Have closing this socket send a reset, as it does with a linger time of 0 (unless it was shut down before)."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0))
