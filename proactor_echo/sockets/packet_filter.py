"""A packet filter that has Linux drop datagrams which were addressed to everybody: broadcast and multicast.

A socket that is bound to every address gets them too, and whoever answers one answers for a network. The filter is
classic BPF (``SO_ATTACH_FILTER``), which needs no privilege. The kernel looks at the type of the packet and at the
destination in its IP header. No other system has it for sockets of this kind.

Source: ``Documentation/networking/filter.rst`` and ``include/uapi/linux/filter.h`` of Linux.
"""

from __future__ import annotations

import ctypes
import socket
import struct
import sys
from typing import Final

__all__ = ["drop_what_was_sent_to_many"]

_SO_ATTACH_FILTER: Final = 26
_NETWORK_HEADER: Final = -0x100000  # offsets from here on are those of the IP header
_PACKET_TYPE: Final = -0x1000 + 4  # 1: to a broadcast address, 2: to a multicast address of the link

# Instructions: operation, jumps if true and false (relative to the next one), operand.
_LOAD_BYTE, _LOAD_HALF, _LOAD_WORD = 0x30, 0x28, 0x20
_EQUAL, _AT_LEAST, _RETURN = 0x15, 0x35, 0x06
_KEEP, _DROP = 0xFFFFFFFF, 0
_FILTER: Final = (
    (_LOAD_BYTE, 0, 0, _PACKET_TYPE),
    (_EQUAL, 8, 0, 1),
    (_EQUAL, 7, 0, 2),
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
    """Have the system drop broadcast and multicast datagrams before they reach ``sock``; return whether it will."""
    if sys.platform != "linux":
        return False
    program = b"".join(struct.pack("=HBBI", code, yes, no, operand & 0xFFFFFFFF) for code, yes, no, operand in _FILTER)
    code = ctypes.create_string_buffer(program, len(program))
    try:
        sock.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("@HP", len(_FILTER), ctypes.addressof(code)))
    except OSError:
        return False  # a sandbox that allows no filters, say
    return True
