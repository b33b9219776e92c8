"""Completion-style asyncio networking, right on Windows by default and the same everywhere else.

Everything an application needs is here; the modules below say how it works.
"""

from .addresses import format_address, parse_host_port
from .echo import EchoDatagramProtocol, EchoProtocol, echo
from .errors import (
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
    classify,
)
from .net.client import connect_tcp
from .net.connection import Connection
from .net.datagram_protocol import DatagramHandler
from .net.protocol import FramedProtocol
from .net.server import Server, serve_tcp
from .net.stats import ConnectionStats, DatagramStats, DrainReport, ServerStats
from .net.udp import UdpEndpoint, UdpServer, bind_udp, connect_udp, serve_udp
from .sockopts import KeepAlive, SocketOptions
from .wire.framing import (
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
from .wire.state import ConnectionState

__all__ = [
    "BindError",
    "Codec",
    "ConnectFailed",
    "Connection",
    "ConnectionState",
    "ConnectionStats",
    "DatagramHandler",
    "DatagramStats",
    "DatagramTooLong",
    "Decoder",
    "DelimiterCodec",
    "Disconnect",
    "DisconnectReason",
    "Disconnected",
    "DrainReport",
    "EchoDatagramProtocol",
    "EchoProtocol",
    "EndOfStream",
    "FixedCodec",
    "FrameCorrupt",
    "FrameTooLong",
    "FrameTruncated",
    "FramedProtocol",
    "FramingError",
    "KeepAlive",
    "LengthCodec",
    "LineCodec",
    "NetstringCodec",
    "PartialFrame",
    "ProactorEchoError",
    "ProtocolStateError",
    "RawCodec",
    "Server",
    "ServerStats",
    "SocketOptions",
    "UdpEndpoint",
    "UdpServer",
    "VarintCodec",
    "bind_udp",
    "classify",
    "connect_tcp",
    "connect_udp",
    "echo",
    "format_address",
    "parse_host_port",
    "serve_tcp",
    "serve_udp",
]

__version__ = "0.1.0"
