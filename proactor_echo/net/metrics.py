"""Metrics: the counters of a server by the names that monitoring systems want, and as the text that they read.

Names follow Prometheus' rules (base units, ``_total`` for what only grows) and Kestrel's for what a server of
connections tells. No label says who a client is: its values are few and known.

Source: "Metric and label naming" and "Exposition formats" of Prometheus' documentation, text format 0.0.4; OpenMetrics
1.0; "Kestrel metrics" of OpenTelemetry's semantic conventions.
"""

from __future__ import annotations

import asyncio
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from proactor_echo._version import __version__
from proactor_echo.net.histogram import Histogram
from proactor_echo.net.stats import DatagramStats, ServerStats

__all__ = [
    "CONNECTION_SECONDS",
    "LAG_SECONDS",
    "LoopLag",
    "Metric",
    "datagram_metrics",
    "metrics_text",
    "server_metrics",
]

#: Seconds: the upper bounds of Kestrel's histogram for connections.
CONNECTION_SECONDS: Final = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)
#: Seconds by which the loop is late.
LAG_SECONDS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5)
#: Seconds between two looks at how late the loop is.
LAG_INTERVAL: Final = 0.25

Labels = tuple[tuple[str, str], ...]


class Metric(NamedTuple):
    """One metric: its name, what kind it is, what it says, its unit (or ``""``), and a value for each set of labels.

    The name of a counter ends with ``_total``. Of a histogram the samples are empty, and ``histogram`` has the values.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    unit: str = ""
    samples: Sequence[tuple[Labels, float]] = ()
    histogram: Histogram | None = None


class LoopLag:
    """Measures how late the running loop is, by a timer."""

    def __init__(self) -> None:
        self.histogram: Histogram = Histogram(LAG_SECONDS)
        self._loop = asyncio.get_running_loop()
        self._begin()

    def cancel(self) -> None:
        """Measure no more."""
        self._handle.cancel()

    def _begin(self) -> None:
        self._due = self._loop.time() + LAG_INTERVAL
        self._handle = self._loop.call_at(self._due, self._measure)

    def _measure(self) -> None:
        self.histogram.observe(max(0.0, self._loop.time() - self._due))
        self._begin()


def server_metrics(stats: ServerStats, prefix: str, lag: Histogram | None = None) -> list[Metric]:
    """Return the metrics of a TCP server. Their sums mean something: the reasons of a counter are all there are."""
    unexplained = stats.refused - stats.refusals.total()
    refused = {**_by_name(stats.refusals), "not_served": unexplained}
    metrics = [
        _gauge("connections_open", "Connections that are served now.", stats.open),
        _counter("connections_accepted_total", "Connections taken from the listeners.", stats.accepted),
        _counters("connections_refused_total", "Connections accepted and not served.", "reason", refused),
        _counters(
            "disconnects_total", "Connections that ended, and failed handshakes.", "reason", _by_name(stats.disconnects)
        ),
        _counter("accept_errors_total", "Times that accepting failed, and went on.", stats.accept_errors),
        _counter("handler_failures_total", "Connections ended by an exception in a handler.", stats.failed),
        _counter("received_bytes_total", "Bytes received.", stats.bytes_in, "bytes"),
        _counter("sent_bytes_total", "Bytes given to the system to send.", stats.bytes_out, "bytes"),
        _counter("received_frames_total", "Frames received.", stats.frames_in),
        _counter("sent_frames_total", "Frames sent.", stats.frames_out),
        _gauge("tls_handshakes_open", "TLS handshakes that are going on now.", stats.handshaking),
        _counter("tls_handshakes_completed_total", "TLS handshakes that succeeded.", stats.handshakes),
        _counter("tls_handshakes_resumed_total", "Of them, those of an earlier session.", stats.handshakes_resumed),
        _counter("tls_handshakes_failed_total", "TLS handshakes that failed.", stats.handshakes_failed),
    ]
    if stats.certificate_expires is not None:
        text = "When the first certificate expires, in seconds since 1970."
        metrics.append(_gauge("tls_certificate_expiry_timestamp_seconds", text, stats.certificate_expires, "seconds"))
    if stats.durations is not None:
        text = "How long connections lasted."
        metrics.append(_histogram("connection_duration_seconds", text, stats.durations))
    return _finished(metrics, prefix, lag)


def datagram_metrics(stats: DatagramStats, prefix: str, lag: Histogram | None = None) -> list[Metric]:
    """Return the metrics of a UDP server."""
    metrics = [
        _counter("received_datagrams_total", "Datagrams received.", stats.datagrams_in),
        _counter("sent_datagrams_total", "Datagrams sent.", stats.datagrams_out),
        _counter("received_bytes_total", "Bytes received.", stats.bytes_in, "bytes"),
        _counter("sent_bytes_total", "Bytes sent.", stats.bytes_out, "bytes"),
        _counter("dropped_datagrams_total", "Datagrams dropped since a queue was full.", stats.dropped),
        _counter("oversize_datagrams_total", "Datagrams longer than wanted.", stats.oversize),
        _counters("guarded_datagrams_total", "Datagrams that the guard noticed.", "rule", _by_name(stats.guarded)),
        _counter("unreachable_total", "ICMP errors about datagrams sent earlier.", stats.unreachable),
        _counter("errors_total", "Other errors of the sockets.", stats.errors),
    ]
    return _finished(metrics, prefix, lag)


def metrics_text(metrics: Iterable[Metric], *, openmetrics: bool = False) -> str:
    """Return metrics as Prometheus reads them: text format 0.0.4, or OpenMetrics 1.0."""
    lines = []
    for metric in metrics:
        family = metric.name.removesuffix("_total") if openmetrics and metric.kind == "counter" else metric.name
        lines.append(f"# HELP {family} {metric.help}")
        lines.append(f"# TYPE {family} {metric.kind}")
        if openmetrics and metric.unit and family.endswith(f"_{metric.unit}"):
            lines.append(f"# UNIT {family} {metric.unit}")
        lines.extend(_lines(metric))
    if openmetrics:
        lines.append("# EOF")
    return "\n".join(lines) + "\n"


# -- below: how the pieces above do it -------------------------------------------------------------------------------


def _finished(metrics: list[Metric], prefix: str, lag: Histogram | None) -> list[Metric]:
    if lag is not None:
        metrics.append(_histogram("loop_lag_seconds", "How late the event loop is, of 4 looks a second.", lag))
    labels = (("version", __version__), ("python", platform.python_version()), ("system", platform.system()))
    metrics.append(Metric("build_info", "gauge", "What is running.", samples=[(labels, 1)]))
    return [metric._replace(name=f"{prefix}_{metric.name}") for metric in metrics]


def _by_name(counts: Mapping[Any, int]) -> dict[str, int]:
    return {reason.name.lower(): count for reason, count in sorted(counts.items())}


def _counter(name: str, text: str, value: float, unit: str = "") -> Metric:
    return Metric(name, "counter", text, unit, [((), value)])


def _counters(name: str, text: str, label: str, values: Mapping[str, float]) -> Metric:
    return Metric(name, "counter", text, samples=[(((label, key),), value) for key, value in values.items()])


def _gauge(name: str, text: str, value: float, unit: str = "") -> Metric:
    return Metric(name, "gauge", text, unit, [((), value)])


def _histogram(name: str, text: str, values: Histogram) -> Metric:
    return Metric(name, "histogram", text, "seconds", histogram=values)


def _lines(metric: Metric) -> Iterator[str]:
    if metric.histogram is None:
        for labels, value in metric.samples:
            yield f"{metric.name}{_labels(labels)} {_number(value)}"
        return
    count = 0
    for bound, count in metric.histogram.cumulative():
        yield f"{metric.name}_bucket{_labels((('le', _number(float(bound))),))} {count}"
    yield f"{metric.name}_sum {_number(metric.histogram.total)}"
    yield f"{metric.name}_count {count}"


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _number(value: float) -> str:
    return "+Inf" if value == float("inf") else repr(value)
