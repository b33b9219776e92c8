"""The same fixtures in suites that AnyIO's plugin runs, with and without pytest-asyncio beside it."""

import importlib.util

import pytest

pytestmark = pytest.mark.skipif(importlib.util.find_spec("anyio") is None, reason="AnyIO is not installed")

SUITE = """
import anyio
import pytest
from proactor_echo.testing.faults import Latency

pytestmark = pytest.mark.anyio

async def echoed(address, data):
    async with await anyio.connect_tcp(*address) as stream:
        await stream.send(data)
        return await stream.receive()

@pytest.fixture
async def client(tcp_echo_server):
    async with await anyio.connect_tcp(*tcp_echo_server.address) as stream:
        await stream.send(b"login")
        assert await stream.receive() == b"login"
        yield stream
        await stream.send(b"logout")
        assert await stream.receive() == b"logout"

class TestAsyncio:
    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    async def test_echo(self, tcp_echo_server, udp_echo_server):
        with tcp_echo_server.fault(Latency(0.01)):
            assert await echoed(tcp_echo_server.address, b"hello") == b"hello"

    async def test_fixture(self, client, tcp_server_factory, tcp_client_factory):
        await client.send(b"hello")
        assert await client.receive() == b"hello"
        conn = await tcp_client_factory(await tcp_server_factory())
        await conn.send(b"hello")
        assert await conn.receive() == b"hello"

class TestTrio:
    @pytest.fixture
    def anyio_backend(self):
        return "trio"

    async def test_loop(self, tcp_echo_server): ...

    async def test_thread(self, echo_server_thread):
        assert await echoed(echo_server_thread.address, b"hello") == b"hello"
"""


def suite(pytester: pytest.Pytester, *options: str) -> pytest.RunResult:
    ini = "[pytest]\nfilterwarnings = error\n"
    if "no:asyncio" not in options:
        ini += "asyncio_default_fixture_loop_scope = function\n"
    pytester.makeini(ini)
    pytester.makepyfile(test_suite=SUITE)
    return pytester.runpytest_subprocess("-p", "no:cacheprovider", *options)


@pytest.mark.parametrize("options", [["-p", "no:asyncio"], [], ["--anyio-mode=auto"]], ids=str)
def test_the_fixtures_work_in_the_loop_of_anyio(pytester: pytest.Pytester, options: list[str]) -> None:
    suite(pytester, *options, "-k", "TestAsyncio").assert_outcomes(passed=2, deselected=2)


@pytest.mark.skipif(importlib.util.find_spec("trio") is None, reason="Trio is not installed")
def test_on_trio_the_threads_work_and_the_others_say_so(pytester: pytest.Pytester) -> None:
    result = suite(pytester, "-k", "TestTrio")
    result.assert_outcomes(passed=1, errors=1, deselected=2)
    result.stdout.fnmatch_lines(["tcp_echo_server needs asyncio, and test_loop* runs on trio; server_thread_factory*"])


def test_a_test_that_both_plugins_claim_is_told_so(pytester: pytest.Pytester) -> None:
    result = suite(pytester, "--asyncio-mode=auto", "-k", "test_echo")
    result.assert_outcomes(errors=1, deselected=3)
    result.stdout.fnmatch_lines(["pytest-asyncio runs test_echo, and AnyIO's plugin would run tcp_echo_server*"])
