"""The command ``proactor-echo top``: a running server, as its metrics tell it."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import click

from proactor_echo.cli.options import value_option
from proactor_echo.cli.output import print_line
from proactor_echo.cli.types import HostPort, Seconds
from proactor_echo.errors import classify
from proactor_echo.sockets.addresses import format_address

__all__ = ["top"]

#: Seconds to wait for the server's answer.
TIMEOUT: Final = 5.0

_LINE: Final = re.compile(r"^(\w+?)(?:\{(.*)\})? (\S+)$", re.MULTILINE)
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class Sample(NamedTuple):
    """What the metrics said at a time (``time.monotonic``): values by name and label, names without their prefix."""

    at: float
    values: dict[tuple[str, str], float]
    version: str
    ready: bool


@click.command()
@click.argument("address", type=HostPort(), metavar="HOST:PORT")
@value_option("--interval", "SECONDS", Seconds(), 2.0, "Time between two looks.")
@click.option("--once", is_flag=True, help="Look for one interval, print that and end.")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON object for each interval.")
def top(address: tuple[str, int], interval: float, once: bool, as_json: bool) -> None:
    """Watch a running server: rates, connections, loop lag.

    HOST:PORT is where the server's --metrics are.

    \b
    Examples:
      proactor-echo top 127.0.0.1:9464
      proactor-echo top --once --json 127.0.0.1:9464
    """  # noqa: D301
    if not interval:
        raise click.BadOptionUsage("interval", "--interval must be above 0.")
    on_terminal = sys.stdout.isatty() and not as_json and not once
    try:
        before = read(address)
        while True:
            time.sleep(interval)
            now = read(address)
            view = summary(before, now)
            if as_json:
                print_line(json.dumps(view))
            else:
                if on_terminal:
                    click.clear()
                print_line("\n".join(lines(view, format_address(address))))
            if once:
                return
            if not as_json and not on_terminal:
                print_line()
            before = now
    except KeyboardInterrupt:
        return


def read(address: tuple[str, int]) -> Sample:
    """Ask a server how it goes. Raises click.ClickException with one sentence when it does not tell."""
    import http.client  # only this command needs it, and brings much with it

    where = f"http://{format_address(address)}/metrics"
    try:
        status, text = _get(address, "/metrics")
        ready = _get(address, "/readyz")[0] == 200
    except http.client.HTTPException as error:
        raise click.ClickException(f"cannot read {where}: what answers there speaks no HTTP") from error
    except OSError as error:
        raise click.ClickException(f"cannot read {where}: {classify(error).text}") from error
    values = {(name, labels or ""): float(value) for name, labels, value in _LINE.findall(text)}
    build = next((key for key in values if key[0].endswith("_build_info")), None)
    if status != 200 or build is None:
        raise click.ClickException(f"cannot read {where}: those are no metrics of a server of this package")
    prefix = build[0].removesuffix("build_info")
    version = dict(_LABEL.findall(build[1])).get("version", "")
    named = {(name.removeprefix(prefix), labels): value for (name, labels), value in values.items()}
    return Sample(time.monotonic(), named, version, ready)


def _get(address: tuple[str, int], path: str) -> tuple[int, str]:
    import http.client

    connection = http.client.HTTPConnection(*address, timeout=TIMEOUT)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode("utf-8", "replace")
    finally:
        connection.close()


def summary(before: Sample, now: Sample) -> dict[str, Any]:
    """Return what happened between two samples: plain values; those a second end with ``_per_s``."""
    seconds = max(now.at - before.at, 1e-9)

    def per_second(name: str) -> float | None:
        key = (f"{name}_total", "")
        if key not in now.values:
            return None
        return round(max(0.0, now.values[key] - before.values.get(key, 0.0)) / seconds, 3)

    def by_reason(name: str) -> dict[str, int]:
        found = {}
        for (metric, labels), value in now.values.items():
            if metric == f"{name}_total" and value:
                for _, reason in _LABEL.findall(labels):  # "reason" or "rule", the only label
                    found[reason] = int(value)
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    rates = ("received_bytes", "sent_bytes", "received_frames", "sent_frames", "received_datagrams", "sent_datagrams")
    rows: dict[str, Any] = {"version": now.version, "ready": now.ready, "seconds": round(seconds, 3)}
    for name in ("workers_ready", "connections_open", "tls_handshakes_open"):
        if (name, "") in now.values:
            rows[name] = int(now.values[name, ""])
    for name in (*rates, "connections_accepted", "accept_errors", "handler_failures", "tls_handshakes_failed"):
        if (rate := per_second(name)) is not None:
            rows[f"{name}_per_s"] = rate
    for name in ("disconnects", "connections_refused", "guarded_datagrams"):
        if found := by_reason(name):
            rows[name] = found
    rows["loop_lag_seconds"] = _lag(before, now)
    return rows


def _lag(before: Sample, now: Sample) -> dict[str, float] | None:
    """Return the bounds of the median and of the 99th percentile of how late the loop was in between."""
    counts: dict[float, float] = {}
    for (name, labels), value in now.values.items():
        if name == "loop_lag_seconds_bucket":
            bound = float(dict(_LABEL.findall(labels))["le"])
            counts[bound] = value - before.values.get((name, labels), 0.0)
    total = counts.get(float("inf"), 0.0)
    if not total:
        return None
    found = {}
    for name, share in (("p50", 0.5), ("p99", 0.99)):
        found[name] = next(bound for bound, count in sorted(counts.items()) if count >= share * total)
    return found


def lines(view: dict[str, Any], where: str) -> Iterator[str]:
    """Yield the lines of a view."""
    state = "ready" if view["ready"] else "not ready"
    workers = f", {view['workers_ready']} workers" if "workers_ready" in view else ""
    yield f"{where}: proactor_echo {view['version']}, {state}{workers}"
    yield ""
    if "connections_open" in view:
        accepted = view["connections_accepted_per_s"]
        yield f"connections  {view['connections_open']:>9,} open   {accepted:>11,.1f}/s accepted"
    for what in ("frames", "datagrams"):
        if f"received_{what}_per_s" in view:
            received, sent = view[f"received_{what}_per_s"], view[f"sent_{what}_per_s"]
            yield f"{what:<12} {received:>11,.1f}/s in {sent:>13,.1f}/s out"
    into, out = view["received_bytes_per_s"] / 1e6, view["sent_bytes_per_s"] / 1e6
    yield f"bytes        {into:>9,.3f} MB/s in {out:>11,.3f} MB/s out"
    for name, rate in (("accept errors", "accept_errors_per_s"), ("failed handlers", "handler_failures_per_s")):
        if view.get(rate):
            yield f"{name:<15}{view[rate]:>9,.1f}/s"
    if lag := view["loop_lag_seconds"]:
        yield f"loop lag     p50 up to {1000 * lag['p50']:g} ms, p99 up to {1000 * lag['p99']:g} ms"
    titles = {"disconnects": "ended", "connections_refused": "refused", "guarded_datagrams": "not answered"}
    for name, title in titles.items():
        if name in view:
            yield f"{title:<12} " + ", ".join(
                f"{reason.replace('_', ' ')} {count:,}" for reason, count in view[name].items()
            )
