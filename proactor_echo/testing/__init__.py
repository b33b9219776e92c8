"""For tests: servers and faults as pytest fixtures, and conformance checks for codecs, transports and echo servers.

:mod:`~proactor_echo.testing.faults` describes what a network does to connections and datagrams. The fixtures are in
:mod:`~proactor_echo.testing.plugin`, which pytest finds by itself. The names here are those for annotations, and are
loaded when they are used: pytest loads the plugin at every start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proactor_echo._lazy import lazy_names

if TYPE_CHECKING:
    from proactor_echo.testing.plugin.runners import LeftOpenWarning
    from proactor_echo.testing.proxy.tcp import FaultProxy
    from proactor_echo.testing.proxy.tcp_link import ProxiedConnection
    from proactor_echo.testing.proxy.udp import UdpFaultProxy
    from proactor_echo.testing.resources import (
        FaultProxyFactory,
        TcpClientFactory,
        TcpServerFactory,
        UdpFaultProxyFactory,
        UdpServerFactory,
    )
    from proactor_echo.testing.servers import TcpTestServer, UdpTestServer
    from proactor_echo.testing.thread import FaultProxyThread, ServerThreadFactory, TcpServerThread, UdpServerThread

__all__ = [
    "FaultProxy",
    "FaultProxyFactory",
    "FaultProxyThread",
    "LeftOpenWarning",
    "ProxiedConnection",
    "ServerThreadFactory",
    "TcpClientFactory",
    "TcpServerFactory",
    "TcpServerThread",
    "TcpTestServer",
    "UdpFaultProxy",
    "UdpFaultProxyFactory",
    "UdpServerFactory",
    "UdpServerThread",
    "UdpTestServer",
]

_HOMES: Final = {
    "proactor_echo.testing.proxy.udp": "UdpFaultProxy",
    "proactor_echo.testing.proxy.tcp_link": "ProxiedConnection",
    "proactor_echo.testing.proxy.tcp": "FaultProxy",
    "proactor_echo.testing.resources": (
        "FaultProxyFactory TcpClientFactory TcpServerFactory UdpFaultProxyFactory UdpServerFactory"
    ),
    "proactor_echo.testing.plugin.runners": "LeftOpenWarning",
    "proactor_echo.testing.servers": "TcpTestServer UdpTestServer",
    "proactor_echo.testing.thread": "FaultProxyThread ServerThreadFactory TcpServerThread UdpServerThread",
}

if not TYPE_CHECKING:  # a type checker would take every name for there
    __getattr__, __dir__ = lazy_names(globals(), _HOMES)
