"""A load: many connections, for some time, as fast as the server answers or at a planned rate.

**Closed loop.** Each connection has so many messages in flight and sends one for each answer. A server that stalls is
asked nothing meanwhile, and so the stall counts once for each message in flight ("coordinated omission").

**Open loop**, with a rate. Messages are due at planned times, whatever the server does, and their latency is counted
from then: all that were due while it stalled have waited, each for a connection that may send. Beside it stands the
time from when each was really sent, which is what most load generators tell.
"""

from __future__ import annotations

import asyncio
import dataclasses
import ssl
import time
from collections.abc import Callable
from typing import Any, Final

from proactor_echo.bench.connection import LoadConnection, Tally, Wrong
from proactor_echo.bench.histogram import LatencyHistogram
from proactor_echo.bench.messages import Messages
from proactor_echo.errors import ConnectFailed, classify
from proactor_echo.wire.codec import Codec

__all__ = ["Plan", "Progress", "Result", "run_load"]

#: Connections that are being opened at once.
OPENING: Final = 64
#: Seconds between two looks at what is due.
TICK: Final = 0.001


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be done. ``rate`` is in messages a second, of all connections; None: as fast as answers come.

    ``duration``, ``warm_up`` (not measured, before it) and ``timeout`` (for the answers that are outstanding at the
    end) are in seconds, ``size`` is the payload's, in bytes.
    """

    host: str
    port: int
    connections: int = 50
    size: int = 1024
    in_flight: int = 1
    rate: float | None = None
    duration: float = 10.0
    warm_up: float = 1.0
    timeout: float = 5.0
    codec: Codec | None = None
    ssl: ssl.SSLContext | None = None
    server_hostname: str | None = None


@dataclasses.dataclass(frozen=True)
class Progress:
    """How it went in the last second: answers, and those of the times that are measured so far."""

    seconds: float
    per_second: float
    latency: LatencyHistogram
    wrong: int


@dataclasses.dataclass
class Result:
    """What was measured. ``seconds`` is how long, ``answered`` how many answers came in that time.

    It is shorter than planned when no connection was left.
    """

    plan: Plan
    seconds: float
    answered: int
    late: int
    ended: int
    unsent: int
    wrong: Wrong
    latency: LatencyHistogram
    service: LatencyHistogram
    cpu: float
    """The share of one processor that the generator used, 0 to 1."""

    @property
    def per_second(self) -> float:
        """Answers a second."""
        return self.answered / self.seconds if self.seconds > 0 else 0.0


async def run_load(plan: Plan, each: Callable[[Progress], object] | None = None) -> Result:
    """Do it; ``each`` is called every second. Raises ConnectFailed when a connection cannot be opened."""
    tally = Tally()
    messages = Messages(plan.size, plan.codec)
    connections = await _open_all(plan, tally, messages)
    try:
        tally.begins = time.perf_counter_ns() + int(plan.warm_up * 1e9)
        tally.ends = tally.begins + int(plan.duration * 1e9)
        pacer = None
        if plan.rate is None:
            for connection in connections:
                connection.begin()
        else:
            pacer = asyncio.create_task(_send_when_due(plan.rate, connections, tally))
        cpu = await _measure(tally, connections, each)
        tally.is_over = True
        seconds = (min(time.perf_counter_ns(), tally.ends) - tally.begins) / 1e9
        if pacer is not None:
            await pacer
        await _drain(connections, plan.timeout)
    finally:
        tally.is_over = True
        for connection in connections:
            connection.close()
        await asyncio.gather(*(connection.ended for connection in connections))
    return Result(
        plan,
        seconds=seconds,
        answered=tally.answered,
        late=tally.late,
        ended=tally.ended,
        unsent=tally.unsent,
        wrong=tally.wrong,
        latency=tally.latency,
        service=tally.latency if plan.rate is None else tally.service,
        cpu=cpu / seconds if seconds > 0 else 0.0,
    )


async def _open_all(plan: Plan, tally: Tally, messages: Messages) -> list[LoadConnection]:
    loop = asyncio.get_running_loop()
    opening = asyncio.Semaphore(OPENING)
    made: list[LoadConnection] = []
    keep = plan.in_flight if plan.rate is None else 0
    tls: dict[str, Any] = {}
    if plan.ssl is not None:
        tls = {"ssl": plan.ssl, "server_hostname": plan.server_hostname or plan.host}

    async def open_one(number: int) -> None:
        async with opening:
            _, connection = await loop.create_connection(
                lambda: LoadConnection(tally, messages, number, keep=keep, most=plan.in_flight),
                plan.host,
                plan.port,
                **tls,
            )
            made.append(connection)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(plan.connections):
                group.create_task(open_one(number))
    except* OSError as errors:
        for connection in made:
            connection.close()
        error = errors.exceptions[0]
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise ConnectFailed(f"cannot connect to {plan.host} port {plan.port}: {classify(error).text}") from None
    return made


async def _send_when_due(rate: float, connections: list[LoadConnection], tally: Tally) -> None:
    """Send each message when it is due, or as soon after that as this process comes to it."""
    began = time.perf_counter_ns()
    interval = 1e9 / rate
    sent = 0
    while not tally.is_over:
        due = int((time.perf_counter_ns() - began) / interval) + 1
        while sent < due:
            planned = began + int(sent * interval)
            if planned >= tally.ends:
                return
            connections[sent % len(connections)].send(planned)
            sent += 1
        await asyncio.sleep(TICK)


async def _measure(tally: Tally, connections: list[LoadConnection], each: Callable[[Progress], object] | None) -> float:
    """Wait until the time is over, or no connection is left; return the seconds of processor time used meanwhile."""
    await _until(tally.begins, connections)
    cpu = time.process_time()
    began = before = time.perf_counter_ns()
    answered = 0
    while (now := time.perf_counter_ns()) < tally.ends and any(not each.ended.done() for each in connections):
        await _until(min(now + 1_000_000_000, tally.ends), connections)
        now = time.perf_counter_ns()
        if each is not None:
            rate = (tally.answered - answered) / (now - before) * 1e9
            each(Progress((now - began) / 1e9, rate, tally.latency, tally.wrong.total))
        before, answered = now, tally.answered
    return time.process_time() - cpu


async def _until(when: int, connections: list[LoadConnection]) -> None:
    seconds = (when - time.perf_counter_ns()) / 1e9
    if seconds > 0:
        await asyncio.wait([connection.ended for connection in connections], timeout=seconds)


async def _drain(connections: list[LoadConnection], timeout: float) -> None:
    """Send what is still due and wait for its answers, for so long; and as long for those that are outstanding then."""
    for _ in range(2):
        ends = time.perf_counter() + timeout
        while any(connection.outstanding for connection in connections) and time.perf_counter() < ends:
            await asyncio.sleep(0.005)
        for connection in connections:
            connection.forget_due()
