"""Histogram: how many values were no greater than each of some bounds."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence

__all__ = ["Histogram"]


class Histogram:
    """Counts values by ``bounds``, which ascend; ``total`` is their sum."""

    __slots__ = ("_counts", "bounds", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds: Sequence[float] = bounds
        self.total: float = 0.0
        self._counts = [0] * (len(bounds) + 1)

    def observe(self, value: float) -> None:
        """Count a value."""
        self.total += value
        self._counts[bisect.bisect_left(self.bounds, value)] += 1

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity at the end, and how many values were no greater."""
        count = 0
        for bound, here in zip((*self.bounds, float("inf")), self._counts, strict=True):
            count += here
            yield bound, count
