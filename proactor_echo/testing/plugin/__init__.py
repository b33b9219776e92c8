"""The pytest plugin: echo servers, servers of your own, clients and faults as fixtures.

pytest loads this module at every start in every project where the package is installed, so it imports nothing but
pytest; what the fixtures need is loaded when a test asks for one.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING, Any, Final, cast

import pytest

if TYPE_CHECKING:
    from proactor_echo.testing.resources import (
        FaultProxyFactory,
        Resources,
        TcpClientFactory,
        TcpServerFactory,
        UdpFaultProxyFactory,
        UdpServerFactory,
    )
    from proactor_echo.testing.servers import TcpTestServer, UdpTestServer
    from proactor_echo.testing.thread import ServerThreadFactory, TcpServerThread, UdpServerThread

# -- for asynchronous tests --------------------------------------------------------------------------------------------


@pytest.fixture
def tcp_echo_server(request: pytest.FixtureRequest, _proactor_echo_resources: Resources) -> TcpTestServer:
    """Give a TCP echo server on a free port of 127.0.0.1, closed after the test: a TcpTestServer."""
    from proactor_echo.testing.plugin.runners import fixture_for

    return cast("TcpTestServer", fixture_for(request, "tcp_server"))


@pytest.fixture
def tls_echo_server(request: pytest.FixtureRequest, _proactor_echo_resources: Resources) -> TcpTestServer:
    """Give a TCP echo server that speaks TLS with a certificate for tests: a TcpTestServer.

    ``tls_echo_server.client_context()`` is what a client needs, or ``.ca_file``.
    """
    from proactor_echo.testing.plugin.runners import fixture_for

    return cast("TcpTestServer", fixture_for(request, "tls_server"))


@pytest.fixture
def udp_echo_server(request: pytest.FixtureRequest, _proactor_echo_resources: Resources) -> UdpTestServer:
    """Give a UDP echo server on a free port of 127.0.0.1, closed after the test: a UdpTestServer."""
    from proactor_echo.testing.plugin.runners import fixture_for

    return cast("UdpTestServer", fixture_for(request, "udp_server"))


@pytest.fixture
def tcp_server_factory(_proactor_echo_resources: Resources) -> TcpServerFactory:
    """Make TCP servers.

    ``server = await tcp_server_factory(handler, codec=…, ssl=…, options=…)``.
    """
    return _proactor_echo_resources.tcp_server


@pytest.fixture
def udp_server_factory(_proactor_echo_resources: Resources) -> UdpServerFactory:
    """Make UDP servers.

    ``server = await udp_server_factory(MyProtocol)``.
    """
    return _proactor_echo_resources.udp_server


@pytest.fixture
def tcp_client_factory(_proactor_echo_resources: Resources) -> TcpClientFactory:
    """Make TCP connections that are closed after the test.

    ``conn = await tcp_client_factory(server, codec=…)``.
    """
    return _proactor_echo_resources.tcp_client


@pytest.fixture
def fault_proxy(_proactor_echo_resources: Resources) -> FaultProxyFactory:
    """Put TCP proxies with faults in front of any address.

    ``proxy = await fault_proxy(("127.0.0.1", 5432))``.
    """
    return _proactor_echo_resources.fault_proxy


@pytest.fixture
def udp_fault_proxy(_proactor_echo_resources: Resources) -> UdpFaultProxyFactory:
    """Put UDP proxies with faults in front of any address.

    ``proxy = await udp_fault_proxy(("127.0.0.1", 53))``.
    """
    return _proactor_echo_resources.udp_fault_proxy


@pytest.fixture
def _proactor_echo_resources(request: pytest.FixtureRequest) -> Resources:
    from proactor_echo.testing.plugin.runners import fixture_for

    return cast("Resources", fixture_for(request, "resources"))


# -- for tests that block ----------------------------------------------------------------------------------------------


@pytest.fixture
def echo_server_thread(server_thread_factory: ServerThreadFactory) -> TcpServerThread:
    """Give a TCP echo server in a background thread: a TcpServerThread."""
    return server_thread_factory()


@pytest.fixture
def udp_echo_server_thread(server_thread_factory: ServerThreadFactory) -> UdpServerThread:
    """Give a UDP echo server in a background thread: a UdpServerThread."""
    return server_thread_factory.udp()


@pytest.fixture
def server_thread_factory(request: pytest.FixtureRequest) -> Iterator[ServerThreadFactory]:
    """Make servers in a background thread.

    ``server = server_thread_factory(handler)``, ``….udp()``.
    """
    from proactor_echo.testing.plugin.runners import remember, seed_of, warn_left_open
    from proactor_echo.testing.thread import ServerThreadFactory

    factory = ServerThreadFactory(
        seed_of(request), request.config.stash[THREAD_LOOP], lambda resources: remember(request, resources)
    )
    yield factory
    warn_left_open(request, factory.close())


#: What makes the loop of a server thread, ``None`` for asyncio's own choice.
THREAD_LOOP: Final = pytest.StashKey[Any]()


# -- pytest's hooks ----------------------------------------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("proactor_echo", "proactor_echo: servers and faults as fixtures")
    group.addoption(
        "--proactor-echo-seed",
        type=int,
        metavar="N",
        help="the number that all faults without a seed of their own depend on; a failing test shows it",
    )
    group.addoption(
        "--proactor-echo-loop",
        choices=("proactor_echo", "stock", "both"),
        help="the event loop of asynchronous tests (with pytest-asyncio) and of server threads",
    )
    parser.addini("proactor_echo_loop", "default for --proactor-echo-loop", default="")


def pytest_configure(config: pytest.Config) -> None:
    """Register what fits the plugins that are there."""
    from proactor_echo.testing.plugin.runners import RUN_SEED

    seed = config.getoption("proactor_echo_seed")
    config.stash[RUN_SEED] = random.SystemRandom().randrange(1 << 32) if seed is None else seed
    plugins = config.pluginmanager
    if plugins.has_plugin("asyncio"):
        # pytest-asyncio before 0.24 has no loop_scope. pytest must start with it too; a test that needs it says so.
        with contextlib.suppress(TypeError):
            from proactor_echo.testing.plugin import asyncio_fixtures

            plugins.register(asyncio_fixtures, "proactor_echo_asyncio")
    if plugins.has_plugin("anyio"):
        from proactor_echo.testing.plugin import anyio_fixtures

        plugins.register(anyio_fixtures, "proactor_echo_anyio")
    choice = config.getoption("proactor_echo_loop") or config.getini("proactor_echo_loop")
    config.stash[THREAD_LOOP] = None
    if choice:
        from proactor_echo.testing.plugin.loop_choice import choose_loop

        config.stash[THREAD_LOOP] = choose_loop(config, choice)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show the faults of a test that failed, and how to get the same again."""
    report = yield
    if report.failed:
        from proactor_echo.testing.plugin.runners import faults_of

        if text := faults_of(item):
            report.sections.append(("faults", text))
    return report
