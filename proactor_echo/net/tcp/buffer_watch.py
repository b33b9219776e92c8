"""The bytes that all connections of a server hold together: of unfinished frames, and of output that is not sent.

Each connection is bounded by itself: an unfinished frame by the codec, unsent output by the high-water mark. But ten
thousand of them together may be more than the machine has. So the sum is looked at four times a second, while there are
so many connections that it could be too much. When it is, the connections that hold the most are ended, for the reason
:attr:`DisconnectReason.BUFFER_LIMIT`, until three quarters of the limit are left. (Not to read them any more would not
free anything: an unfinished frame that is not read never gets finished.)

In between the sum can grow by what the network brings in a quarter of a second.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from proactor_echo.errors import DisconnectReason
from proactor_echo.net.tcp.sweep import Sweep
from proactor_echo.wire import RawCodec

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol
    from proactor_echo.wire import Codec

__all__ = ["BufferWatch"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Seconds between two looks.
INTERVAL: Final = 0.25
#: What is in one read, and what our loops and asyncio's have as the high-water mark of the output.
READ: Final = 64 * 1024
HIGH_WATER: Final = 64 * 1024


def most_of_one(codec: Codec | None, write_limit: tuple[int, int] | None) -> float:
    """Return the bytes that one connection may hold at most; infinity when its codec has no bound."""
    output = (HIGH_WATER if write_limit is None else write_limit[0]) + READ  # the answers to one more read
    if codec is None or type(codec) is RawCodec:
        return output
    return math.inf if codec.max_frame_length is None else output + codec.max_frame_length + READ


class BufferWatch:
    """Hold the connections that ``protocols()`` returns to ``most`` bytes; each may hold ``most_of_one``."""

    def __init__(
        self,
        most: int,
        most_of_one: float,
        count: Callable[[], int],
        protocols: Callable[[], Sequence[StreamProtocol]],
    ) -> None:
        self._most = most
        self._harmless = most / most_of_one  # so many connections cannot reach it
        self._count = count
        self._protocols = protocols
        self._held: list[tuple[int, StreamProtocol]] = []
        loop = asyncio.get_running_loop()
        self._sweep = Sweep(loop, INTERVAL, self._begin, self._look, self._hold_to_limit)

    def close(self) -> None:
        """Look no more."""
        self._sweep.cancel()

    def _begin(self) -> Sequence[StreamProtocol]:
        return self._protocols() if self._count() > self._harmless else ()

    def _look(self, protocol: StreamProtocol) -> None:
        if size := protocol.held_bytes:
            self._held.append((size, protocol))

    def _hold_to_limit(self) -> None:
        held, self._held = self._held, []
        total = sum([size for size, _ in held])
        if total <= self._most:
            return
        before, ended = total, 0
        held.sort(key=lambda each: each[0], reverse=True)
        for size, protocol in held:
            if total <= self._most * 3 // 4:
                break
            protocol.abort_for(DisconnectReason.BUFFER_LIMIT)
            total -= size
            ended += 1
        logger.warning(
            "%d connections hold %d bytes, and %d are the limit: the %d largest are ended",
            len(held), before, self._most, ended, extra={"event": "buffer_limit"},
        )  # fmt: skip
