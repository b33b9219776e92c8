"""``proactor-echo check``: a table or JSON, and an exit status that scripts can use."""

import asyncio
import json
import math
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import click
import pytest
from helpers.cli_process import CliProcess, Ended, run_python
from helpers.command_line import CommandLine
from helpers.tls_peers import blocking_server

import proactor_echo as pe
from proactor_echo.cli.check import show_check
from proactor_echo.testing import certificates as certs


def check(*arguments: str) -> Ended:
    return run_python("-m", "proactor_echo", "check", *arguments)


class Checked(NamedTuple):
    address: str
    ended: Ended


@pytest.fixture(scope="module")
def right() -> dict[str, Checked]:
    """Check right servers, all at the same time: most of a check is waiting."""
    with (
        CliProcess("tcp", "--port", "0") as tcp,
        CliProcess("udp", "--port", "0") as udp,
        blocking_server(certs.server_context(), handshake_timeout=1.0) as (host, port),
    ):
        tcp_address, udp_address = (f"127.0.0.1:{server.listening()[1]}" for server in (tcp, udp))
        tls_address = f"{host}:{port}"
        commands = {
            "tcp": (tcp_address,),
            "udp": ("--udp", "--json", udp_address),
            "tls": ("--tls", "--tls-ca", str(certs.CA_FILE), tls_address),
            "tls, not trusted": ("--tls", tls_address),
            "tls, insecure": ("--tls", "--tls-insecure", tls_address),
        }
        with ThreadPoolExecutor(len(commands)) as pool:
            all_ended = pool.map(lambda command: check(*command), commands.values())
            return {
                name: Checked(command[-1], ended)
                for (name, command), ended in zip(commands.items(), all_ended, strict=True)
            }


def test_a_right_tcp_server_is_a_table_of_ok_and_status_0(right: dict[str, Checked]) -> None:
    address, ended = right["tcp"]
    assert (ended.status, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert [line.split("  ")[0] for line in lines[:-2]] == [
        "answers", "every byte value", "byte by byte", "order", "large", "half-close", "nothing sent", "slow reading",
        "simultaneous", "after resets", "nothing unsolicited",
    ]  # fmt: skip
    assert all(line[21:23] == "ok" and len(line) <= 80 for line in lines[:-2])
    assert lines[-1].startswith(f"tcp {address}: 11 ok, in ")


def test_json_is_the_whole_report(right: dict[str, Checked]) -> None:
    address, ended = right["udp"]
    assert ended.status == 0
    report = json.loads(ended.out)
    assert (report["subject"], report["passed"], len(report["results"])) == (f"udp {address}", True, 9)


@pytest.fixture
def wrong_server() -> Iterator[int]:
    """Answers what it is not asked."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            client, _ = listener.accept()
            with client:
                client.sendall(b"220 welcome\r\n")
                client.recv(100)

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def test_a_wrong_server_is_status_1_and_the_table_says_why(wrong_server: int) -> None:
    ended = check(f"127.0.0.1:{wrong_server}", "--timeout", "1")
    assert (ended.status, ended.err) == (1, "")
    assert (
        "answers              failed   byte 0 of 6 came back different: b'echo\\r\\n' expected, b'220 welc'"
        in ended.out
    )
    assert ended.out.splitlines()[-1].startswith(f"tcp 127.0.0.1:{wrong_server}: 1 failed, 10 skipped, in ")


def test_where_nothing_listens_one_sentence_says_so_with_status_1() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        ended = check(f"127.0.0.1:{port}")  # while it is bound, and so cannot be given to anybody
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith(f"Error: cannot connect: 127.0.0.1:{port}: refused (")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["localhost"], ["127.0.0.1:0"], ["::1:7"], ["localhost:7", "--timeout", "0"]])
def test_what_cannot_be_meant_is_status_2(cli: CommandLine, arguments: list[str]) -> None:
    ended = cli.run("check", *arguments)
    assert ended.status == 2
    assert ended.err.startswith("Usage: proactor-echo check ")


# -- over TLS ----------------------------------------------------------------------------------------------------------


def test_a_right_tls_server_is_a_table_of_ok_and_status_0(right: dict[str, Checked]) -> None:
    address, ended = right["tls"]
    assert (ended.status, ended.err) == (0, ""), ended
    lines = ended.out.splitlines()
    assert [line.split("  ")[0] for line in lines[11:-2]] == [
        "versions", "truncation", "renegotiation", "no TLS", "endless handshake",
    ]  # fmt: skip
    assert all(line[21:23] == "ok" or line.startswith("renegotiation") for line in lines[:-2])
    assert all(len(line) <= 80 for line in lines[:-2]), lines
    assert lines[-1].startswith(f"tls {address}: 1")


def test_a_certificate_that_is_not_trusted_is_status_1_and_can_be_trusted_all_the_same(
    right: dict[str, Checked],
) -> None:
    ended = right["tls, not trusted"].ended
    assert ended.status == 1
    assert "in the TLS handshake, the certificate is not accepted: " in ended.out.splitlines()[0]
    assert right["tls, insecure"].ended.status == 0


def test_a_file_of_authorities_that_cannot_be_used_is_one_sentence() -> None:
    ended = check("--tls", "--tls-ca", "no-such-file.pem", "127.0.0.1:7")
    assert (ended.status, ended.out) == (1, "")
    assert ended.err.startswith("Error: cannot read the certificate no-such-file.pem: ")
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize(
    "options",
    [["--tls", "--udp"], ["--tls-ca", "ca.pem"], ["--tls-insecure"], ["--tls", "--tls-ca", "ca.pem", "--tls-insecure"]],
    ids=" ".join,
)
def test_options_of_tls_that_do_not_fit_together_are_status_2(cli: CommandLine, options: list[str]) -> None:
    ended = cli.run("check", *options, "127.0.0.1:7")
    assert ended.status == 2
    assert ended.err.startswith("Usage: proactor-echo check ")


# -- in this process ---------------------------------------------------------------------------------------------------


async def greet(conn: pe.Connection) -> None:
    """Answer what was not asked."""
    await conn.send(b"220 welcome\r\n")
    await conn.receive()


async def test_each_result_is_printed_when_it_is_there(capsys: pytest.CaptureFixture[str]) -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        checking = asyncio.create_task(show_check(server.address, udp=True, as_json=False, timeout=5.0))
        out = ""
        while not out:
            assert not checking.done()
            await asyncio.sleep(0)
            out = capsys.readouterr().out
        assert out.startswith("answers              ok ")
        assert await checking
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"udp 127.0.0.1:{server.port}: 9 ok, in ")


@pytest.mark.parametrize("as_json", [False, True])
async def test_a_check_that_failed_makes_it_false(capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    async with await pe.serve_tcp(greet) as server:
        passed = await show_check(server.address, udp=False, as_json=as_json, timeout=1.0)
    assert not passed
    out = capsys.readouterr().out
    if as_json:
        assert json.loads(out)["passed"] is False
    else:
        assert "answers              failed " in out
        assert "half-close           skipped  not tried, since it does not echo at all" in out


async def test_a_timeout_that_makes_no_sense_is_a_usage_error() -> None:
    with pytest.raises(click.BadParameter, match="timeout must be more than 0 seconds, not nan"):
        await show_check(("127.0.0.1", 7), udp=False, as_json=False, timeout=math.nan)
