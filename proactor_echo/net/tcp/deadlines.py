"""How long a connection may take: :class:`Deadlines`, and :class:`DeadlineSweep`, which ends those that take longer.

One timer looks over all connections of a server, a few times within the shortest deadline and at least once a second.
So a deadline costs nothing when a connection is made or a message passes, and it may be late by that much.

It has a clock of its own, which does not run while the process is stopped or the loop is blocked: what arrived in that
time has not been read yet, and nobody is to blame for it.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from proactor_echo.arguments import check_number, check_seconds
from proactor_echo.errors import DisconnectReason
from proactor_echo.net.tcp.sweep import Sweep

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol

__all__ = ["DeadlineSweep", "Deadlines"]

#: Seconds between two looks, at most and at least.
LONGEST: Final = 1.0
SHORTEST: Final = 0.01
#: How often to look within the shortest deadline.
LOOKS: Final = 8
#: The share by which a lifetime is shorter or longer, so that clients do not all come back together.
SPREAD: Final = 0.1

_NAMES: Final = ("first_byte", "frame", "idle", "write", "lifetime")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """Seconds that a connection may take for each thing; ``None`` is for ever.

    :param handshake: for the TLS handshake.
    :param first_byte: from the connection's beginning to the first byte from the peer.
    :param frame: from the first byte of a frame to its last.
    :param idle: without any traffic.
    :param write: for which the peer takes nothing of what is to be sent.
    :param lifetime: for all of it, 10 % less or more; then what was sent is still flushed.
    :param min_rate: ``(bytes, grace)``: bytes a second that must come of an unfinished frame, and that the peer must
        take of unsent output, on average once ``grace`` seconds have passed. It asks nothing of a connection where
        neither is going on. Kestrel's is ``(240, 5.0)``.

    Time in which this side does not read, because its own output or its handler is behind, does not count for ``frame``
    and ``min_rate``. A connection ends at its deadline, or up to a second (with short deadlines, a quarter) later; each
    deadline has its :class:`DisconnectReason`.

    Raises TypeError or ValueError for what is no time.
    """

    handshake: float = 10.0
    first_byte: float | None = None
    frame: float | None = None
    idle: float | None = None
    write: float | None = None
    lifetime: float | None = None
    min_rate: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_seconds("handshake", self.handshake)
        for name in _NAMES:
            check_seconds(name, getattr(self, name), optional=True)
        if self.min_rate is None:
            return
        if not isinstance(self.min_rate, tuple) or len(self.min_rate) != 2:
            raise TypeError(
                f"min_rate must be (bytes a second, seconds of grace) or None, not {self.min_rate!r}: write (240, 5.0)"
            )
        check_number("the bytes of min_rate", self.min_rate[0], above=0, most=1e12)
        check_seconds("the grace of min_rate", self.min_rate[1])

    @property
    def of_connections(self) -> list[float]:
        """The times that must be looked after once a connection has been made."""
        times = [self.first_byte, self.frame, self.idle, self.write, self.lifetime]
        times.append(None if self.min_rate is None else self.min_rate[1])
        return [time for time in times if time is not None]


class DeadlineSweep:
    """Hold the connections that ``connections()`` returns to their deadlines.

    ``loop`` needs ``time()``, ``call_later()`` and ``call_soon()`` only.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        connections: Callable[[], Iterable[StreamProtocol]],
        loop: asyncio.AbstractEventLoop,
        spread: Callable[[float, float], float] = random.uniform,
        record_name: str = "_seen_by_server",
    ) -> None:
        self._given = deadlines
        self._connections = connections
        self._loop = loop
        self._spread = spread
        self._interval = min(LONGEST, max(SHORTEST, min(deadlines.of_connections) / LOOKS))
        self._clock = 0.0
        self._looked = loop.time()
        # What was seen is kept in the connection itself, so that nothing here holds one that has ended.
        self._record_name = record_name
        self._sweep = Sweep(loop, self._interval, self._begin, self._look)

    def cancel(self) -> None:
        """Look no more."""
        self._sweep.cancel()

    def _begin(self) -> Iterable[StreamProtocol]:
        now = self._loop.time()
        self._clock += min(now - self._looked, 2 * self._interval)
        self._looked = now
        return self._connections()

    def _look(self, protocol: StreamProtocol) -> None:
        if protocol.disconnect is not None:
            return
        record = getattr(protocol, self._record_name, None)
        if record is None:
            record = _Record(self, self._clock)
            setattr(protocol, self._record_name, record)
        if protocol.can_end:
            self._hold_to_deadlines(protocol, record)

    def _hold_to_deadlines(self, protocol: StreamProtocol, record: _Record) -> None:
        """End the connection if one of its deadlines has passed."""
        given, now = self._given, self._clock
        activity = protocol.activity
        if activity != record.activity:
            record.activity = activity
            record.active_at = now
        elif given.idle is not None and now - record.active_at >= given.idle:
            protocol.end_for(DisconnectReason.IDLE_TIMEOUT)
            return
        if given.first_byte is not None and now - record.opened_at >= given.first_byte and not protocol.received_bytes:
            protocol.end_for(DisconnectReason.FIRST_BYTE_TIMEOUT)
        elif record.ends_at is not None and now >= record.ends_at:
            protocol.end_for(DisconnectReason.LIFETIME)
        elif reason := record.slow_input(protocol, given, now):
            protocol.end_for(reason)
        elif reason := record.slow_output(protocol, given, now):
            protocol.abort_for(reason)


class _Record:
    """What was seen of a connection when it was looked at last."""

    __slots__ = (
        "active_at",
        "activity",
        "ends_at",
        "frame_at",
        "frames",
        "opened_at",
        "output_at",
        "sent",
        "sent_at",
        "sent_before",
    )

    def __init__(self, sweep: DeadlineSweep, now: float) -> None:
        lifetime = sweep._given.lifetime
        self.opened_at = self.active_at = now
        self.activity = -1
        self.ends_at = None if lifetime is None else now + lifetime * sweep._spread(1 - SPREAD, 1 + SPREAD)
        self.frames = -1  # those that were complete when the unfinished one began
        self.frame_at = now
        self.output_at: float | None = None  # when there began to be unsent output
        self.sent_before = 0  # bytes that the peer had taken then
        self.sent = 0  # bytes that it had taken at the last progress
        self.sent_at = now

    def slow_input(self, protocol: StreamProtocol, given: Deadlines, now: float) -> DisconnectReason | None:
        """Return why an unfinished frame took too long."""
        if given.frame is None and given.min_rate is None:
            return None
        size, frames = protocol.unfinished_bytes, protocol.received_frames
        if not size or frames != self.frames or not protocol.is_reading:
            self.frames = frames if size else -1
            self.frame_at = now
            return None
        took = now - self.frame_at
        if given.frame is not None and took >= given.frame:
            return DisconnectReason.FRAME_TIMEOUT
        return DisconnectReason.MIN_RATE if _is_slow(size, took, given.min_rate) else None

    def slow_output(self, protocol: StreamProtocol, given: Deadlines, now: float) -> DisconnectReason | None:
        """Return why unsent output took too long."""
        if given.write is None and given.min_rate is None:
            return None
        unsent = protocol.unsent_bytes
        if not unsent:
            self.output_at = None
            return None
        sent = protocol.sent_bytes - unsent
        if self.output_at is None:
            self.output_at = self.sent_at = now
            self.sent_before = self.sent = sent
        elif sent != self.sent:
            self.sent, self.sent_at = sent, now
        elif given.write is not None and now - self.sent_at >= given.write:
            return DisconnectReason.WRITE_TIMEOUT
        slow = _is_slow(sent - self.sent_before, now - self.output_at, given.min_rate)
        return DisconnectReason.MIN_RATE if slow else None


def _is_slow(size: int, took: float, min_rate: tuple[float, float] | None) -> bool:
    return min_rate is not None and took >= min_rate[1] and size < min_rate[0] * took
