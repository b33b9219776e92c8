"""A run under Wine ends as a whole, whatever it started, and says how it ended. Needs Wine, so it is asked for."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.windows import wines

ASKED = sys.platform != "win32" and bool(os.environ.get("PROACTOR_ECHO_WINE"))

pytestmark = pytest.mark.skipif(not ASKED, reason="asked for by PROACTOR_ECHO_WINE=1")

THIS_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(params=wines.available() if ASKED else ["none"])
def run(request: pytest.FixtureRequest) -> list[str]:
    """The command that starts the runner on each Wine."""
    runner = str(Path(__file__).with_name("run.py"))
    return [sys.executable, runner, "--python", THIS_VERSION, "--wine", request.param]


# A process with a child that is detached from it, connected to us, and would stay for ever.
CHILD = "import socket; s = socket.create_connection(('127.0.0.1', {port})); s.sendall(b'up'); s.recv(1)"
PARENT = "import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], creationflags=0x200)"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)
        yield server


def parent_and_child(listener: socket.socket) -> str:
    return PARENT.format(child=CHILD.format(port=listener.getsockname()[1]))


def wait_for_child(listener: socket.socket) -> socket.socket:
    child, _ = listener.accept()
    child.settimeout(30)
    assert child.recv(2) == b"up"
    return child


def assert_ended(child: socket.socket) -> None:
    with child, contextlib.suppress(ConnectionResetError):
        assert child.recv(1) == b""


def test_the_exit_status_and_both_output_streams_are_the_programs_own(run: list[str]) -> None:
    program = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)"
    done = subprocess.run([*run, "--exec", "--", "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.split(), done.stderr.split()) == (7, ["out"], ["err"])


def test_the_exit_status_of_pytest_is_passed_on(run: list[str]) -> None:
    nothing_selected = [*run, "tests/tools/windows", "-k", "no_such_test"]
    done = subprocess.run(nothing_selected, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.NO_TESTS_COLLECTED, done.stdout


def test_sessions_side_by_side_share_the_tests_and_end_with_one_sum(run: list[str]) -> None:
    command = [*run, "--jobs", "2", "tests/tools/windows/test_windows_python.py", "-k", "default or distribution"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert [line for line in done.stdout.splitlines() if line.startswith("shard ")] == [
        "shard 1 of 2: 1 tests",
        "shard 2 of 2: 1 tests",
    ]
    assert ": 2 passed, 4 deselected in 2 sessions, exit status 0 after " in done.stdout.splitlines()[-1]


def test_the_time_limit_ends_detached_processes_too(run: list[str], listener: socket.socket) -> None:
    command = [*run, "--timeout", "8", "--exec", "--", "-c", parent_and_child(listener)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as runner:
        child = wait_for_child(listener)
        _, told = runner.communicate(timeout=60)
    assert_ended(child)
    assert runner.returncode == 124
    assert "time limit of 8 s" in told


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_runner_ends_detached_processes_too(
    run: list[str], listener: socket.socket, number: signal.Signals, status: int
) -> None:
    with subprocess.Popen([*run, "--exec", "--", "-c", parent_and_child(listener)]) as runner:
        try:
            child = wait_for_child(listener)
            runner.send_signal(number)
            assert runner.wait(60) == status
        finally:
            runner.terminate()
    assert_ended(child)
