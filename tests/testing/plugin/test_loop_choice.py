"""A suite can be run on a loop of its choice, by the way that the installed pytest-asyncio offers."""

import importlib.util
import sys

import pytest
from helpers.suites import Run

from proactor_echo.testing.plugin import loop_choice

NAMES = """
import asyncio, pytest

@pytest.mark.asyncio
async def test_loop(tcp_echo_server, request):
    print("module of the loop:", type(asyncio.get_running_loop()).__module__)
    reader, writer = await asyncio.open_connection(*tcp_echo_server.address)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    writer.close()
    await writer.wait_closed()

def test_thread(server_thread_factory):
    async def handler(conn): pass
    server = server_thread_factory(handler)
    print("module of the thread's loop:", type(server._thread._loop).__module__)
"""

own_loop = pytest.mark.skipif(
    importlib.util.find_spec("proactor_echo.loops") is None, reason="this version has no loop of its own"
)


@own_loop
@pytest.mark.parametrize("how", ["option", "ini"])
def test_a_suite_runs_on_our_loop(run: Run, how: str) -> None:
    result = run(NAMES, "-s", *_choose("proactor_echo", how))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*module of the loop: proactor_echo.loops.*"])
    result.stdout.fnmatch_lines(["*module of the thread's loop: proactor_echo.loops.*"])


def test_a_suite_runs_on_the_stock_loop(run: Run) -> None:
    result = run(NAMES, "-s", *_choose("stock", "option"))
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*module of the loop: asyncio.*", "*module of the thread's loop: asyncio.*"])


@own_loop
def test_a_suite_runs_on_both_loops(run: Run) -> None:
    result = run(NAMES, "-s", *_choose("both", "option"))
    result.assert_outcomes(passed=3)
    result.stdout.fnmatch_lines(["*test_loop?proactor_echo?*", "*test_loop?stock?*"])


def test_without_the_option_the_loop_is_the_systems(run: Run) -> None:
    result = run(NAMES, "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*module of the loop: asyncio.*"])


def test_a_loop_that_there_is_not_is_a_usage_error(run: Run) -> None:
    result = run(NAMES, "-o", "proactor_echo_loop=trio")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(['ERROR: proactor_echo_loop must be "proactor_echo", "stock" or "both", not \'trio\''])


def test_without_pytest_asyncio_the_option_says_what_to_do(pytester: pytest.Pytester, run: Run) -> None:
    result = run(NAMES, "-p", "no:asyncio", "-o", "addopts=", "--proactor-echo-loop=stock")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --proactor-echo-loop needs pytest-asyncio; with AnyIO's plugin let*"])


@own_loop
@pytest.mark.skipif(sys.version_info >= (3, 14), reason="event loop policies are deprecated")
def test_an_older_pytest_asyncio_gets_policies(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    # A newer one still takes them, with a warning.
    monkeypatch.setattr(loop_choice, "_asks_a_hook", lambda config: False)
    result = run(NAMES, "-s", "-W", "ignore", *_choose("both", "option"))
    result.stdout.fnmatch_lines(["*module of the loop: proactor_echo.loops.*"])
    result.stdout.fnmatch_lines(["*module of the loop: asyncio.*"])
    result.assert_outcomes(passed=4)


def _choose(loop: str, how: str) -> list[str]:
    return [f"--proactor-echo-loop={loop}"] if how == "option" else ["-o", f"proactor_echo_loop={loop}"]
