"""The transport of a datagram socket: the running loop's own where it is one of ours, else the one of ``net.stock``."""

from __future__ import annotations

import asyncio
import socket

from proactor_echo.net.loop_api import UdpTransport, native
from proactor_echo.net.stock import datagram_loops

__all__ = ["open_transport"]


def open_transport(protocol: asyncio.DatagramProtocol, sock: socket.socket) -> UdpTransport:
    """Start a transport for ``protocol`` on a bound, non-blocking ``sock``, which it will close.

    ``protocol.connection_made`` is called in the next iteration of the loop.
    """
    loop = native(asyncio.get_running_loop())
    # Our own loops' has none of the defects that the other repairs, and receives many datagrams in one call.
    return loop.open_datagrams(protocol, sock) if loop else datagram_loops.open_transport(protocol, sock)
