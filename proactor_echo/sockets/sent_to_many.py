"""What was sent to many, by broadcast or multicast, does not reach a UDP server that answers everybody.

Such a server would be one of a whole network that answers one datagram, perhaps with a forged source.

Linux delivers both to a socket that is bound to every address. A packet filter there drops them: classic BPF
(``SO_ATTACH_FILTER``), which needs no privilege. The kernel looks at the type of the packet and at the destination in
its IP header.

Windows delivers broadcasts to every IPv4 socket of the port, and has an option against that, ``IP_RECEIVE_BROADCAST``.
Multicast comes there only to a socket that has joined the group.

No other system has a filter for sockets of this kind.

Sources: ``Documentation/networking/filter.rst`` and ``include/uapi/linux/filter.h`` of Linux; "IPPROTO_IP Socket
Options" in Microsoft's documentation of Winsock, and its ``ws2ipdef.h``.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Final

from proactor_echo.sockets.binding import is_wildcard

__all__ = ["drop_what_was_sent_to_many"]

_IP: Final = (socket.AF_INET, socket.AF_INET6)

_IP_RECEIVE_BROADCAST: Final = 22  # Windows

_SO_ATTACH_FILTER: Final = 26  # Linux
_NETWORK_HEADER: Final = -0x100000  # offsets from here on are those of the IP header
_PACKET_TYPE: Final = -0x1000 + 4  # 1: broadcast of the link, 2: multicast of the link, 5: our own of these two

# Instructions: operation, jumps if true and false (relative to the next one), operand.
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20
_EQUAL, _AT_LEAST, _RETURN = 0x15, 0x35, 0x06
_KEEP, _DROP = 0xFFFFFFFF, 0
_FILTER: Final = (
    (_LOAD_BYTE, 0, 0, _PACKET_TYPE),
    (_EQUAL, 9, 0, 1),
    (_EQUAL, 8, 0, 2),
    (_EQUAL, 7, 0, 5),
    (_LOAD_BYTE, 0, 0, _NETWORK_HEADER),  # the version of IP, in the upper half
    (_AT_LEAST, 3, 0, 0x60),
    (_LOAD_WORD, 0, 0, _NETWORK_HEADER + 16),  # where an IPv4 header has its destination
    (_AT_LEAST, 3, 2, 0xE0000000),  # 224.0.0.0/4 and above: multicast, reserved, broadcast
    (_LOAD_BYTE, 0, 0, _NETWORK_HEADER + 24),  # the first byte of an IPv6 destination
    (_EQUAL, 1, 0, 0xFF),
    (_RETURN, 0, 0, _KEEP),
    (_RETURN, 0, 0, _DROP),
)


def drop_what_was_sent_to_many(sock: socket.socket) -> bool:
    """Have the system keep broadcast and multicast datagrams from ``sock``, a bound UDP socket; return whether it will.

    A socket that is bound to the address of a group or of a broadcast is there for just these, and left as it is.
    """
    try:
        if sys.platform == "win32" and sock.family == socket.AF_INET:
            sock.setsockopt(socket.IPPROTO_IP, _IP_RECEIVE_BROADCAST, 0)
            return True
        if sys.platform == "linux" and sock.family in _IP and is_wildcard(sock.family, sock.getsockname()):
            _attach_filter(sock)
            return True
    except OSError:  # a sandbox that allows no filters, say
        pass
    return False


def _attach_filter(sock: socket.socket) -> None:
    program = b"".join(struct.pack("=HBBI", code, yes, no, operand & 0xFFFFFFFF) for code, yes, no, operand in _FILTER)
    code = ctypes.create_string_buffer(program, len(program))
    sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(code)))
