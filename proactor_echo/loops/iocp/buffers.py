"""Receive buffers of the completion engine: small at first, larger where much arrives, and used again."""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.stream is for Windows only")

import ctypes
from typing import Final

#: Bytes of a receive buffer: the first when a connection is new or quiet, the next when a receive fills the last.
SIZES: Final = (2 * 1024, 16 * 1024, 64 * 1024)

#: Receives in a row that a smaller buffer would have held, before the buffer becomes smaller.
SMALL_RECEIVES: Final = 2

#: Most buffers of one size kept for the next connection that needs one: 2 MiB of the largest.
SPARE_BUFFERS: Final = 32


class PinnedBuffer:
    """Memory at a fixed address: a pinned bytearray cannot be resized."""

    __slots__ = ("_pin", "address", "size", "view")

    def __init__(self, size: int) -> None:
        memory = bytearray(size)
        self.size: int = size
        self.view: memoryview[int] = memoryview(memory)
        self._pin: ctypes.c_char = ctypes.c_char.from_buffer(memory)
        self.address: int = ctypes.addressof(self._pin)


class BufferPool:
    """The loop's spare receive buffers; only idle ones are ever in it."""

    def __init__(self) -> None:
        self._spare: dict[int, list[PinnedBuffer]] = {size: [] for size in SIZES}

    def take(self, size: int) -> PinnedBuffer:
        """Return a buffer of one of :data:`SIZES`; its contents are undefined."""
        spare = self._spare[size]
        return spare.pop() if spare else PinnedBuffer(size)

    def give(self, buffer: PinnedBuffer) -> None:
        """Put back a buffer that no outstanding operation uses."""
        spare = self._spare[buffer.size]
        if len(spare) < SPARE_BUFFERS:
            spare.append(buffer)
