"""``proactor-echo bench``: load on a server, a table or JSON, and a status that says whether bytes were wrong."""

import asyncio
import functools
import json
import os
import re
import subprocess
import sys

import pytest
from helpers.cli_process import Ended, run_python

import proactor_echo as pe
from proactor_echo.cli.framing import make_codec
from proactor_echo.testing import certificates

QUICK = ("--duration", "0.3", "--warm-up", "0", "-c", "2")


async def bench(*arguments: str) -> Ended:
    return await asyncio.to_thread(run_python, "-m", "proactor_echo", "bench", *QUICK, *arguments)


async def damaging(conn: pe.Connection) -> None:
    async for data in conn:
        await conn.send(data[:-1] + b"!")


async def test_a_right_server_is_a_table_a_histogram_and_a_sentence() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        status, out, err = await bench(f"127.0.0.1:{server.port}", "--size", "100", "--in-flight", "4")
    assert status == 0, err
    lines = out.splitlines()
    assert lines[0] == "100 bytes, 2 connections, 4 in flight each, 0.3 s"
    assert lines[2].split() == ["p50", "p90", "p99", "p99.9", "max"]
    assert lines[3].startswith("latency ")
    assert lines[5].endswith(" MB/s each way; none wrong")
    assert any("#" in line and " %  " in line for line in lines)
    assert re.match("Every byte came back as it was sent|These figures measure the generator", lines[-1])
    assert "/s  p50 " in err


async def test_json_has_what_was_planned_and_what_was_measured() -> None:
    async with await pe.serve_tcp(pe.echo, codec=make_codec("length")) as server:
        address = f"127.0.0.1:{server.port}"
        status, out, err = await bench(address, "--framing", "length", "--rate", "200", "--json")
    assert status == 0, err
    report = json.loads(out)
    assert report["schema"] == 1
    plan = report["plan"]
    assert (plan["port"], plan["rate"], plan["codec"]) == (server.port, 200.0, type(make_codec("length")).__name__)
    assert report["answered"] > 20
    assert set(report["wrong"].values()) == {0}
    assert report["latency"]["count"] >= report["answered"]
    assert report["latency"]["p50"] >= report["service"]["p50"] > 0


async def test_a_wrong_byte_is_status_1() -> None:
    async with await pe.serve_tcp(damaging) as server:
        status, out, _ = await bench(f"127.0.0.1:{server.port}")
    assert status == 1
    assert out.splitlines()[-1].startswith("WRONG: 2 corrupted")


async def test_tls_with_an_authority_of_its_own() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=certificates.server_context()) as server:
        status, out, err = await bench(f"localhost:{server.port}", "--tls", "--tls-ca", str(certificates.CA_FILE))
        refused = await bench(f"localhost:{server.port}", "--tls")
    assert status == 0, err
    assert "none wrong" in out
    assert refused[0] == 1
    assert "Error: cannot connect to localhost port " in refused[2]


async def test_nobody_there_is_one_sentence(unused_tcp_port: int) -> None:
    status, out, err = await bench(f"127.0.0.1:{unused_tcp_port}")
    assert (status, out) == (1, "")
    assert err.startswith(f"Error: cannot connect to 127.0.0.1 port {unused_tcp_port}: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--size", "15"], "Invalid value for '--size'"),
        (["--rate", "0"], "Invalid value for '--rate'"),
        (["--duration", "0"], "--duration must be above 0."),
        (["--tls-insecure"], "--tls-ca and --tls-insecure are for --tls: write --tls too."),
    ],
)
async def test_what_makes_no_sense_is_refused(arguments: list[str], sentence: str) -> None:
    status, _, err = await bench("127.0.0.1:9", *arguments)
    assert status == 2
    assert sentence in err


async def test_on_a_terminal_there_is_one_line_that_changes() -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no pseudo terminals of this kind")
    import pty

    near, far = pty.openpty()
    try:
        async with await pe.serve_tcp(pe.echo) as server:
            command = [sys.executable, "-m", "proactor_echo", "bench", *QUICK, f"127.0.0.1:{server.port}"]
            run = functools.partial(subprocess.run, command, stdout=subprocess.PIPE, stderr=far, timeout=60)
            ended = await asyncio.to_thread(run, check=False)
        shown = os.read(near, 65536)
    finally:
        os.close(far)
        os.close(near)
    assert ended.returncode == 0
    assert b"/s  p50 " in shown
    assert b"\n" not in shown
