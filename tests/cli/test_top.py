"""``proactor-echo top``: what a running server does, read from its metrics."""

import asyncio
import json

import pytest
from helpers.cli_process import Ended, run_python
from helpers.peers import RawClient

import proactor_echo as pe
from proactor_echo.cli.top import Sample, lines, read, summary


async def top(*arguments: str) -> Ended:
    return await asyncio.to_thread(run_python, "-m", "proactor_echo", "top", "--interval", "0.3", *arguments)


async def test_a_tcp_server() -> None:
    async with (
        await pe.serve_tcp(pe.echo) as server,
        await pe.serve_status(server) as status,
        await RawClient.connect(server.address) as client,
    ):
        watching = asyncio.create_task(top("--once", f"127.0.0.1:{status.port}"))
        while not watching.done():
            await client.send(b"hello")
            await client.receive_exactly(5)
            await asyncio.sleep(0.01)
        ended = await watching
    assert ended.status == 0, ended.err
    out = ended.out.splitlines()
    assert out[0] == f"127.0.0.1:{status.port}: proactor_echo {pe.__version__}, ready"
    assert out[2].startswith("connections          1 open")
    assert any(line.startswith("bytes ") and " MB/s in" in line for line in out)
    assert any(line.startswith("loop lag     p50 up to") for line in out)


async def test_a_udp_server_as_json() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.serve_status(server) as status:
        ended = await top("--once", "--json", f"127.0.0.1:{status.port}")
    view = json.loads(ended.out)
    assert (view["ready"], view["received_datagrams_per_s"]) == (True, 0.0)


async def test_datagrams_are_counted_between_two_looks() -> None:
    async with (
        await pe.serve_udp(pe.EchoDatagramProtocol) as server,
        await pe.serve_status(server) as status,
        await pe.connect_udp("127.0.0.1", server.port) as client,
    ):
        before = await asyncio.to_thread(read, ("127.0.0.1", status.port))
        for number in range(10):
            await client.send(b"%d" % number)
            await client.receive()
        now = await asyncio.to_thread(read, ("127.0.0.1", status.port))
    view = summary(before, now)
    assert view["received_datagrams_per_s"] == pytest.approx(10 / (now.at - before.at), rel=0.01)
    assert [line.split()[0] for line in lines(view, "here") if line][1:3] == ["datagrams", "bytes"]


async def test_a_server_that_drains_is_not_ready() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await pe.serve_status(server) as status:
        async with await RawClient.connect(server.address) as client:
            sending = asyncio.create_task(client.send(bytes(8 << 20)))
            await client.receive_exactly(1 << 20)  # so much is on the way that it does not end at once
            closing = asyncio.create_task(server.close(30))
            ended = await top("--once", f"127.0.0.1:{status.port}")
            await client.receive_exactly(7 << 20)
            await sending
        await closing
    assert ended.out.splitlines()[0].endswith(", not ready")


async def test_nobody_there_and_somebody_else_are_one_sentence(unused_tcp_port: int) -> None:
    ended = await top("--once", f"127.0.0.1:{unused_tcp_port}")
    assert ended.status == 1
    assert ended.err.startswith(f"Error: cannot read http://127.0.0.1:{unused_tcp_port}/metrics: ")
    async with await pe.serve_tcp(pe.echo) as server:
        ended = await top("--once", f"127.0.0.1:{server.port}")
    assert ended.status == 1
    assert ended.err.count("\n") == 1


def test_rates_are_of_the_time_between_and_reasons_are_totals() -> None:
    lag = "loop_lag_seconds_bucket"
    before = {
        ("connections_open", ""): 3.0,
        ("connections_accepted_total", ""): 10.0,
        ("received_bytes_total", ""): 1_000_000.0,
        ("sent_bytes_total", ""): 0.0,
        ("received_frames_total", ""): 0.0,
        ("sent_frames_total", ""): 0.0,
        (lag, 'le="0.001"'): 100.0,
        (lag, 'le="0.01"'): 100.0,
        (lag, 'le="+Inf"'): 100.0,
    }
    now = before | {
        ("connections_accepted_total", ""): 30.0,
        ("received_bytes_total", ""): 5_000_000.0,
        ("disconnects_total", 'reason="end of file"'): 4.0,
        ("disconnects_total", 'reason="reset by peer"'): 7.0,
        ("workers_ready", ""): 2.0,
        (lag, 'le="0.001"'): 105.0,
        (lag, 'le="0.01"'): 108.0,
        (lag, 'le="+Inf"'): 108.0,
    }
    view = summary(Sample(100.0, before, "1", True), Sample(102.0, now, "1", True))
    assert view["connections_accepted_per_s"] == 10.0
    assert view["received_bytes_per_s"] == 2_000_000.0
    assert [*view["disconnects"].items()] == [("reset by peer", 7), ("end of file", 4)]
    assert view["loop_lag_seconds"] == {"p50": 0.001, "p99": 0.01}
    text = "\n".join(lines(view, "host:1"))
    assert "host:1: proactor_echo 1, ready, 2 workers" in text
    assert "ended        reset by peer 7, end of file 4" in text


@pytest.mark.parametrize("arguments", [["--interval", "0", "127.0.0.1:1"], ["127.0.0.1"]])
def test_what_makes_no_sense_is_refused(arguments: list[str]) -> None:
    assert run_python("-m", "proactor_echo", "top", *arguments).status == 2
