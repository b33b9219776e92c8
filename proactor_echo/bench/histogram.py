"""LatencyHistogram: how long things took, to a part in a thousand, from a nanosecond to hours.

Buckets are log-linear, as HdrHistogram's: each power of two is cut into 1,024 equal ones, so that a value is known to
a part in 1,024, and histograms of several generators can be added.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, Final, Self

__all__ = ["LatencyHistogram"]

_BITS: Final = 11


class LatencyHistogram:
    """Counts values, which are whole numbers of nanoseconds and not negative."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()  # by bucket

    def record(self, value: int) -> None:
        """Count a value."""
        shift = value.bit_length() - _BITS
        self.counts[value if shift <= 0 else (shift << _BITS) + (value >> shift)] += 1

    def add(self, other: LatencyHistogram) -> None:
        """Count the values of another one."""
        self.counts.update(other.counts)

    @property
    def count(self) -> int:
        """How many values there are."""
        return self.counts.total()

    def percentile(self, share: float) -> int:
        """Return the value that this share (0 to 1) of all are not greater than; 0 when there are none."""
        wanted = max(1, round(share * self.count))
        for _, high, count in self.buckets():
            wanted -= count
            if wanted <= 0:
                return high
        return 0

    def buckets(self) -> Iterator[tuple[int, int, int]]:
        """Yield the least and the greatest value of each bucket that is not empty, and how many are in it."""
        for bucket in sorted(self.counts):
            shift, part = bucket >> _BITS, bucket & ((1 << _BITS) - 1)
            yield part << shift, ((part + 1) << shift) - 1, self.counts[bucket]

    def as_row(self) -> dict[str, Any]:
        """Return what :meth:`of_row` makes the same histogram of: pairs of a bucket and a count."""
        return {"buckets": sorted(self.counts.items())}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Self:
        """Return the histogram that :meth:`as_row` told of."""
        made = cls()
        made.counts.update(dict(row["buckets"]))
        return made
