"""Cutting a run of frames with equal headers out of a chunk, at the speed of C.

Programs that send frames of one size send many of them, and then reading each header in Python costs far more than the
frames themselves. A run of k frames needs two calls of :mod:`struct` instead: one reads the k headers alone, which must
all be what the first one is, and one cuts the k payloads. Nothing is assumed: a run is taken only when every header in
it has been compared.

A frame whose header differs ends the attempt, and its cost is lost; so attempts start small, grow fourfold with each
success, and come less often with each failure (:class:`Pace`). A sender who alternates to provoke failures cannot make
decoding worse than linear. Compiled formats are kept in a bounded cache, for lengths come from the peer.
"""

import struct
from collections.abc import Callable
from typing import Any, Final, NamedTuple

__all__ = ["Pace", "Run", "Runs"]

LONGEST_RUN: Final = 256
"""Frames in one run. A compiled format takes 32 bytes a frame, and longer runs are no faster."""

CACHED_RUNS: Final = 64
"""Compiled formats kept for each codec: half a megabyte at most."""


class Run(NamedTuple):
    """The compiled formats for one run of frames."""

    headers: Callable[[bytes, int], tuple[Any, ...]]
    """Reads what must be equal in all the frames."""
    expected: tuple[Any, ...]
    """What ``headers`` returns if it is."""
    payloads: Callable[[bytes, int], tuple[bytes, ...]]
    """Cuts the payloads."""


class Runs:
    """A bounded cache of compiled runs.

    ``shape(key)`` tells what one frame looks like: the struct format that reads its header and pads over the rest, what
    that must yield, and the format that pads over the header and yields the payload. Both formats cover exactly one
    frame. ``prefix`` is the byte order of all formats.
    """

    def __init__(self, shape: Callable[[Any], tuple[str, tuple[Any, ...], str]], prefix: str = ">") -> None:
        self._shape = shape
        self._prefix = prefix
        self._cache: dict[tuple[Any, int], Run] = {}

    def __len__(self) -> int:
        return len(self._cache)

    def get(self, key: Any, count: int) -> Run:
        """Return the compiled run of ``count`` frames which ``key`` describes."""
        run = self._cache.get((key, count))
        if run is None:
            header, expected, payload = self._shape(key)
            run = Run(
                struct.Struct(self._prefix + header * count).unpack_from,
                expected * count,
                struct.Struct(self._prefix + payload * count).unpack_from,
            )
            if len(self._cache) >= CACHED_RUNS:
                self._cache.clear()
            self._cache[key, count] = run
        return run


class Pace:
    """When to try for a run, and how long a one: the memory that one decoder has of its stream."""

    __slots__ = ("after", "last", "longest", "streak")

    SHORTEST: Final = 4

    def __init__(self) -> None:
        self.last: object = None
        """The header of the frame before."""
        self.streak = 0
        """How many frames in a row had that header."""
        self.after = 1
        """Try when the streak is that long."""
        self.longest = LONGEST_RUN
        """Try for no more frames than that."""

    def succeeded(self) -> None:
        """Try sooner and for more."""
        self.after = 1
        self.longest = min(self.longest * 4, LONGEST_RUN)

    def failed(self) -> None:
        """Try later and for less."""
        self.streak = 0
        self.after = min(self.after * 2, 64)
        self.longest = 8
