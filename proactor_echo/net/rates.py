"""How often something may happen: so many a second, and a few at once.

This is a token bucket, kept as one number for each bucket: the time at which it will be full again. (That is the
generic cell rate algorithm.) Nothing is refilled by a timer, and nothing here asks a clock: callers pass the time, in
seconds of any clock that never goes back. A new bucket is full, and begins with :data:`FULL`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from proactor_echo.arguments import check_number

__all__ = ["FULL", "Rate", "TokenBucket", "as_rate"]

#: The state of a bucket that has not been used.
FULL: Final = -math.inf

#: Rates above this are no limit, and below one a day nobody waits for.
_MOST: Final = 1e9
_LEAST: Final = 1 / 86400


@dataclass(frozen=True, slots=True)
class Rate:
    """``per_second`` events a second on average, and at most ``burst`` at once (default: what one second allows).

    Raises TypeError or ValueError for what is no rate: NaN, infinity, a truth value, 0 and less; a burst below 1.
    """

    per_second: float
    burst: float | None = None

    def __post_init__(self) -> None:
        check_number("a rate's per_second", self.per_second, least=_LEAST, most=_MOST)
        if self.burst is not None:
            check_number("a rate's burst", self.burst, least=1, most=_MOST)

    @property
    def most(self) -> float:
        """How many may happen at once."""
        return max(1.0, self.per_second) if self.burst is None else self.burst

    def share(self, count: int) -> Rate:
        """Return what each of so many gets of it; at least one at once."""
        return Rate(max(_LEAST, self.per_second / count), max(1.0, self.most / count))

    def take(self, full_at: float, now: float, tokens: float = 1.0) -> float | None:
        """Take tokens out of a bucket that will be full at ``full_at``; return when it will be full then.

        None: it has not got as many, and nothing was taken.
        """
        after = max(now, full_at) + tokens / self.per_second
        # A nanosecond more is allowed: what was waited for must not fail by a rounding error.
        return after if after - now <= self.most / self.per_second + 1e-9 else None

    def wait(self, full_at: float, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until so many tokens are there; 0.0 when they are, infinity when they never will be."""
        if tokens > self.most:
            return math.inf
        return max(0.0, full_at - now - (self.most - tokens) / self.per_second)


class TokenBucket:
    """One bucket of a :class:`Rate`."""

    __slots__ = ("_full_at", "rate")

    def __init__(self, rate: Rate) -> None:
        self.rate: Rate = rate
        self._full_at = FULL

    def take(self, now: float, tokens: float = 1.0) -> bool:
        """Take so many tokens, if they are there; return whether they were."""
        after = self.rate.take(self._full_at, now, tokens)
        if after is None:
            return False
        self._full_at = after
        return True

    def charge(self, now: float, tokens: float = 1.0) -> None:
        """Take so many tokens, there or not: those that were missing are waited for by whoever comes next."""
        self._full_at = max(now, self._full_at) + tokens / self.rate.per_second

    def wait(self, now: float, tokens: float = 1.0) -> float:
        """Return the seconds until so many tokens are there."""
        return self.rate.wait(self._full_at, now, tokens)


def as_rate(name: str, value: object) -> Rate | None:
    """Return the argument ``name`` as a rate: a :class:`Rate`, or a number of events a second; None stays None."""
    if value is None or isinstance(value, Rate):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{name} must be a Rate, a number of events a second or None, not {value!r}")
    check_number(name, value, least=_LEAST, most=_MOST)
    return Rate(value)
