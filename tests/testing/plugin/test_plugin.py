"""The fixtures for asynchronous tests, in suites of every kind that pytest-asyncio runs."""

import subprocess
import sys

import pytest
from helpers.suites import Run

ECHO = """
import asyncio
import pytest
import pytest_asyncio

async def echoed(address, data):
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    writer.write_eof()
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_ready_servers_work_in_both_modes_of_pytest_asyncio(run: Run, mode: str) -> None:
    result = run(
        ECHO
        + """
@pytest.mark.asyncio
async def test_tcp(tcp_echo_server):
    assert await echoed(tcp_echo_server.address, b"hello") == b"hello"
    assert tcp_echo_server.address == (tcp_echo_server.host, tcp_echo_server.port)
    assert tcp_echo_server.received == tcp_echo_server.sent == b"hello"
    assert tcp_echo_server.stats.bytes_in == 5

@pytest.mark.asyncio
async def test_udp(udp_echo_server):
    loop = asyncio.get_running_loop()
    import proactor_echo
    async with await proactor_echo.connect_udp(*udp_echo_server.address) as endpoint:
        await endpoint.send(b"")
        assert (await endpoint.receive())[0] == b""
    assert udp_echo_server.received == udp_echo_server.sent == [b""]
    assert udp_echo_server.stats.datagrams_in == 1
""",
        f"--asyncio-mode={mode}",
    )
    result.assert_outcomes(passed=2)


def test_the_server_runs_in_the_loop_of_the_test_whatever_its_scope(run: Run) -> None:
    code = ECHO
    for scope in ("function", "class", "module", "package", "session"):
        code += f"""
class Test{scope.title()}:
    @pytest.mark.asyncio(loop_scope="{scope}")
    async def test_echo(self, tcp_echo_server):
        assert await echoed(tcp_echo_server.address, b"hello") == b"hello"

    @pytest.mark.asyncio(loop_scope="{scope}")
    async def test_again(self, tcp_echo_server, udp_echo_server, tcp_client_factory):
        conn = await tcp_client_factory(tcp_echo_server)
        await conn.send(b"hello")
        assert await conn.receive() == b"hello"
"""
    run(code).assert_outcomes(passed=10)


def test_the_default_scope_of_the_configuration_counts_too(run: Run) -> None:
    code = (
        ECHO
        + """
@pytest.mark.asyncio
async def test_echo(tcp_echo_server):
    assert await echoed(tcp_echo_server.address, b"hello") == b"hello"
"""
    )
    run(code, "-o", "asyncio_default_test_loop_scope=module").assert_outcomes(passed=1)


def test_other_fixtures_can_use_the_server_until_their_end(run: Run) -> None:
    result = run(
        ECHO
        + """
@pytest_asyncio.fixture
async def client(tcp_echo_server):
    reader, writer = await asyncio.open_connection(*tcp_echo_server.address)
    writer.write(b"login")
    assert await reader.readexactly(5) == b"login"
    yield reader, writer
    writer.write(b"logout")
    assert await reader.readexactly(6) == b"logout"
    writer.close()
    await writer.wait_closed()

@pytest.mark.asyncio
async def test_client(client, tcp_echo_server):
    assert [connection.received for connection in tcp_echo_server.connections] == [b"login"]
"""
    )
    result.assert_outcomes(passed=1)


def test_factories_make_several_servers_which_are_closed_last_in_first_out(run: Run) -> None:
    result = run(
        """
import pytest
import proactor_echo as pe

closed = []

def note_closing(server, name):
    close = server.close
    async def noted():
        closed.append(name)
        await close()
    server.close = noted

async def shout(conn):
    async for line in conn:
        await conn.send(line.upper())

@pytest.mark.asyncio
async def test_servers(tcp_server_factory, udp_server_factory, tcp_client_factory, fault_proxy, udp_fault_proxy):
    first = await tcp_server_factory(shout, codec=pe.LineCodec())
    second = await tcp_server_factory(protocol_factory=pe.EchoProtocol)
    third = await udp_server_factory()
    fourth = await fault_proxy(first.address)
    fifth = await udp_fault_proxy(third.address)
    servers = [first, second, third, fourth, fifth]
    for number, server in enumerate(servers):
        note_closing(server, number)
    assert len({server.seed for server in servers}) == 5
    conn = await tcp_client_factory(fourth, codec=pe.LineCodec())
    await conn.send(b"hello")
    assert await conn.receive() == b"HELLO"
    assert first.received == fourth.received

def test_order():
    assert closed == [4, 3, 2, 1, 0]
"""
    )
    result.assert_outcomes(passed=2)


def test_a_test_that_leaves_a_connection_or_a_task_is_told_so(run: Run) -> None:
    result = run(
        """
import asyncio
import pytest
import socket

left = []

@pytest.mark.asyncio
async def test_careless(tcp_echo_server):
    left.append(socket.create_connection(tcp_echo_server.address))
    left.append(asyncio.create_task(asyncio.sleep(100), name="forgotten"))

def test_next():
    left[0].close()
""",
        "-W",
        "default",
    )
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(
        [("*LeftOpenWarning: the test left open: a connection from 127.0.0.1:* to TcpTestServer 127.0.0.1:*; "
         "the task forgotten running sleep()")]
    )  # fmt: skip


def test_with_warnings_as_errors_what_is_left_open_is_an_error_of_that_test(run: Run) -> None:
    result = run(
        """
import pytest, socket

sockets = []

@pytest.mark.asyncio
async def test_careless(tcp_echo_server):
    sockets.append(socket.create_connection(tcp_echo_server.address))

def test_next():
    for sock in sockets:
        sock.close()
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(
        ["*ERROR at teardown of test_careless*", "*LeftOpenWarning: the test left open: a conn*"]
    )


def test_an_exception_in_a_handler_fails_the_test(run: Run) -> None:
    result = run(
        ECHO
        + """
async def handler(conn):
    assert await conn.receive() == b"login"

@pytest.mark.asyncio
async def test_fails(tcp_server_factory):
    server = await tcp_server_factory(handler)
    await echoed(server.address, b"hello")

@pytest.mark.asyncio
async def test_expects_it(tcp_server_factory):
    server = await tcp_server_factory(handler)
    await echoed(server.address, b"hello")
    assert isinstance(server.handler_errors.pop(), AssertionError)
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_fails*", "*assert b'hello' == b'login'"])


def test_a_blocking_test_is_told_what_to_use_instead(run: Run) -> None:
    result = run("def test_blocking(tcp_echo_server): ...")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["tcp_echo_server runs in the event loop of an asynchronous test, and test_blocking is not*"]
    )


def test_an_asynchronous_test_that_nobody_runs_is_told_what_to_do(run: Run) -> None:
    result = run("async def test_unmarked(udp_echo_server): ...", "--asyncio-mode=strict")
    result.stdout.fnmatch_lines(["udp_echo_server needs to know who runs test_unmarked: mark it with*"])


FAULTY = """
import pytest
from proactor_echo.testing.faults import Corrupt

@pytest.mark.asyncio
async def test_corrupt(tcp_echo_server, tcp_client_factory):
    with tcp_echo_server.fault(Corrupt(0.3)):
        conn = await tcp_client_factory(tcp_echo_server)
        await conn.send(bytes(30))
        data = b""
        while len(data) < 30:
            data += await conn.receive()
        print("got", data.hex())
        assert data == bytes(30)
"""


def test_a_failing_test_shows_its_faults_and_the_seed_that_repeats_them(run: Run) -> None:
    first = run(FAULTY)
    first.assert_outcomes(failed=1)
    first.stdout.fnmatch_lines(["*- faults -*", "TcpTestServer 127.0.0.1:*: Corrupt(rate=0.3, seed=*) hits=1"])
    (option,) = [line.split()[-1] for line in first.outlines if line.startswith("the same again: ")]
    (got,) = [line for line in first.outlines if line.startswith("got ")]
    second = run(FAULTY, option)
    assert got in second.outlines
    assert got not in run(FAULTY, "--proactor-echo-seed=1").outlines


def test_a_passing_test_shows_nothing(run: Run) -> None:
    assert "faults" not in run(FAULTY.replace("assert data == bytes(30)", ""), "-rA").stdout.str()


def test_loading_the_plugin_loads_nothing_of_the_network() -> None:
    # What pytest and pytest-asyncio need themselves is loaded before.
    code = """
import sys, pytest, pytest_asyncio.plugin
before = set(sys.modules)
import proactor_echo.testing.plugin
from proactor_echo.testing.plugin import asyncio_fixtures
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == [
        "proactor_echo",
        "proactor_echo._lazy",
        "proactor_echo._version",
        "proactor_echo.testing",
        "proactor_echo.testing.plugin",
        "proactor_echo.testing.plugin.asyncio_fixtures",
        "proactor_echo.testing.plugin.runners",
    ]


def test_the_fixtures_are_listed_with_what_they_do(run: Run) -> None:
    run("", "--fixtures").stdout.fnmatch_lines(
        ["tcp_echo_server -- *", "    Give a TCP echo server on a free port of 127.0.0.1, closed after the test: *"]
    )
