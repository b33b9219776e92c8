"""UDP segmentation offload (GSO): datagrams of equal length to one address go through the network stack as one.

The answers to eight datagrams of one client are eight datagrams to one address. Sent with the control message
``UDP_SEGMENT`` they are one buffer, which Linux (4.18 and later) routes, filters and accounts for once, and cuts into
segments, the datagrams, at the very end. The same datagrams arrive in the same order; most of the cost of sending is
paid once for all of them.

Not every destination allows it: a segment must fit the path's MTU, since segments are not fragmented, and the stack
must be able to compute the checksums. Where that fails, sending raises an error, and the destination gets single
datagrams from then on.

Sources: udp(7), "UDP_SEGMENT"; Linux, net/ipv4/udp.c, ``udp_send_skb``.
"""

from __future__ import annotations

import errno
import socket
import struct
from itertools import groupby, repeat
from operator import is_
from typing import Final, NamedTuple

#: Segments in one send: the kernel's UDP_MAX_SEGMENTS, which was raised to 128 in 6.9.
MAX_SEGMENTS: Final = 64
#: Bytes in one send: until they are cut they have one IP header, whose length field bounds them.
MAX_BYTES: Final = 65_507

#: <linux/udp.h>; the socket module has no name for it.
UDP_SEGMENT: Final = 103
#: A cmsghdr: its length with the datum, level, type; then uint16_t, the size.
CONTROL: Final = struct.Struct("@Nii")
#: Bytes for it, as CMSG_SPACE(2) has it.
CONTROL_SPACE: Final = 24
SIZE_AT: Final = CONTROL.size

_REFUSALS: Final = {errno.EINVAL, errno.EMSGSIZE, errno.EIO, errno.ENOPROTOOPT, errno.EOPNOTSUPP}
#: Destinations that take single datagrams; forgotten all together when full.
_REMEMBERED: Final = 4096


class EqualDatagrams(NamedTuple):
    """Datagrams of one length to one address, next to each other."""

    #: The packed address; None on a connected socket.
    name: bytes | None
    #: Bytes in each.
    length: int
    #: How many there are.
    size: int


class Segments:
    """Groups the datagrams of a batch, and remembers the destinations that do not allow segments."""

    def __init__(self) -> None:
        self._single: set[bytes | int] = set()

    def groups(self, fd: int, names: list[bytes] | None, lengths: list[int]) -> list[EqualDatagrams] | None:
        """Return the batch as groups of equal datagrams, or None where these are too small to gain anything.

        Equal ``names`` must be the same object. Without names the socket ``fd`` is connected.
        """
        if names is None:
            if fd in self._single:
                return None
        elif 2 * sum(map(is_, names, names[1:])) < len(names):
            return None
        groups = []
        for (name, length), group in groupby(zip(names or repeat(None), lengths, strict=False)):
            count = len(list(group))
            most = 1 if name in self._single or not length else min(MAX_SEGMENTS, max(1, MAX_BYTES // length))
            while count > most:
                groups.append(EqualDatagrams(name, length, most))
                count -= most
            groups.append(EqualDatagrams(name, length, count))
        return groups

    def refused(self, number: int, fd: int, group: EqualDatagrams) -> bool:
        """Whether the error ``number`` of sending ``group`` means that its destination does not allow segments."""
        if number not in _REFUSALS or group.size == 1:
            return False
        if len(self._single) >= _REMEMBERED:
            self._single.clear()
        self._single.add(fd if group.name is None else group.name)
        return True


def has_segment_size(sock: socket.socket) -> bool:
    """Whether the program has set ``UDP_SEGMENT`` on the socket: then the system cuts what it sends already."""
    try:
        return bool(sock.getsockopt(socket.IPPROTO_UDP, UDP_SEGMENT))
    except OSError:
        return True  # a socket that does not know the option


def new_segments() -> Segments | None:
    """Make one, or None where the system has no such option."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
    except OSError:
        return None
    return Segments()
