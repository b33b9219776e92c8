"""--systemd: sockets that systemd has bound, and notes to it; systemd is a socket of the test."""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_process import CliProcess
from helpers.command_line import CommandLine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no systemd, and no sockets of Unix")


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """The socket on which systemd gets notes; processes of the test find it."""
    if sys.platform == "win32":
        pytest.skip("no sockets of Unix")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(30)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield sock


def echoes(address: tuple[str, int]) -> bool:
    with socket.create_connection(address, 30) as client:
        client.sendall(b"hello")
        client.shutdown(socket.SHUT_WR)
        answer = b""
        while data := client.recv(100):
            answer += data
        return answer == b"hello"


@pytest.mark.parametrize("command", ["tcp", "udp"])
def test_systemd_is_told_when_it_serves_and_when_it_ends(command: str, notes: socket.socket, cli: CommandLine) -> None:
    ended = cli.run(command, "-p", "0", "--systemd")
    assert ended.status == 0
    address = ended.out.split()[2]
    assert notes.recv(1000).decode() == f"READY=1\nSTATUS=serves {address}"
    assert notes.recv(1000) == b"STOPPING=1"
    assert "NOTIFY_SOCKET" not in os.environ


def test_systemd_is_told_by_the_supervisor_alone(notes: socket.socket) -> None:
    with CliProcess("tcp", "--workers", "1", "-p", "0", "--systemd") as process:
        host, port = process.listening()
        assert notes.recv(1000).decode() == f"READY=1\nSTATUS=serves {host}:{port}"
        process.signal(signal.SIGTERM)
        assert notes.recv(1000) == b"STOPPING=1"
        assert process.end().status == 0


def test_systemd_is_told_while_workers_are_replaced(notes: socket.socket) -> None:
    with CliProcess("tcp", "-p", "0", "--systemd", "--workers", "1") as process:
        process.listening()
        notes.recv(1000)
        process.signal(signal.Signals["SIGHUP"])
        first, second = notes.recv(1000).decode().splitlines()
        assert first == "RELOADING=1"
        assert second.removeprefix("MONOTONIC_USEC=").isdecimal()
        assert notes.recv(1000).startswith(b"READY=1\n")


def test_the_watchdog_hears_from_the_event_loop(notes: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "100000")
    with CliProcess("tcp", "-p", "0", "--systemd") as process:
        process.listening()
        notes.recv(1000)
        assert [notes.recv(1000) for _ in range(5)] == [b"WATCHDOG=1"] * 5


def test_nobody_is_told_without_the_option(notes: socket.socket) -> None:
    with CliProcess("tcp", "-p", "0") as process:
        process.listening()
        process.signal(signal.SIGTERM)
        process.end()
    notes.setblocking(False)
    with pytest.raises(BlockingIOError):
        notes.recv(1000)


def test_sockets_of_another_process_are_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LISTEN_PID", "1")
    monkeypatch.setenv("LISTEN_FDS", "1")
    with CliProcess("tcp", "-p", "0", "--systemd") as process:
        assert echoes(process.listening())


def with_descriptor(*arguments: str, descriptor: int) -> subprocess.Popen[bytes]:
    """Run the command with a descriptor as its number 3, as systemd does."""
    code = (
        f"import os, sys; os.dup2({descriptor}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        "os.execv(sys.executable, [sys.executable, '-m', 'proactor_echo', *sys.argv[1:]])"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        pass_fds=[descriptor, 3],
        stdout=subprocess.PIPE,
        env={**os.environ, "LISTEN_FDS": "1"},
    )


@pytest.mark.parametrize("workers", [[], ["--workers", "1"]], ids=["one process", "workers"])
def test_a_socket_of_systemds_is_served(workers: list[str]) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        with with_descriptor("tcp", "--systemd", *workers, descriptor=listener.fileno()) as process:
            assert process.stdout is not None
            host, port = listener.getsockname()
            assert process.stdout.readline().decode() == f"listening tcp {host}:{port}\n"
            assert echoes((host, port))
            process.terminate()
            process.stdout.read()
        assert process.returncode == 0
        listener.setblocking(False)  # it listens on: systemd holds it


@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"NOTIFY_SOCKET": "relative"}, "NOTIFY_SOCKET is 'relative', which is no path and no abstract name"),
        ({"WATCHDOG_USEC": "soon"}, "WATCHDOG_USEC is 'soon', which is no number"),
        ({"LISTEN_FDS": "x"}, "LISTEN_FDS is 'x', which is no number"),
    ],
)
def test_variables_that_make_no_sense_are_told(
    variables: dict[str, str], sentence: str, cli: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = cli.run("tcp", "-p", "0", "--systemd")
    assert ended.status == 1
    assert f"Error: {sentence}" in ended.err


@pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate")
def test_systemds_own_tool_hands_a_socket_over() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    command = ["systemd-socket-activate", "-l", f"127.0.0.1:{port}", sys.executable, "-m", "proactor_echo"]
    with subprocess.Popen([*command, "tcp", "--systemd"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        for _ in range(1000):
            try:
                assert echoes(("127.0.0.1", port))  # which starts the service
                break
            except ConnectionRefusedError:
                assert process.poll() is None
        process.terminate()
        assert process.stdout is not None
        assert f"listening tcp 127.0.0.1:{port}\n".encode() in process.stdout.read()
