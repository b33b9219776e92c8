"""What a load has shown, for people and for machines."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, Final

from proactor_echo.bench.histogram import LatencyHistogram
from proactor_echo.bench.run import Progress, Result

__all__ = ["SCHEMA", "as_dict", "progress_line", "table", "verdict"]

#: The number of the form of :func:`as_dict`; it grows when what was there changes.
SCHEMA: Final = 1
PERCENTILES: Final = (0.5, 0.9, 0.99, 0.999, 1.0)
#: The share of a processor from which the generator itself is the limit.
BUSY: Final = 0.9
#: The share of the planned rate below which it was not reached.
REACHED: Final = 0.98

_BAR: Final = 40


def progress_line(progress: Progress) -> str:
    """Return a second of a load as a line."""
    latency = progress.latency
    middle, high = (milliseconds(latency.percentile(share)) for share in (0.5, 0.99))
    line = f"{progress.seconds:5.0f} s  {progress.per_second:>9,.0f}/s  p50 {middle}  p99 {high}"
    return f"{line}  {progress.wrong} wrong" if progress.wrong else line


def table(result: Result) -> Iterator[str]:
    """Yield the lines of the table and of the histogram."""
    plan = result.plan
    how = f"{plan.in_flight} in flight each" if plan.rate is None else f"{plan.rate:,.0f} planned a second"
    yield f"{plan.size:,} bytes, {plan.connections} connections, {how}, {round(result.seconds, 3):g} s"
    yield ""
    yield "              " + "".join(f"{_name(share):>11}" for share in PERCENTILES)
    rows = [("latency", result.latency)]
    if plan.rate is not None:
        rows = [("from due", result.latency), ("from sent", result.service)]
    for name, times in rows:
        yield f"{name:<14}" + "".join(f"{milliseconds(times.percentile(share)):>11}" for share in PERCENTILES)
    yield ""
    megabytes = result.per_second * plan.size / 1e6
    yield f"{result.per_second:,.0f} answers a second, {megabytes:,.1f} MB/s each way; {_wrong(result)}"
    yield ""
    yield from histogram(result.latency)


def histogram(times: LatencyHistogram) -> Iterator[str]:
    """Yield a bar for each power of two, in microseconds, from the first that has a value to the last."""
    total = times.count
    if not total:
        return
    counts: dict[int, int] = {}
    for low, _, count in times.buckets():
        power = (low // 1000).bit_length()
        counts[power] = counts.get(power, 0) + count
    most = max(counts.values())
    for power in range(min(counts), max(counts) + 1):
        count = counts.get(power, 0)
        bar = "#" * (-(-count * _BAR // most))
        yield f"{'< ' + milliseconds((1 << power) * 1000):>12}  {100 * count / total:6.2f} %  {bar}".rstrip()


def verdict(result: Result) -> str:
    """Return what to think of it, in one sentence."""
    plan = result.plan
    if result.wrong.total:
        return f"WRONG: {_wrong(result)}."
    if result.ended:
        early = f"{result.ended} of {plan.connections} connections ended before the load did"
        return f"{early}; every byte of the rest was right."
    if plan.rate is not None and result.per_second < REACHED * plan.rate:
        sentence = f"Asked {plan.rate:,.0f}/s, got {result.per_second:,.0f}/s"
        if result.cpu > BUSY:
            return f"{sentence}: these figures measure the generator, which used {result.cpu:.0%} of a processor."
        return f"{sentence}: the server is saturated, and latencies include the queue."
    if result.cpu > BUSY:
        return f"These figures measure the generator, which used {result.cpu:.0%} of a processor."
    return "Every byte came back as it was sent."


def as_dict(result: Result) -> dict[str, Any]:
    """Return plain values, ready for JSON; times are in nanoseconds."""
    plan = result.plan
    return {
        "schema": SCHEMA,
        "plan": {
            name: getattr(plan, name)
            for name in ("host", "port", "connections", "size", "in_flight", "rate", "duration", "warm_up", "timeout")
        }
        | {"codec": None if plan.codec is None else type(plan.codec).__name__, "tls": plan.ssl is not None},
        "seconds": result.seconds,
        "answered": result.answered,
        "per_second": result.per_second,
        "late": result.late,
        "unsent": result.unsent,
        "connections_ended": result.ended,
        "wrong": dataclasses.asdict(result.wrong),
        "cpu": result.cpu,
        "latency": _times(result.latency),
        "service": _times(result.service),
        "verdict": verdict(result),
    }


def milliseconds(nanoseconds: float) -> str:
    """Return a time with three digits that mean something."""
    value = nanoseconds / 1e6
    return f"{value:.3f} ms" if value < 10 else f"{value:.1f} ms" if value < 1000 else f"{value / 1000:.2f} s"


def _times(times: LatencyHistogram) -> dict[str, Any]:
    return {_name(share): times.percentile(share) for share in PERCENTILES} | {"count": times.count} | times.as_row()


def _name(share: float) -> str:
    return "max" if share == 1.0 else f"p{100 * share:g}"


def _wrong(result: Result) -> str:
    wrong = dataclasses.asdict(result.wrong)
    parts = [f"{count:,} {name}" for name, count in wrong.items() if count]
    if result.ended:
        parts.append(f"{result.ended} connections ended early")
    if result.unsent:
        parts.append(f"{result.unsent:,} due and never sent")
    return ", ".join(parts) or "none wrong"
