"""Socket addresses as the system calls write them: ``sockaddr_in`` and ``sockaddr_in6``."""

from __future__ import annotations

import socket
import struct
from typing import Any, Final

#: Bytes for one socket address; sockaddr_in6 takes 28.
NAME: Final = 32


def unpack_address(raw: bytes) -> tuple[Any, ...]:
    """Turn a ``sockaddr_in`` or ``sockaddr_in6`` into the tuple the socket module makes of it."""
    (family,) = struct.unpack_from("=H", raw)
    if family == socket.AF_INET:
        (port,) = struct.unpack_from("!H", raw, 2)
        return socket.inet_ntop(socket.AF_INET, raw[4:8]), port
    if family == socket.AF_INET6:
        port, flow = struct.unpack_from("!HI", raw, 2)
        (scope,) = struct.unpack_from("=I", raw, 24)
        return socket.inet_ntop(socket.AF_INET6, raw[8:24]), port, flow, scope
    raise ValueError(f"not an Internet address: {raw!r}")


def pack_address(family: int, address: Any) -> bytes:
    """Undo :func:`unpack_address`, padded to :data:`NAME` bytes; LookupError for anything but a literal."""
    try:
        host, port, *rest = address
        head = struct.pack("=H", family) + struct.pack("!H", port)
        if family == socket.AF_INET:
            () = rest
            head += socket.inet_pton(socket.AF_INET, host)
        else:
            flow, scope = (*rest, 0, 0)[:2]
            head += struct.pack("!I", flow) + socket.inet_pton(socket.AF_INET6, host) + struct.pack("=I", scope)
    except (OSError, ValueError, TypeError, struct.error):
        raise LookupError(address) from None
    return head.ljust(NAME, b"\0")
