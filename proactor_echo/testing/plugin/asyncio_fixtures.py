"""The asynchronous part of the plugin's fixtures, as pytest-asyncio runs it.

The loop of a fixture is fixed where the fixture is defined, and it must be the loop of the test. So there is one of
each for every scope that a test's loop can have; the plugin asks for the one that fits (see :mod:`.runners`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from proactor_echo.testing.plugin.runners import SCOPES, open_resources, resources_of

if TYPE_CHECKING:
    from proactor_echo.testing.resources import Resources
    from proactor_echo.testing.servers import TcpTestServer, UdpTestServer

__all__: list[str] = []


def _fixtures(scope: Any) -> dict[str, object]:
    @pytest_asyncio.fixture(loop_scope=scope, name=f"_proactor_echo_resources_{scope}")
    async def resources(request: pytest.FixtureRequest) -> AsyncIterator[Resources]:
        # A loop that lives longer than the test may run tasks that are not the test's.
        async with open_resources(request, report_tasks=scope == "function") as opened:
            yield opened

    @pytest_asyncio.fixture(loop_scope=scope, name=f"_proactor_echo_tcp_server_{scope}")
    async def tcp_server(request: pytest.FixtureRequest) -> TcpTestServer:
        return await resources_of(request).tcp_server()

    @pytest_asyncio.fixture(loop_scope=scope, name=f"_proactor_echo_tls_server_{scope}")
    async def tls_server(request: pytest.FixtureRequest) -> TcpTestServer:
        return await resources_of(request).tcp_server(ssl=True)

    @pytest_asyncio.fixture(loop_scope=scope, name=f"_proactor_echo_udp_server_{scope}")
    async def udp_server(request: pytest.FixtureRequest) -> UdpTestServer:
        return await resources_of(request).udp_server()

    return {f"{name}_{scope}": made for name, made in vars().items() if name != "scope"}


for _scope in SCOPES:
    globals().update(_fixtures(_scope))
