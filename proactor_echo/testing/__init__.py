"""For tests: servers and faults as pytest fixtures, checks that codecs, transports and echo servers keep promises.

:mod:`~proactor_echo.testing.faults` describes what a network does to connections and datagrams. The fixtures are in
:mod:`~proactor_echo.testing.plugin`, which pytest finds by itself. The names here are those for annotations, and are
loaded when they are used: pytest loads the plugin at every start.
"""

import importlib
from typing import TYPE_CHECKING, Any

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

_MODULES = {
    ".proxy.udp": "UdpFaultProxy",
    ".proxy.tcp_link": "ProxiedConnection",
    ".proxy.tcp": "FaultProxy",
    ".resources": "FaultProxyFactory TcpClientFactory TcpServerFactory UdpFaultProxyFactory UdpServerFactory",
    ".plugin.runners": "LeftOpenWarning",
    ".servers": "TcpTestServer UdpTestServer",
    ".thread": "FaultProxyThread ServerThreadFactory TcpServerThread UdpServerThread",
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names.split()}

if not TYPE_CHECKING:  # a type checker would take every name for there

    def __getattr__(name: str) -> Any:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(home, __name__), name)
