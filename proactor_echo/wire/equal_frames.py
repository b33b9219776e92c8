"""Decoding a run of frames with equal headers by two calls of :mod:`struct`.

Programs that send frames of one size often send many of them. Reading each header in Python then costs far more than
the frames themselves. For a run of k equal frames one call reads the k headers, which must all equal the first one, and
one call cuts the k payloads out. Every header is compared before the payloads are taken.

A frame with another header makes the attempt fail, and its cost is lost. So attempts start small, grow fourfold with
each success, and come less often after each failure (:class:`Backoff`). A sender who alternates headers to provoke
failures cannot make decoding worse than linear. The lengths come from the peer, so the cache of compiled formats is
bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["MAX_EQUAL_FRAMES", "MIN_EQUAL_FRAMES", "Backoff", "EqualFrames", "EqualFramesCache"]

#: Frames in the shortest run that is tried: for fewer it does not pay.
MIN_EQUAL_FRAMES: Final = 4

#: Frames in the longest run. A compiled format takes 32 bytes a frame, and longer runs are no faster.
MAX_EQUAL_FRAMES: Final = 256

#: Compiled formats kept for each codec: half a megabyte at most.
CACHE_SIZE: Final = 64


class EqualFrames(NamedTuple):
    """The compiled formats for one run of frames."""

    #: Reads what must be equal in all the frames.
    headers: Callable[[bytes, int], tuple[Any, ...]]
    #: What ``headers`` returns if it is.
    expected: tuple[Any, ...]
    #: Cuts the payloads.
    payloads: Callable[[bytes, int], tuple[bytes, ...]]


class EqualFramesCache(dict[tuple[Any, int], EqualFrames]):
    """A bounded cache: ``cache[key, count]`` has the formats for ``count`` frames of the shape that ``key`` describes.

    ``shape(key)`` describes one frame: the struct format that reads its header and pads over the payload, the values
    that this must return, and the format that pads over the header and returns the payload. Both formats cover exactly
    one frame. ``byteorder`` is the prefix of all formats.
    """

    def __init__(self, shape: Callable[[Any], tuple[str, tuple[Any, ...], str]], byteorder: str = ">") -> None:
        super().__init__()
        self._shape = shape
        self._byteorder = byteorder

    def __missing__(self, key_and_count: tuple[Any, int]) -> EqualFrames:
        key, count = key_and_count
        header, expected, payload = self._shape(key)
        equal = EqualFrames(
            struct.Struct(self._byteorder + header * count).unpack_from,
            expected * count,
            struct.Struct(self._byteorder + payload * count).unpack_from,
        )
        if len(self) >= CACHE_SIZE:
            self.clear()
        self[key_and_count] = equal
        return equal


class Backoff:
    """When a decoder next tries for a run of equal frames, and of how many at most."""

    __slots__ = ("_pause", "last", "longest", "wait")

    def __init__(self) -> None:
        #: The size in the header of the frame before.
        self.last: object = None
        #: How many more frames of the same size to decode one by one before the next attempt.
        self.wait: int = 0
        #: Frames in an attempt, at most.
        self.longest: int = MAX_EQUAL_FRAMES
        self._pause = 1

    def succeeded(self) -> None:
        """Allow the next attempt at once, with more frames."""
        self._pause = 1
        self.longest = min(self.longest * 4, MAX_EQUAL_FRAMES)

    def failed(self) -> None:
        """Delay the next attempt, each time longer, and make it short."""
        self.wait = self._pause
        self._pause = min(self._pause * 2, 64)
        self.longest = 8
