"""What a running server tells on a port of its own, to monitoring systems and load balancers, over HTTP.

============ =========================================================================================
``/metrics``  counters, for Prometheus: its text format, or OpenMetrics for who asks for that
``/healthz``  200 as long as the event loop goes on
``/readyz``   200 while clients are taken, 503 once the server is closing
``/stats``    the counters as JSON
============ =========================================================================================

It is as bounded as any public port: 16 connections, a request of 2 KiB, 10 seconds for all of it. One request a
connection, and only GET.
"""

from __future__ import annotations

import http
import json
import re
from collections.abc import Callable
from typing import Final, Protocol

from proactor_echo.arguments import check_text
from proactor_echo.net.metrics import Metric, metrics_text
from proactor_echo.net.stats import DatagramStats, ServerStats
from proactor_echo.net.tcp.deadlines import Deadlines
from proactor_echo.net.tcp.limits import Limits
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.serve import serve_tcp
from proactor_echo.net.tcp.server import Server
from proactor_echo.sockets.options import SocketOptions

__all__ = ["Observable", "serve_status"]

CONNECTIONS: Final = 16
REQUEST_BYTES: Final = 2048
SECONDS: Final = 5.0

PREFIX: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


class Observable(Protocol):
    """What a status server asks of the server that it is about."""

    @property
    def stats(self) -> ServerStats | DatagramStats:
        """Its counters, with ``as_dict()``."""

    @property
    def is_closing(self) -> bool:
        """Whether it takes no more clients."""

    def measure(self) -> None:
        """Begin to measure what takes time to measure."""

    def metrics(self, prefix: str = "proactor_echo") -> list[Metric]:
        """Its counters by name."""


async def serve_status(
    server: Observable,
    host: str = "127.0.0.1",
    port: int = 0,
    *,
    prefix: str = "proactor_echo",
    options: SocketOptions | None = None,
) -> Server:
    """Serve ``/metrics``, ``/healthz``, ``/readyz`` and ``/stats`` about ``server``; return the server that does.

    :param server: a :class:`Server` or :class:`UdpServer`; connection times and the delays of the loop are measured
        from now on.
    :param host: a name or an address.
    :param port: the port; 0 takes a free one.
    :param prefix: what the names of all metrics begin with.
    :param options: what to set on the sockets.

    Raises :class:`BindError` with one sentence when it cannot listen, ValueError for a wrong argument.
    """
    check_text("prefix", prefix)
    if not PREFIX.fullmatch(prefix):
        raise ValueError(f"prefix must be letters, digits and underscores, as in proactor_echo, not {prefix!r}")
    started = await serve_tcp(
        None,
        host,
        port,
        protocol_factory=lambda: _StatusProtocol(server, prefix),
        limits=Limits(connections=CONNECTIONS),
        deadlines=Deadlines(first_byte=SECONDS, write=SECONDS, lifetime=2 * SECONDS),
        options=options,
    )
    server.measure()
    return started


class _StatusProtocol(FramedProtocol):
    """Answers one request."""

    _answered = False

    def __init__(self, server: Observable, prefix: str) -> None:
        super().__init__()
        self._server = server
        self._prefix = prefix
        self._head = b""

    def frame_received(self, data: bytes) -> None:
        """Answer once the head of the request is there, and end the connection."""
        self._head += data
        end = re.search(rb"\r?\n\r?\n", self._head)
        if self._answered or (end is None and len(self._head) <= REQUEST_BYTES):
            return
        self._answered = True
        if end is None or end.end() > REQUEST_BYTES:
            self._send(http.HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, TEXT, "A request has 2048 bytes at most.\n")
        else:
            self._send(*self._answer(self._head[: end.start()].decode("latin-1")))
        self.close()

    def _answer(self, head: str) -> tuple[http.HTTPStatus, str, str]:
        request, _, fields = head.partition("\n")
        method, _, rest = request.strip().partition(" ")
        target, _, version = rest.partition(" ")
        if not version.startswith("HTTP/1.") or not target.startswith("/"):
            return http.HTTPStatus.BAD_REQUEST, TEXT, "This is a port for requests of HTTP/1.\n"
        if method != "GET":
            return http.HTTPStatus.METHOD_NOT_ALLOWED, TEXT, "Only GET is answered.\n"
        answer: Callable[[str], tuple[http.HTTPStatus, str, str]] | None
        answer = self._pages.get(target.partition("?")[0])
        if answer is None:
            return http.HTTPStatus.NOT_FOUND, TEXT, "There are /metrics, /healthz, /readyz and /stats.\n"
        return answer(fields)

    @property
    def _pages(self) -> dict[str, Callable[[str], tuple[http.HTTPStatus, str, str]]]:
        return {
            "/metrics": self._metrics,
            "/healthz": lambda fields: (http.HTTPStatus.OK, TEXT, "ok\n"),
            "/readyz": self._ready,
            "/stats": self._stats,
        }

    def _metrics(self, fields: str) -> tuple[http.HTTPStatus, str, str]:
        openmetrics = _OPENMETRICS_ASKED.search(fields) is not None
        text = metrics_text(self._server.metrics(self._prefix), openmetrics=openmetrics)
        return http.HTTPStatus.OK, OPENMETRICS if openmetrics else PROMETHEUS, text

    def _ready(self, fields: str) -> tuple[http.HTTPStatus, str, str]:
        if self._server.is_closing:
            return http.HTTPStatus.SERVICE_UNAVAILABLE, TEXT, "draining\n"
        return http.HTTPStatus.OK, TEXT, "ready\n"

    def _stats(self, fields: str) -> tuple[http.HTTPStatus, str, str]:
        return http.HTTPStatus.OK, "application/json", json.dumps(self._server.stats.as_dict()) + "\n"

    def _send(self, status: http.HTTPStatus, kind: str, body: str) -> None:
        content = body.encode()
        allow = "Allow: GET\r\n" if status is http.HTTPStatus.METHOD_NOT_ALLOWED else ""
        head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
            f"{allow}Cache-Control: no-store\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + content)


TEXT: Final = "text/plain; charset=utf-8"
PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
OPENMETRICS: Final = "application/openmetrics-text; version=1.0.0; charset=utf-8"

_OPENMETRICS_ASKED: Final = re.compile(r"^accept:.*application/openmetrics-text", re.IGNORECASE | re.MULTILINE)
