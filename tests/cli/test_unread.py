"""A server serves and stops although nobody reads what it prints: a log cannot stop it."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.cli_process import TIMEOUT, CliProcess
from helpers.recording import reset

#: Their lines fill any pipe: 64 KiB on Linux.
RESETS = 1200

BLOCK = os.urandom(1 << 16)

LOOPS = pytest.mark.parametrize("loop", ["own", "stock"])


def reset_client(address: tuple[str, int]) -> None:
    """Connect, send a byte, get it back, reset."""
    with socket.create_connection(address, timeout=TIMEOUT) as client:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        reset(client)


def assert_echoes(address: tuple[str, int], data: bytes = b"still there") -> None:
    with socket.create_connection(address, timeout=TIMEOUT) as client:
        client.sendall(data)
        with client.makefile("rb") as stream:
            assert stream.read(len(data)) == data


def test_resets_whose_lines_nobody_reads_stop_nothing() -> None:
    with contextlib.ExitStack() as stack:
        clis = [
            stack.enter_context(CliProcess("tcp", "--port", "0", "--loop", loop, unread=True))
            for loop in ("own", "stock")
        ]
        for cli in clis:
            address = cli.listening()
            for _ in range(RESETS):
                reset_client(address)
            assert_echoes(address)
        for cli in clis:  # both wait for a reader at the same time
            cli.signal(signal.SIGTERM)
        for cli in clis:
            assert cli.line().startswith("stopped: ")
            assert cli.wait() == 0


@LOOPS
def test_a_connection_costs_one_line_and_no_line_is_lost_on_a_reader_who_is_late(loop: str) -> None:
    # Verbose, since under Wine some resets are seen as an end of file.
    with CliProcess("tcp", "--port", "0", "--loop", loop, "--verbose", unread=True) as cli:
        address = cli.listening()
        for _ in range(RESETS):
            reset_client(address)
        assert_echoes(address)
        cli.read_errors()
        cli.signal(signal.SIGTERM)
        ended = cli.end()
    assert ended.status == 0
    assert sum(" 127.0.0.1:" in line for line in ended.err.splitlines()) == RESETS + 1


def test_a_hex_dump_that_nobody_reads_stops_nothing_and_reports_what_is_missing() -> None:
    with CliProcess("tcp", "--port", "0", "--hex-dump", "--stats", unread=True) as cli:
        address = cli.listening()
        for _ in range(16):
            assert_echoes(address, BLOCK)
        cli.read_errors()
        cli.signal(signal.SIGTERM)
        ended = cli.end()
    assert ended.status == 0
    assert " log lines were dropped: nobody read them\n" in ended.err
    assert ended.err.splitlines()[-1].startswith('{"protocol": "tcp"')


def test_it_stops_when_nobody_reads_the_pipe_that_both_streams_go_to() -> None:
    program = [sys.executable, "-m", "proactor_echo", "tcp", "--port", "0", "--hex-dump"]
    if sys.platform == "win32":
        pytest.skip("nobody can send a signal to a process there")
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0) as server:
        assert server.stdout is not None
        address = ("127.0.0.1", int(server.stdout.read(100).decode().rpartition(":")[2]))
        assert_echoes(address, BLOCK)
        assert_echoes(address, BLOCK)
        server.terminate()
        assert server.wait(TIMEOUT) == 0


@contextlib.contextmanager
def full_disk() -> Iterator[int]:
    with open("/dev/full", "wb") as full:
        yield full.fileno()


@contextlib.contextmanager
def nobody() -> Iterator[int]:
    """Make a pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        yield pipe.fileno()


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param(
            full_disk, marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="the full disk that Linux has")
        ),
        nobody,
    ],
)
def test_it_serves_and_stops_when_its_log_cannot_be_written(
    errors: Callable[[], contextlib.AbstractContextManager[int]],
) -> None:
    with errors() as descriptor, CliProcess("tcp", "--port", "0", "--hex-dump", errors=descriptor) as cli:
        address = cli.listening()
        for _ in range(3):
            reset_client(address)
        assert_echoes(address)
        cli.signal(signal.SIGTERM)
        assert cli.line().startswith("stopped: ")
        assert cli.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="closed descriptors cannot be handed to a program there")
def test_it_serves_and_stops_when_its_streams_are_closed(tmp_path: Path) -> None:
    port = free_port()
    script = f'exec "{sys.executable}" -m proactor_echo tcp --port {port} --hex-dump >&- 2>&-'
    with subprocess.Popen(["sh", "-c", script]) as server:
        reset_client(wait_for(port))
        assert_echoes(("127.0.0.1", port))
        server.terminate()
        assert server.wait(TIMEOUT) == 0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(port: int) -> tuple[str, int]:
    address = ("127.0.0.1", port)
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(address, timeout=TIMEOUT):
            return address
