"""Histogram: how many values were no greater than each of some bounds."""

from __future__ import annotations

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, Self

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

    def add(self, other: Histogram) -> None:
        """Count the values of another one, with the same bounds."""
        self.total += other.total
        self._counts = [here + there for here, there in zip(self._counts, other._counts, strict=True)]

    def as_row(self) -> dict[str, Any]:
        """Return what :meth:`of_row` makes the same histogram of: plain numbers."""
        return {"bounds": list(self.bounds), "counts": self._counts, "total": self.total}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        """Return the histogram that :meth:`as_row` told of."""
        made = cls(row["bounds"])
        made._counts = row["counts"]
        made.total = row["total"]
        return made

    def cumulative(self) -> Iterator[tuple[float, int]]:
        """Yield each bound, infinity at the end, and how many values were no greater."""
        count = 0
        for bound, here in zip((*self.bounds, float("inf")), self._counts, strict=True):
            count += here
            yield bound, count
