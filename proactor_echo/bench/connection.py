"""One connection of a load: what it sends, what must come back, and how long that took."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections import deque
from typing import cast

from proactor_echo.bench.histogram import LatencyHistogram
from proactor_echo.bench.messages import Messages

__all__ = ["LoadConnection", "Tally", "Wrong"]


@dataclasses.dataclass(slots=True)
class Wrong:
    """What came back wrong, or did not come back.

    :ivar corrupted: answers that are no message of their connection, which is ended then: nothing behind it is known.
    :ivar reordered: answers that came before an earlier message's.
    :ivar duplicated: answers that had come already.
    :ivar unsolicited: bytes that came when nothing was asked.
    :ivar lost: messages whose answers never came, up to a timeout after the end or the end of their connection.
    """

    corrupted: int = 0
    reordered: int = 0
    duplicated: int = 0
    unsolicited: int = 0
    lost: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(dataclasses.astuple(self))


class Tally:
    """What all connections of a load count together, in nanoseconds of ``time.perf_counter_ns``."""

    def __init__(self) -> None:
        self.wrong: Wrong = Wrong()
        #: From when a message was due to its answer; without a planned rate it was due when it was sent.
        self.latency: LatencyHistogram = LatencyHistogram()
        #: From when it was sent.
        self.service: LatencyHistogram = LatencyHistogram()
        #: Messages that were due from here to there are measured.
        self.begins: int = 1 << 63
        self.ends: int = 1 << 63
        self.answered: int = 0  # of those whose answers came in that time
        self.late: int = 0  # answers that came after it
        self.unsent: int = 0  # messages that were due and never sent, since earlier ones had no answers
        self.ended: int = 0  # connections that ended before the load did
        self.is_over: bool = False  # nothing new is to be sent


class LoadConnection(asyncio.Protocol):
    """Sends messages and checks their answers.

    With ``keep`` messages are sent whenever fewer are outstanding (a closed loop); without it :meth:`send` says when,
    and at most ``most`` are outstanding.
    """

    def __init__(self, tally: Tally, messages: Messages, connection: int, *, keep: int, most: int) -> None:
        self._tally = tally
        self._messages = messages
        self._connection = connection
        self._keep = keep
        self._most = most
        self._next = 0
        self._head, self._tail = messages.around(connection)
        self._size = messages.wire_size
        self._outstanding: deque[tuple[bytes, int, int]] = deque()  # the message, when it was due, when it was sent
        self._due: deque[int] = deque()  # those that must wait
        self._received = b""
        self._transport: asyncio.Transport
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def outstanding(self) -> int:
        """How many messages have no answer yet, or could not be sent yet."""
        return len(self._outstanding) + len(self._due)

    def begin(self) -> None:
        """Begin a closed loop."""
        self._send_more(time.perf_counter_ns())

    def send(self, due: int) -> None:
        """Send a message that is due, or as soon as fewer are outstanding."""
        if self._transport.is_closing():
            self._tally.unsent += 1
        elif len(self._outstanding) >= self._most or self._due:
            self._due.append(due)
        else:
            self._transport.write(self._make(due, time.perf_counter_ns()))

    def forget_due(self) -> None:
        """Send nothing more of what was due."""
        self._tally.unsent += len(self._due)
        self._due.clear()

    def close(self) -> None:
        """End the connection; what is outstanding is lost."""
        self._give_up()
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Count what will never come."""
        if not self._tally.is_over:
            self._tally.ended += 1
        self._give_up()
        if not self.ended.done():
            self.ended.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Check the answers that are whole, and send what may be sent now."""
        now = time.perf_counter_ns()
        received = self._received + data if self._received else data
        size = self._size
        outstanding = self._outstanding
        start = 0
        while len(received) - start >= size and outstanding:
            message, due, sent = outstanding[0]
            if received.startswith(message, start):
                outstanding.popleft()
                self._answered(due, sent, now)
            elif not self._out_of_order(received[start : start + size], now):
                return
            start += size
        self._received = received[start:]
        if self._received and not outstanding:
            if not self._out_of_order(self._received, now):
                return
            self._received = b""
        missing = self._keep - len(outstanding)
        if missing == 1 and not self._tally.is_over:  # the usual case, at half the price
            self._transport.write(self._make(now, now))
        elif missing > 0 or self._due:
            self._send_more(now)

    def _give_up(self) -> None:
        self._tally.wrong.lost += len(self._outstanding)
        self._outstanding.clear()
        self.forget_due()

    def _answered(self, due: int, sent: int, now: int) -> None:
        tally = self._tally
        if tally.begins <= due < tally.ends:
            tally.latency.record(now - due)
            if not self._keep:  # with a rate; else they are the same
                tally.service.record(now - sent)
        if tally.begins <= now < tally.ends:
            tally.answered += 1
        elif now >= tally.ends:
            tally.late += 1

    def _out_of_order(self, answer: bytes, now: int) -> bool:
        """Count an answer that is not the next one; return whether what follows it can be understood."""
        wrong = self._tally.wrong
        number = self._messages.number(self._connection, answer)
        for place, (message, due, sent) in enumerate(self._outstanding):
            if message == answer:
                wrong.reordered += 1
                del self._outstanding[place]
                self._answered(due, sent, now)
                return True
        if number is not None and number < self._next:
            wrong.duplicated += 1
            return True
        if self._outstanding:
            wrong.corrupted += 1
            self._outstanding.popleft()
        else:
            wrong.unsolicited += 1
        self._transport.abort()
        return False

    def _send_more(self, now: int) -> None:
        count = 0 if self._tally.is_over else max(0, self._keep - len(self._outstanding))
        made = [self._make(now, now) for _ in range(count)]
        while self._due and len(self._outstanding) < self._most:
            made.append(self._make(self._due.popleft(), now))
        if made:
            self._transport.write(made[0] if len(made) == 1 else b"".join(made))

    def _make(self, due: int, now: int) -> bytes:
        message = self._head + b"%08x" % self._next + self._tail
        self._next += 1
        self._outstanding.append((message, due, now))
        return message
