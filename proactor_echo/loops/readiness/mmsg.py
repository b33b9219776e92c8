"""recvmmsg(2) and sendmmsg(2) through ctypes: many datagrams in one system call.

One :class:`Batch` serves every endpoint of a loop, since a non-blocking call is over when it returns. Its memory is
one anonymous mapping of :data:`BATCH` slots, of which the system provides only the pages that were ever touched.

musl's and macOS's C libraries are not used here: :func:`new_batch` returns None there, and callers make plain calls.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import socket
import struct
import sys
from itertools import accumulate
from struct import iter_unpack
from typing import Any, Final

from proactor_echo.loops.readiness.datagram import BATCH, SLOT
from proactor_echo.loops.readiness.gso import (
    CONTROL,
    CONTROL_SPACE,
    SIZE_AT,
    UDP_SEGMENT,
    EqualDatagrams,
    Segments,
    has_segment_size,
    new_segments,
)
from proactor_echo.loops.sockaddr import NAME, pack_address, unpack_address

#: Every system that gets here has it.
_DONTWAIT: int = getattr(socket, "MSG_DONTWAIT", 0)
#: Addresses remembered each way; forgotten all together when full.
_CACHED: Final = 4096


class _Iovec(ctypes.Structure):
    _fields_ = [("iov_base", ctypes.c_void_p), ("iov_len", ctypes.c_size_t)]


class _Msghdr(ctypes.Structure):
    # recvmsg(2); the types are glibc's, and the kernel's
    _fields_ = [
        ("msg_name", ctypes.c_void_p),
        ("msg_namelen", ctypes.c_uint32),
        ("msg_iov", ctypes.c_void_p),
        ("msg_iovlen", ctypes.c_size_t),
        ("msg_control", ctypes.c_void_p),
        ("msg_controllen", ctypes.c_size_t),
        ("msg_flags", ctypes.c_int),
    ]


class _Mmsghdr(ctypes.Structure):
    _fields_ = [("msg_hdr", _Msghdr), ("msg_len", ctypes.c_uint32)]


_STARTS: Final = range(0, BATCH * SLOT, SLOT)

# Where things are in an array of headers, seen as 32-bit numbers, and as numbers of type size_t (unsigned long).
_STRIDE: Final = ctypes.sizeof(_Mmsghdr) // 4
_LENGTH_AT: Final = _Mmsghdr.msg_len.offset // 4
_NAMELEN_AT: Final = _Msghdr.msg_namelen.offset // 4
_WIDE_STRIDE: Final = ctypes.sizeof(_Mmsghdr) // ctypes.sizeof(ctypes.c_size_t)
_CONTROLLEN_AT: Final = _Msghdr.msg_controllen.offset // ctypes.sizeof(ctypes.c_size_t)

_FULL_NAMES: Final = memoryview(struct.pack("I", NAME) * BATCH).cast("I")
_NO_NAMES: Final = memoryview(bytes(4 * BATCH)).cast("I")
_NO_CONTROL: Final = memoryview(bytes(ctypes.sizeof(ctypes.c_size_t) * BATCH)).cast("L")


class _Ring:
    """Slots for :data:`BATCH` datagrams with their headers, addresses and iovecs wired together."""

    def __init__(self, slot: int) -> None:
        self.data = mmap.mmap(-1, BATCH * slot)  # a slice of it is bytes: one copy, no memoryview in between
        self.start = ctypes.addressof(ctypes.c_char.from_buffer(self.data))
        self.names = mmap.mmap(-1, BATCH * NAME)
        names_at = ctypes.addressof(ctypes.c_char.from_buffer(self.names))
        iovecs = (_Iovec * BATCH)()
        self.iovecs = memoryview(iovecs).cast("B").cast("P")  # base, length, base, length, …
        headers = (_Mmsghdr * BATCH)()
        self.headers = memoryview(headers).cast("B").cast("I")
        self.wide = memoryview(headers).cast("B").cast("L")
        self.address = ctypes.addressof(headers)
        for i in range(BATCH):
            self.iovecs[2 * i] = self.start + i * slot
            self.iovecs[2 * i + 1] = slot
            header = headers[i].msg_hdr
            header.msg_name = names_at + i * NAME
            header.msg_namelen = NAME
            header.msg_iov = ctypes.addressof(iovecs) + i * ctypes.sizeof(_Iovec)
            header.msg_iovlen = 1
        self.keep = (iovecs, headers)  # the kernel is given their addresses


class _OutRing(_Ring):
    """Messages to send: their data lies without gaps in one piece, and each header has space for a control message."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot)
        self.control = mmap.mmap(-1, BATCH * CONTROL_SPACE)
        control_at = ctypes.addressof(ctypes.c_char.from_buffer(self.control))
        for i, header in enumerate(self.keep[1]):
            at = i * CONTROL_SPACE
            CONTROL.pack_into(self.control, at, CONTROL.size + 2, socket.IPPROTO_UDP, UDP_SEGMENT)
            header.msg_hdr.msg_control = control_at + at
        self._named = True
        self._lengths: list[int] = []
        self._has_control = False

    def lay_out(self, names: list[bytes] | None, lengths: list[int]) -> None:
        """Make messages of so many bytes, to these addresses; None on a connected socket."""
        if names is not None:
            joined = b"".join(names)
            self.names[: len(joined)] = joined
        if (names is None) is self._named:
            self._named = not self._named
            self.headers[_NAMELEN_AT::_STRIDE] = _FULL_NAMES if self._named else _NO_NAMES
        if self._has_control:
            self._has_control = False
            self.wide[_CONTROLLEN_AT::_WIDE_STRIDE] = _NO_CONTROL
        if lengths != self._lengths:
            iovecs = self.iovecs
            for i, (start, length) in enumerate(zip(accumulate(lengths, initial=self.start), lengths, strict=False)):
                iovecs[2 * i] = start
                iovecs[2 * i + 1] = length
            self._lengths = lengths

    def lay_out_groups(self, groups: list[EqualDatagrams]) -> None:
        """Make a message of each group, to be cut into its datagrams."""
        named = groups[0].name is not None
        self.lay_out(
            [group.name or b"" for group in groups] if named else None, [group.length * group.size for group in groups]
        )
        self._has_control = True
        for i, (_, length, size) in enumerate(groups):
            if size > 1:
                self.wide[_CONTROLLEN_AT + i * _WIDE_STRIDE] = CONTROL_SPACE
                struct.pack_into("@H", self.control, i * CONTROL_SPACE + SIZE_AT, length)


class Batch:
    """Receives and sends up to :data:`BATCH` datagrams a call, for IPv4 and IPv6 sockets."""

    def __init__(self, library: Any) -> None:
        self._recvmmsg = library.recvmmsg
        self._sendmmsg = library.sendmmsg
        for function in (self._recvmmsg, self._sendmmsg):
            function.restype = ctypes.c_int
        self._recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]
        self._sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]
        self._in = _Ring(SLOT)
        self._out = _OutRing(SLOT)
        self._segments: Segments | None = new_segments()
        self._addresses: dict[bytes, tuple[Any, ...]] = {}
        self._raw: dict[int, dict[Any, bytes]] = {socket.AF_INET: {}, socket.AF_INET6: {}}

    def receive(self, fd: int) -> list[tuple[bytes, Any]]:
        """Return what has arrived on ``fd``: pairs of data and address, at most :data:`BATCH`. Raises OSError.

        Lifetime: the slots belong to this batch and are read before it returns; nothing stays with the kernel.
        """
        ring = self._in
        count = self._recvmmsg(fd, ring.address, BATCH, _DONTWAIT, None)
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        end = count * _STRIDE
        headers, memory = ring.headers, ring.data
        used = headers[_NAMELEN_AT:end:_STRIDE]
        name_length = used[0]  # one socket has addresses of one family
        names = iter_unpack(f"{name_length}s{NAME - name_length}x", ring.names[: count * NAME])
        used[:] = _FULL_NAMES[:count]  # recvmmsg wrote what it used
        known, remember = self._addresses.get, self._remember
        return [
            (memory[at : at + length], known(raw) or remember(raw))
            for at, length, (raw,) in zip(_STARTS, headers[_LENGTH_AT:end:_STRIDE].tolist(), names, strict=False)
        ]

    def send(self, sock: socket.socket, family: int, datas: list[bytes], addresses: list[Any] | None) -> int:
        """Send to the ``addresses``, or (None) on a connected socket; how many went, at least one. Raises OSError.

        Raises LookupError when an address is not a literal of ``family``: such go one by one, by the socket module.

        Lifetime: the bytes are copied to this batch's memory, which the kernel reads before it returns.
        """
        ring, fd = self._out, sock.fileno()
        lengths = list(map(len, datas))
        names = None
        if addresses is not None:
            raw = self._raw[family]
            try:
                names = [raw.get(address) or self._pack(family, address) for address in addresses]
            except TypeError:  # a list, say
                raise LookupError(addresses) from None
        joined = b"".join(datas)
        ring.data[: len(joined)] = joined
        groups = self._segments and self._segments.groups(fd, names, lengths)
        if groups and not has_segment_size(sock):
            ring.lay_out_groups(groups)
            sent = self._sendmmsg(fd, ring.address, len(groups), _DONTWAIT)
            if sent > 0:
                return sum([group.size for group in groups[:sent]])
            number = ctypes.get_errno()
            if not (self._segments and self._segments.refused(number, fd, groups[0])):
                raise OSError(number, os.strerror(number))
        ring.lay_out(names, lengths)
        sent = self._sendmmsg(fd, ring.address, len(datas), _DONTWAIT)
        if sent < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return int(sent)

    def _remember(self, raw: bytes) -> tuple[Any, ...]:
        if len(self._addresses) >= _CACHED:
            self._addresses.clear()
        self._addresses[raw] = address = unpack_address(raw)
        return address

    def _pack(self, family: int, address: Any) -> bytes:
        raw, known = pack_address(family, address), self._raw[family]
        if len(known) >= _CACHED:
            known.clear()
        known[address] = raw
        return raw


def new_batch() -> Batch | None:
    """Make a batch, or None where the C library or the system has no such calls."""
    if sys.platform != "linux" or not hasattr(os, "confstr"):
        return None
    try:
        if not (os.confstr("CS_GNU_LIBC_VERSION") or "").startswith("glibc"):
            return None
        return Batch(ctypes.CDLL(None, use_errno=True))
    except (OSError, AttributeError, ValueError):
        return None
