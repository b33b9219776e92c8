"""What a server tells monitoring systems: numbers that are the statistics', in the forms that they read."""

import asyncio
import contextlib
import json
from typing import Any

import pytest
from helpers import prometheus
from helpers.forms import FORMS
from helpers.peers import RawClient, connected, eventually

import proactor_echo as pe
from proactor_echo.net import metrics
from proactor_echo.net.histogram import Histogram


async def ask(status: pe.Server, request: str) -> tuple[int, dict[str, str], str]:
    """Return status, fields and content of the answer."""
    async with await RawClient.connect(status.address) as client:
        await client.send(request.encode())
        head, _, content = (await client.receive_all()).decode().partition("\r\n\r\n")
    first, *lines = head.split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines)
    assert int(fields["Content-Length"]) == len(content)
    return int(first.split()[1]), fields, content


async def get(status: pe.Server, path: str, *fields: str) -> tuple[int, dict[str, str], str]:
    return await ask(status, "\r\n".join([f"GET {path} HTTP/1.1", "Host: localhost", *fields, "", ""]))


@pytest.mark.parametrize("form", FORMS)
async def test_metrics_are_the_statistics(form: dict[str, Any]) -> None:
    server = await pe.serve_tcp(**form, codec=pe.LineCodec(), limits=pe.Limits(connections_per_source=2))
    async with server, await pe.serve_status(server) as status:
        async with connected(server, 2) as (first, _):
            await first.send(b"one\ntwo\n")
            assert await first.receive_exactly(8) == b"one\ntwo\n"
            with contextlib.suppress(OSError):  # connecting may see the reset already
                (await RawClient.connect(server.address)).close()
            await eventually(lambda: server.stats.refused == 1)
            _, fields, text = await get(status, "/metrics")
            assert fields["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
            seen = prometheus.read(text)
            assert seen["proactor_echo_connections_open", ()] == 2
            assert seen["proactor_echo_connections_accepted_total", ()] == 3
            assert seen["proactor_echo_connections_refused_total", (("reason", "source_connections"),)] == 1
            assert seen["proactor_echo_received_bytes_total", ()] == 8
            assert seen["proactor_echo_sent_frames_total", ()] == 2
        await eventually(lambda: not server.connections)
        seen = prometheus.read((await get(status, "/metrics"))[2])
        assert seen["proactor_echo_connections_open", ()] == 0
        assert seen["proactor_echo_connection_duration_seconds_count", ()] == 2
        assert sum(count for (name, _), count in seen.items() if name == "proactor_echo_disconnects_total") == 2


async def test_openmetrics_are_for_those_who_ask() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await pe.serve_status(server, prefix="mine") as status:
        accept = "accept: application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3"
        _, fields, text = await get(status, "/metrics", accept)
        assert fields["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
        assert prometheus.read(text, openmetrics=True)["mine_connections_accepted_total", ()] == 0


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_prometheus_own_library_reads_them(openmetrics: bool) -> None:
    name = "prometheus_client.openmetrics.parser" if openmetrics else "prometheus_client.parser"
    parser = pytest.importorskip(name, reason="needs prometheus_client")
    async with await pe.serve_tcp(pe.echo) as server, await pe.serve_udp(pe.EchoDatagramProtocol) as udp_server:
        server.measure()
        for metrics_of_one in (server.metrics(), udp_server.metrics()):
            text = pe.metrics_text(metrics_of_one, openmetrics=openmetrics)
            families = list(parser.text_string_to_metric_families(text))
            assert len(families) == len(metrics_of_one)
            assert {family.type for family in families} <= {"counter", "gauge", "histogram"}


async def test_metrics_of_a_udp_server() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.serve_status(server) as status:
        async with await pe.connect_udp("127.0.0.1", server.port) as client:
            await client.send(b"ping")
            await client.receive()
        seen = prometheus.read((await get(status, "/metrics"))[2])
        assert seen["proactor_echo_received_datagrams_total", ()] == 1
        assert seen["proactor_echo_sent_bytes_total", ()] == 4
        assert (await get(status, "/readyz"))[0] == 200
        await server.close()
        assert (await get(status, "/readyz"))[0] == 503


async def test_a_server_that_drains_is_healthy_and_not_ready() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await pe.serve_status(server) as status:
        assert [(await get(status, path))[0] for path in ("/healthz", "/readyz")] == [200, 200]
        async with connected(server) as (client,):
            await client.send(b"x")
            closing = asyncio.create_task(server.close(drain=20))
            await asyncio.sleep(0)
            assert [(await get(status, path))[0] for path in ("/healthz", "/readyz")] == [200, 503]
        await closing


async def test_statistics_are_json() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await pe.serve_status(server) as status:
        _, fields, text = await get(status, "/stats?pretty")
        assert fields["Content-Type"] == "application/json"
        assert json.loads(text) == server.stats.as_dict()


@pytest.mark.parametrize(
    ("request_line", "answer"),
    [
        ("POST /metrics HTTP/1.1", 405),
        ("HEAD /healthz HTTP/1.1", 405),
        ("GET / HTTP/1.1", 404),
        ("GET /metricsx HTTP/1.0", 404),
        ("GET /metrics", 400),
        ("GET metrics HTTP/1.1", 400),
        ("\x16\x03\x01", 400),
        ("GET /metrics HTTP/1.1\r\nCookie: " + "a" * 2048, 431),
    ],
)
async def test_anything_else_gets_an_answer_that_says_so(request_line: str, answer: int) -> None:
    async with await pe.serve_tcp(pe.echo) as server, await pe.serve_status(server) as status:
        assert (await ask(status, request_line + "\r\n\r\n"))[0] == answer
        assert not status.stats.failed


@pytest.mark.parametrize("cut", [1, 10, 24, 25])
async def test_a_request_may_come_in_pieces(cut: int) -> None:
    request = b"GET /healthz HTTP/1.1\r\n\r\n"
    async with (
        await pe.serve_tcp(pe.echo) as server,
        await pe.serve_status(server) as status,
        await RawClient.connect(status.address) as client,
    ):
        await client.send(request[:cut])
        await eventually(lambda: status.stats.bytes_in == cut)
        await client.send(request[cut:])
        assert (await client.receive_all()).endswith(b"\r\n\r\nok\n")


async def test_how_late_the_loop_is_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "LAG_INTERVAL", 0.01)
    lag = metrics.LoopLag()
    end = asyncio.get_running_loop().time() + 0.05
    while asyncio.get_running_loop().time() < end:
        pass  # the loop is blocked
    await eventually(lambda: lag.histogram.total >= 0.03)
    lag.cancel()


async def test_what_was_not_asked_for_is_not_measured() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        assert not [each for each in server.metrics() if each.kind == "histogram"]


def test_a_value_on_a_bound_is_within_it() -> None:
    histogram = Histogram((1, 2))
    for value in (0.5, 1, 1.5, 2, 2.5):
        histogram.observe(value)
    assert (list(histogram.cumulative()), histogram.total) == ([(1, 2), (2, 4), (float("inf"), 5)], 7.5)


def test_labels_are_escaped() -> None:
    text = pe.metrics_text([pe.Metric("a", "gauge", "An a.", samples=[((("b", 'c"\\\n'),), 1)])])
    assert prometheus.read(text) == {("a", (("b", r"c\"\\\n"),)): 1}


async def test_a_prefix_that_is_no_name_is_refused() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        with pytest.raises(ValueError, match="prefix must be letters, digits and underscores"):
            await pe.serve_status(server, prefix="my-app")
