"""Many clients on one machine: addresses to connect from, and sockets that reset.

On Linux and Windows all of 127.0.0.0/8 is the machine's own. Where it is not (macOS) everybody comes from 127.0.0.1,
and limits for each source mean all of them.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
from collections.abc import Callable

#: IP_BIND_ADDRESS_NO_PORT of Linux: the port is chosen when the peer is known, so it may be used towards others too.
NO_PORT_YET = 24

#: Connections of slow attackers that share one address.
SHARED_BY = 25

RESET = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)


def source(number: int) -> str:
    """Return the address of the attacker with this number, from 127.16.0.1 on."""
    number += 1
    if sys.platform not in ("linux", "win32"):
        return ""
    return f"127.{16 + number // 62500}.{number // 250 % 250}.{number % 250 + 1}"


def new_socket(address: str, kind: socket.SocketKind = socket.SOCK_STREAM) -> socket.socket:
    """Return a socket that does not block, bound to an address if one is given."""
    sock = socket.socket(socket.AF_INET, kind)
    sock.setblocking(False)
    if address:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_IP, NO_PORT_YET, 1)
        sock.bind((address, 0))
    return sock


def reset(sock: socket.socket) -> None:
    """Close a socket with a TCP reset."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    sock.close()


def when_input_ends(do: Callable[[], object]) -> None:
    """Call ``do`` when standard input has ended; for a thread. Whoever started this process is done then, or dead."""
    sys.stdin.read()
    do()
