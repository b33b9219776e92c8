"""The asynchronous part of the plugin's fixtures, as AnyIO's plugin runs it: in the loop of the test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from proactor_echo.testing.plugin.runners import open_resources, resources_of

if TYPE_CHECKING:
    from proactor_echo.testing.resources import Resources
    from proactor_echo.testing.servers import TcpTestServer, UdpTestServer

__all__: list[str] = []


@pytest.fixture(name="_proactor_echo_resources_anyio")
async def resources(request: pytest.FixtureRequest) -> AsyncIterator[Resources]:
    """Hold what the test opens."""
    async with open_resources(request) as opened:
        yield opened


@pytest.fixture(name="_proactor_echo_tcp_server_anyio")
async def tcp_server(request: pytest.FixtureRequest) -> TcpTestServer:
    """Start the ready TCP server."""
    return await resources_of(request).tcp_server()


@pytest.fixture(name="_proactor_echo_tls_server_anyio")
async def tls_server(request: pytest.FixtureRequest) -> TcpTestServer:
    """Start the ready TLS server."""
    return await resources_of(request).tcp_server(ssl=True)


@pytest.fixture(name="_proactor_echo_udp_server_anyio")
async def udp_server(request: pytest.FixtureRequest) -> UdpTestServer:
    """Start the ready UDP server."""
    return await resources_of(request).udp_server()
