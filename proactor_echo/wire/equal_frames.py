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

__all__ = ["LONGEST_RUN", "SHORTEST_RUN", "Pace", "Run", "Runs"]

SHORTEST_RUN: Final = 4
"""Frames in one run: for fewer it does not pay."""

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


class Runs(dict[tuple[Any, int], Run]):
    """A bounded cache of compiled runs: ``runs[key, count]`` is the run of ``count`` frames which ``key`` describes.

    ``shape(key)`` tells what one frame looks like: the struct format that reads its header and pads over the rest, what
    that must yield, and the format that pads over the header and yields the payload. Both formats cover exactly one
    frame. ``byteorder`` is the prefix of all formats.
    """

    def __init__(self, shape: Callable[[Any], tuple[str, tuple[Any, ...], str]], byteorder: str = ">") -> None:
        super().__init__()
        self._shape = shape
        self._byteorder = byteorder

    def __missing__(self, key_and_count: tuple[Any, int]) -> Run:
        key, count = key_and_count
        header, expected, payload = self._shape(key)
        run = Run(
            struct.Struct(self._byteorder + header * count).unpack_from,
            expected * count,
            struct.Struct(self._byteorder + payload * count).unpack_from,
        )
        if len(self) >= CACHED_RUNS:
            self.clear()
        self[key_and_count] = run
        return run


class Pace:
    """When to try for a run, and for how long a one: what one decoder remembers of its stream."""

    __slots__ = ("_pause", "last", "longest", "wait")

    def __init__(self) -> None:
        self.last: object = None
        """What the header of the frame before said."""
        self.wait: int = 0
        """Let that many frames pass that are like the one before, and do not try."""
        self.longest: int = LONGEST_RUN
        """Try for no more frames than that."""
        self._pause = 1

    def succeeded(self) -> None:
        """Try at once, and for more."""
        self._pause = 1
        self.longest = min(self.longest * 4, LONGEST_RUN)

    def failed(self) -> None:
        """Try later, and for less."""
        self.wait = self._pause
        self._pause = min(self._pause * 2, 64)
        self.longest = 8
