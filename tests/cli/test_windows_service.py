"""``proactor-echo service`` with the system's own service control manager: under Wine, its services.exe."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.cli_process import wait_for_line

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="services are for Windows")

NAME = "proactor_echo-test"


def run(*command: str) -> str:
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, (command, ended.stdout, ended.stderr)
    return ended.stdout


def service(*arguments: str) -> str:
    return run(sys.executable, "-m", "proactor_echo", "service", *arguments)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    """Where the service prints; the service is removed at the end, whatever the test did."""
    yield tmp_path / "log"
    subprocess.run([sys.executable, "-m", "proactor_echo", "service", "remove", NAME], capture_output=True, check=False)


def serving(log: Path) -> tuple[str, int]:
    host, port = wait_for_line(log, r"^listening \w+ (.*):(\d+)$").groups()
    return host, int(port)


def test_a_service_is_installed_started_stopped_and_removed(log: Path) -> None:
    server = ("--", "tcp", "-p", "0", "--stats")
    installed = service(
        "install", NAME, "--start", "manual", "--account", "LocalSystem", "--log-file", str(log), *server
    )
    assert installed == f"installed the service {NAME}\n"
    run("sc", "start", NAME)
    with socket.create_connection(serving(log), 30) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    assert service("remove", NAME) == f"removed the service {NAME}\n"
    wait_for_line(log, r"^stopped: ")
    missing = subprocess.run(["sc", "start", NAME], capture_output=True, timeout=60, check=False)
    assert missing.returncode != 0


def test_a_service_with_workers(log: Path) -> None:
    server = ("--", "tcp", "-p", "0", "--workers", "2")
    service("install", NAME, "--start", "manual", "--account", "LocalSystem", "--log-file", str(log), *server)
    run("sc", "start", NAME)
    with socket.create_connection(serving(log), 60) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"
    service("remove", NAME)
    wait_for_line(log, r"^stopped: ")


def test_nobody_but_the_manager_runs_a_service() -> None:
    command = [sys.executable, "-m", "proactor_echo", "service", "run", NAME, "--", "tcp"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "Windows did not start this process as a service" in ended.stderr
