"""What has passed through a proxy, kept for tests to look at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proactor_echo.testing.faults.schedule import Direction

__all__ = ["Record"]

#: Bytes that are kept, both directions together.
LIMIT: Final = 64 << 20


class Record:
    """The bytes of all connections of a proxy, in the order in which they left; ``changed`` is called for each."""

    def __init__(self, changed: Callable[[], None]) -> None:
        #: Called whenever something has passed.
        self.changed = changed
        self._passed: dict[Direction, list[tuple[int, bytes]]] = {"client": [], "server": []}
        self._size = 0

    def add(self, direction: Direction, number: int, data: bytes) -> None:
        """Keep bytes of the connection of this number."""
        self._size += len(data)
        if self._size > LIMIT:
            for passed in self._passed.values():
                passed.clear()
        else:
            self._passed[direction].append((number, data))
        self.changed()

    def of(self, direction: Direction, number: int | None = None) -> bytes:
        """Return what has passed in a direction, of one connection or of all.

        Raises RuntimeError when more has passed than is kept.
        """
        if self._size > LIMIT:
            raise RuntimeError(f"{self._size:,} bytes have passed; no more than {LIMIT:,} are kept")
        return b"".join(data for whose, data in self._passed[direction] if number is None or whose == number)
