"""Tests that use the fixtures can run side by side."""

import asyncio
import importlib.util

import pytest

from proactor_echo.testing import TcpClientFactory, TcpServerFactory

CODE = """
import asyncio
import pytest

@pytest.mark.asyncio
@pytest.mark.parametrize("number", range(30))
async def test_echo(tcp_echo_server, udp_echo_server, tcp_client_factory, number):
    conn = await tcp_client_factory(tcp_echo_server)
    await conn.send(b"%d" % number)
    assert await conn.receive() == b"%d" % number
    assert tcp_echo_server.received == b"%d" % number
"""


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="pytest-xdist is not installed")
def test_tests_in_several_processes_do_not_meet(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nasyncio_default_fixture_loop_scope = function\nfilterwarnings = error\n")
    pytester.makepyfile(test_suite=CODE)
    pytester.runpytest_subprocess("-p", "no:cacheprovider", "-n", "2").assert_outcomes(passed=30)


async def test_servers_made_at_once_do_not_meet(
    tcp_server_factory: TcpServerFactory, tcp_client_factory: TcpClientFactory
) -> None:
    servers = await asyncio.gather(*(tcp_server_factory() for _ in range(10)))
    assert len({server.port for server in servers}) == 10
    for number, server in enumerate(servers):
        conn = await tcp_client_factory(server)
        await conn.send(b"%d" % number)
        assert await conn.receive() == b"%d" % number
