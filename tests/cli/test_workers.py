"""--workers: several processes behind one command."""

import os
import re
import signal
import socket
import sys
from pathlib import Path

import pytest
from helpers.cli_process import CliProcess, run_python

from proactor_echo.testing.certificates import LOCALHOST


def echoes(address: tuple[str, int], message: bytes = b"hello") -> bool:
    with socket.create_connection(address, 30) as client:
        client.sendall(message)
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer == message


def test_workers_serve_and_stop() -> None:
    with CliProcess("tcp", "-p", "0", "--workers", "2", "--stats") as process:
        address = process.listening()
        assert all(echoes(address) for _ in range(6))
        process.signal(signal.SIGINT)
        ended = process.end()
    assert ended.status == 0, ended.err
    assert "stopped: 0 finished, 0 aborted" in ended.out
    assert '"bytes_in": 30,' in ended.err


def test_another_process_asks_for_new_workers_and_for_the_end() -> None:
    with CliProcess("tcp", "-p", "0", "--workers", "2", "--framing", "length") as process:
        address = process.listening()
        assert run_python("-m", "proactor_echo", "reload", str(process.pid)).status == 0
        assert "all workers have been replaced" in process.error_line()
        assert echoes(address, b"\0\0\0\5hello")
        assert run_python("-m", "proactor_echo", "stop", str(process.pid)).status == 0
        ended = process.end()
    assert ended.status == 0
    assert "stopped: " in ended.out


def test_a_process_that_is_not_there_cannot_be_asked() -> None:
    ended = run_python("-m", "proactor_echo", "stop", "999999")
    assert ended.status == 1
    assert "Error: cannot ask process 999999 to stop: " in ended.err


def test_a_worker_that_cannot_start_is_told_in_its_own_words(tmp_path: Path) -> None:
    """The certificate can be read when the supervisor looks, and is gone for a worker."""
    certificate = tmp_path / "certificate.pem"
    certificate.write_bytes(Path(LOCALHOST.certfile).read_bytes() + Path(LOCALHOST.keyfile).read_bytes())
    with CliProcess("tcp", "-p", "0", "--workers", "1", "--tls-cert", str(certificate)) as process:
        process.listening()
        certificate.write_text("no certificate")
        run_python("-m", "proactor_echo", "reload", str(process.pid))
        while "the old workers stay" not in (line := process.error_line()):
            assert line
        assert str(certificate) in line
        process.signal(signal.SIGINT)
        assert process.end().status == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows does not tell a parent's children")
def test_a_killed_worker_is_replaced() -> None:
    with CliProcess("tcp", "-p", "0", "--workers", "1") as process:
        address = process.listening()
        (child,) = re.findall(r"\d+", Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text())
        os.kill(int(child), 9)
        assert re.search(r"worker 0 \(process \d+\) ended, by signal 9", process.error_line())
        assert echoes(address)


@pytest.mark.parametrize("count", ["0", "many", "-1", "2000"])
def test_a_number_of_workers_that_makes_no_sense_is_refused(count: str) -> None:
    with CliProcess("tcp", "-p", "0", "--workers", count) as process:
        ended = process.end()
    assert ended.status == 2
    assert f"'{count}' is not a number of processes from 1 to 1024, nor auto." in ended.err


@pytest.mark.skipif(sys.platform == "win32", reason="one process accepts there")
def test_connections_are_handed_over_when_asked() -> None:
    with CliProcess("tcp", "-p", "0", "--workers", "2", "--balance", "handoff") as process:
        address = process.listening()
        assert all(echoes(address) for _ in range(4))
        process.signal(signal.SIGINT)
        assert process.end().status == 0


def test_a_balance_that_the_system_has_not_is_refused() -> None:
    if sys.platform == "linux":
        pytest.skip("Linux has them all")
    ended = run_python("-m", "proactor_echo", "tcp", "-p", "0", "--workers", "2", "--balance", "reuseport")
    assert ended.status == 2
    assert re.search("Error: (balance=.* is not for Windows|reuse_port: this system shares no port out)", ended.err)


@pytest.mark.skipif(sys.platform != "linux", reason="the system does not share a port out")
def test_workers_answer_datagrams() -> None:
    with CliProcess("udp", "-p", "0", "--workers", "2", "--rate", "1000", "--stats") as process:
        address = process.listening()
        for _ in range(6):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(30)
                client.sendto(b"hello", address)
                assert client.recv(100) == b"hello"
        process.signal(signal.SIGTERM)
        ended = process.end()
    assert ended.status == 0, ended.err
    assert "stopped: 6 datagrams in, 6 out, 0 dropped" in ended.out
    assert '"datagrams_in": 6,' in ended.err
