"""Runs of pytest side by side: one output after the other, one sum, and an exit status that hides nothing."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tools.windows.side_by_side import Total, add_up

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the runner starts Wine from another system")

PASSED = b"====== 20 passed, 3 skipped in 12.25s ======\n"
COLOURED = b"\x1b[32m\x1b[32m\x1b[1m2 passed\x1b[0m, \x1b[33m1 skipped\x1b[0m\x1b[32m in 0.12s\x1b[0m\x1b[0m\n"
FAILED = b"FAILED tests/test_a.py::test_b - assert 1 == 2\n=== 1 failed, 19 passed, 1 error in 70.00s (0:01:10) ===\n"

#: Runs the commands in its arguments, each a Python program, side by side.
PROGRAM = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[2])!r})
from tools.windows import session, side_by_side
with session.terminate_as_exit():
    total = side_by_side.run([[sys.executable, "-c", program] for program in sys.argv[1:]])
print(total.counts)
sys.exit(total.status)
"""


@pytest.mark.parametrize(
    ("statuses", "outputs", "total"),
    [
        ([0, 0], [PASSED, PASSED], Total(0, "40 passed, 6 skipped")),
        ([0, 1], [PASSED, FAILED], Total(1, "1 failed, 39 passed, 3 skipped, 1 errors", ("tests/test_a.py::test_b",))),
        ([0, 0], [PASSED, COLOURED], Total(0, "22 passed, 4 skipped")),
        ([0, 5], [PASSED, b"=== no tests ran in 0.01s ===\n"], Total(0, "20 passed, 3 skipped")),
        ([5, 5], [b"no tests ran in 0.01s\n"] * 2, Total(5, "no tests ran")),
        ([0, 124], [PASSED, b"..."], Total(124, "20 passed, 3 skipped, 1 of 2 ended without a summary")),
        ([0, -9], [PASSED, PASSED], Total(-9, "40 passed, 6 skipped")),
        ([0, 0], [PASSED, b"Python died, unheard"], Total(1, "20 passed, 3 skipped, 1 of 2 ended without a summary")),
        ([0, 0], [b"30 passed in 1.00s\n" + PASSED, PASSED], Total(0, "40 passed, 6 skipped")),  # the last one counts
    ],
)  # fmt: skip
def test_the_sum_of_several_runs(statuses: list[int], outputs: list[bytes], total: Total) -> None:
    assert add_up(statuses, outputs) == total


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (b"FAILED tests/test_a.py::test_b[1 - 2] - assert 1 == 2", "tests/test_a.py::test_b[1"),  # not found again
        (b"FAILED tests/test_a.py::test_b[a b]", "tests/test_a.py::test_b[a b]"),
        (b"\x1b[31mERROR\x1b[0m tests/test_a.py::\x1b[1mtest_b\x1b[0m - OSError: x - y\r", "tests/test_a.py::test_b"),
    ],
)
def test_what_failed_is_known_by_its_name(line: bytes, name: str) -> None:
    total = add_up([1, 0], [line + b"\n1 failed in 1.00s\n", PASSED])
    assert total.failed == (name,)
    assert total.worth_another_run


def test_what_fails_in_numbers_or_never_ends_does_not_fail_by_chance() -> None:
    many = b"".join(b"FAILED tests/test_a.py::test_%d\n" % number for number in range(11))
    assert not add_up([1], [many + b"11 failed in 1.00s\n"]).worth_another_run
    assert not add_up([1, 124], [FAILED, b"..."]).worth_another_run
    assert not add_up([0], [PASSED]).worth_another_run


def side_by_side(*programs: str) -> list[str]:
    return [sys.executable, "-c", PROGRAM, *programs]


def test_outputs_come_one_after_the_other_and_the_sum_last() -> None:
    one = "import time; print('one'); time.sleep(0.2); print('1 passed in 0.20s')"
    other = "import sys; print('other', file=sys.stderr); print('1 failed in 0.00s'); sys.exit(1)"
    ended = subprocess.run(side_by_side(one, other), capture_output=True, text=True, timeout=60, check=False)
    lines = ["one", "1 passed in 0.20s", "other", "1 failed in 0.00s", "1 failed, 1 passed"]
    assert (ended.stdout.splitlines(), ended.returncode) == (lines, 1)


def test_they_run_at_the_same_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        program = (
            f"import socket; socket.create_connection({listener.getsockname()!r}).recv(1); print('1 passed in 1s')"
        )
        with subprocess.Popen(side_by_side(program, program), stdout=subprocess.PIPE) as running:
            clients = [listener.accept()[0] for _ in range(2)]  # neither ends before this
            for client in clients:
                client.close()
            assert running.communicate(timeout=60)[0].splitlines()[-1] == b"2 passed"


@pytest.mark.usefixtures("interruptible")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_them_all(number: signal.Signals) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        program = f"import socket; socket.create_connection({listener.getsockname()!r}).recv(1)"
        with subprocess.Popen(side_by_side(program, program), stderr=subprocess.DEVNULL) as running:
            try:
                clients = [listener.accept()[0] for _ in range(2)]
                running.send_signal(number)
                assert running.wait(60) != 0
            finally:
                running.terminate()
        for client in clients:
            with client:
                client.settimeout(60)
                assert client.recv(1) == b""
