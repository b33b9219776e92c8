"""--metrics: what the running command tells over HTTP."""

import signal
import socket

import pytest
from helpers.cli_process import CliProcess


def get(process: CliProcess, path: str) -> str:
    """Return the answer to a request at the address that the process has printed."""
    words = process.line().split()
    assert words[0] == "metrics"
    host, _, port = words[1].removeprefix("http://").removesuffix("/metrics").rpartition(":")
    return ask(host, int(port), path)


def ask(host: str, port: int, path: str) -> str:
    with socket.create_connection((host, port), 20) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = b""
        while data := client.recv(65536):
            answer += data
        return answer.decode()


@pytest.mark.parametrize("command", ["tcp", "udp"])
def test_the_command_tells_its_metrics(command: str) -> None:
    with CliProcess(command, "-p", "0", "--metrics", "127.0.0.1:0") as process:
        process.listening()
        answer = get(process, "/metrics")
        assert answer.startswith("HTTP/1.1 200 OK\r\n")
        assert "\nproactor_echo_received_bytes_total 0\n" in answer
        assert "\nproactor_echo_loop_lag_seconds_count " in answer


def test_without_the_option_nobody_is_told() -> None:
    with CliProcess("tcp", "-p", "0", "--stats") as process:
        process.listening()
        process.signal(signal.SIGINT)
        assert "metrics" not in process.end().out


def test_a_port_that_is_taken_stops_the_start_with_a_sentence() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        where = f"127.0.0.1:{taken.getsockname()[1]}"
        with CliProcess("tcp", "-p", "0", "--metrics", where) as process:
            ended = process.end()
    assert ended.status == 1
    assert where in ended.err
    assert "the port is in use" in ended.err


@pytest.mark.parametrize("address", ["9090", "localhost", "http://localhost:9090"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with CliProcess("tcp", "-p", "0", "--metrics", address) as process:
        ended = process.end()
    assert ended.status == 2
    assert "Invalid value for '--metrics'" in ended.err
