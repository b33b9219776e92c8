"""TCP and UDP servers and clients for asyncio, without the known bugs of Windows' ProactorEventLoop.

Everything an application needs is here; the modules below say how it works. Each name is loaded when it is first used,
so that importing the package costs next to nothing: pytest does it at every start, for the plugin.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proactor_echo._lazy import lazy_names
from proactor_echo._version import __version__ as __version__

if TYPE_CHECKING:
    from proactor_echo.errors import (
        BindError,
        ConnectFailed,
        DatagramTooLong,
        Disconnect,
        Disconnected,
        DisconnectReason,
        EndOfStream,
        FrameCorrupt,
        FrameTooLong,
        FrameTruncated,
        FramingError,
        ProactorEchoError,
        ProtocolStateError,
        ProxyHeaderError,
        TlsError,
        classify,
    )
    from proactor_echo.loops import EventLoop, new_event_loop, run
    from proactor_echo.net.guard_rule import GuardRule
    from proactor_echo.net.metrics import Metric, metrics_text
    from proactor_echo.net.proxy_protocol import ProxyProtocol
    from proactor_echo.net.rates import Rate
    from proactor_echo.net.stats import ConnectionStats, DatagramStats, DrainReport, ServerStats
    from proactor_echo.net.status import serve_status
    from proactor_echo.net.tcp.admission import RefusalReason
    from proactor_echo.net.tcp.client import connect_tcp
    from proactor_echo.net.tcp.connection import Connection
    from proactor_echo.net.tcp.deadlines import Deadlines
    from proactor_echo.net.tcp.limits import Limits, Penalties
    from proactor_echo.net.tcp.protocol import FramedProtocol
    from proactor_echo.net.tcp.serve import serve_tcp
    from proactor_echo.net.tcp.server import Server
    from proactor_echo.net.tcp.tls.description import Tls
    from proactor_echo.net.tcp.tls.files import TlsCertificate
    from proactor_echo.net.tcp.tls.info import TlsInfo
    from proactor_echo.net.udp import UdpEndpoint, UdpServer, bind_udp, connect_udp, serve_udp
    from proactor_echo.net.udp.guard import UdpGuard
    from proactor_echo.net.udp.handler import DatagramHandler
    from proactor_echo.net.udp.proxied import ProxiedAddress
    from proactor_echo.net.workers import UdpWorkers, WorkerError, Workers, serve_udp_workers, serve_workers
    from proactor_echo.rfc862 import EchoDatagramProtocol, EchoProtocol, echo
    from proactor_echo.sockets.addresses import Address, format_address, parse_host_port
    from proactor_echo.sockets.options import KeepAlive, SocketOptions
    from proactor_echo.sockets.tcp_info import TcpInfo, tcp_info
    from proactor_echo.wire import (
        Codec,
        Decoder,
        DelimiterCodec,
        FixedCodec,
        LengthCodec,
        LineCodec,
        NetstringCodec,
        PartialFrame,
        RawCodec,
        VarintCodec,
    )
    from proactor_echo.wire.lifecycle import ConnectionState
    from proactor_echo.wire.proxy_header import ProxyHeader, ProxyTls

__all__ = [
    "Address",
    "BindError",
    "Codec",
    "ConnectFailed",
    "Connection",
    "ConnectionState",
    "ConnectionStats",
    "DatagramHandler",
    "DatagramStats",
    "DatagramTooLong",
    "Deadlines",
    "Decoder",
    "DelimiterCodec",
    "Disconnect",
    "DisconnectReason",
    "Disconnected",
    "DrainReport",
    "EchoDatagramProtocol",
    "EchoProtocol",
    "EndOfStream",
    "EventLoop",
    "FixedCodec",
    "FrameCorrupt",
    "FrameTooLong",
    "FrameTruncated",
    "FramedProtocol",
    "FramingError",
    "GuardRule",
    "KeepAlive",
    "LengthCodec",
    "Limits",
    "LineCodec",
    "Metric",
    "NetstringCodec",
    "PartialFrame",
    "Penalties",
    "ProactorEchoError",
    "ProtocolStateError",
    "ProxiedAddress",
    "ProxyHeader",
    "ProxyHeaderError",
    "ProxyProtocol",
    "ProxyTls",
    "Rate",
    "RawCodec",
    "RefusalReason",
    "Server",
    "ServerStats",
    "SocketOptions",
    "TcpInfo",
    "Tls",
    "TlsCertificate",
    "TlsError",
    "TlsInfo",
    "UdpEndpoint",
    "UdpGuard",
    "UdpServer",
    "UdpWorkers",
    "VarintCodec",
    "WorkerError",
    "Workers",
    "bind_udp",
    "classify",
    "connect_tcp",
    "connect_udp",
    "echo",
    "format_address",
    "metrics_text",
    "new_event_loop",
    "parse_host_port",
    "run",
    "serve_status",
    "serve_tcp",
    "serve_udp",
    "serve_udp_workers",
    "serve_workers",
    "tcp_info",
]

# Where each name lives. A new public name goes here, into __all__, and into the imports that type checkers see.
_HOMES: Final = {
    "proactor_echo.sockets.addresses": "Address format_address parse_host_port",
    "proactor_echo.rfc862": "EchoDatagramProtocol EchoProtocol echo",
    "proactor_echo.errors": (
        "BindError ConnectFailed DatagramTooLong Disconnect Disconnected DisconnectReason EndOfStream "
        "FrameCorrupt FrameTooLong FrameTruncated FramingError ProactorEchoError ProtocolStateError "
        "ProxyHeaderError TlsError classify"
    ),
    "proactor_echo.loops": "EventLoop new_event_loop run",
    "proactor_echo.net.tcp.client": "connect_tcp",
    "proactor_echo.net.tcp.connection": "Connection",
    "proactor_echo.net.udp.handler": "DatagramHandler",
    "proactor_echo.net.udp.proxied": "ProxiedAddress",
    "proactor_echo.net.tcp.protocol": "FramedProtocol",
    "proactor_echo.net.tcp.admission": "RefusalReason",
    "proactor_echo.net.tcp.deadlines": "Deadlines",
    "proactor_echo.net.tcp.limits": "Limits Penalties",
    "proactor_echo.net.tcp.serve": "serve_tcp",
    "proactor_echo.net.tcp.server": "Server",
    "proactor_echo.net.metrics": "Metric metrics_text",
    "proactor_echo.net.proxy_protocol": "ProxyProtocol",
    "proactor_echo.net.rates": "Rate",
    "proactor_echo.net.guard_rule": "GuardRule",
    "proactor_echo.net.udp.guard": "UdpGuard",
    "proactor_echo.net.tcp.tls.description": "Tls",
    "proactor_echo.net.tcp.tls.files": "TlsCertificate",
    "proactor_echo.net.tcp.tls.info": "TlsInfo",
    "proactor_echo.net.status": "serve_status",
    "proactor_echo.net.stats": "ConnectionStats DatagramStats DrainReport ServerStats",
    "proactor_echo.net.udp": "UdpEndpoint UdpServer bind_udp connect_udp serve_udp",
    "proactor_echo.net.workers": "UdpWorkers WorkerError Workers serve_udp_workers serve_workers",
    "proactor_echo.sockets.options": "KeepAlive SocketOptions",
    "proactor_echo.sockets.tcp_info": "TcpInfo tcp_info",
    "proactor_echo.wire": (
        "Codec Decoder DelimiterCodec FixedCodec LengthCodec LineCodec NetstringCodec PartialFrame RawCodec VarintCodec"
    ),
    "proactor_echo.wire.lifecycle": "ConnectionState",
    "proactor_echo.wire.proxy_header": "ProxyHeader ProxyTls",
}

if not TYPE_CHECKING:  # a type checker would take every name for there
    __getattr__, __dir__ = lazy_names(globals(), _HOMES)
