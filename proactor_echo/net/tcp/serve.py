"""serve_tcp: check what was asked for, listen, and make the server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from proactor_echo.arguments import (
    check_factory,
    check_flag,
    check_handler,
    check_instance,
    check_made,
    check_seconds,
    check_whole,
    check_write_limit,
)
from proactor_echo.net.loop_api import native
from proactor_echo.net.proxy_protocol import ProxyProtocol
from proactor_echo.net.tcp.buffer_watch import most_of_one
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.deadlines import Deadlines
from proactor_echo.net.tcp.limits import Limits
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.served import Handler, Service
from proactor_echo.net.tcp.server import Server
from proactor_echo.net.tcp.tls.protocol import HANDSHAKE_TIMEOUT
from proactor_echo.sockets.binding import adopt_listeners, listen_tcp
from proactor_echo.sockets.options import ACCEPTED_INHERIT, SocketOptions
from proactor_echo.wire import Codec

if TYPE_CHECKING:
    from ssl import SSLContext

    from proactor_echo.net.tcp.tls.description import Tls

__all__ = ["serve_tcp"]


async def serve_tcp(
    handler: Handler | None = None,
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    protocol_factory: Callable[[], FramedProtocol] | None = None,
    codec: Codec | None = None,
    ssl: Tls | SSLContext | None = None,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
    adopting: bool = False,
    backlog: int = 1024,
    accepts: int = 32,
    max_connections: int | None = None,
    limits: Limits | None = None,
    proxy: ProxyProtocol | None = None,
    idle_timeout: float | None = None,
    deadlines: Deadlines | None = None,
    write_limit: tuple[int, int] | None = None,
    read_limit: int = 262144,
    close_timeout: float = 10.0,
    drain: float = 5.0,
    handshake_timeout: float | None = None,
    max_handshakes: int = 256,
    allow_truncation: bool = False,
) -> Server:
    """Listen on TCP and serve every connection; return the running :class:`Server`.

    :param handler: a coroutine function that gets a :class:`Connection`, which is closed when it returns.
    :param protocol_factory: instead of a handler: makes a :class:`FramedProtocol` for each connection.
    :param host: a name, several, or ``None`` for every interface; every address a name has is bound to one port, and
        port 0 takes a free one.
    :param port: the port on every address; 0 takes a free one.
    :param codec: how bytes become frames; default: the pieces in which they arrive.
    :param ssl: a :class:`Tls` or a server's :class:`ssl.SSLContext`: every connection begins with TLS.
    :param options: :class:`SocketOptions` for the listeners and every connection.
    :param sockets: listening sockets made elsewhere, instead of host and port; the server closes them.
    :param adopting: listen nowhere; serve the connections that :meth:`Server.adopt` is given.
    :param backlog: connections the system may hold that are not accepted yet.
    :param accepts: outstanding AcceptEx for each listener, on a proactor loop.
    :param max_connections: connections served at once; more wait in the backlog. ``None``: no limit.
    :param limits: :class:`Limits`: how many connections, how often, from where. It is instead of ``max_connections``.
    :param proxy: :class:`ProxyProtocol`: the load balancers that must tell, in a PROXY header, who their client is.
    :param idle_timeout: seconds without traffic after which a connection is ended. ``None``: never.
    :param deadlines: :class:`Deadlines`: how long a connection may take for what. It is instead of ``idle_timeout`` and
        ``handshake_timeout``.
    :param write_limit: ``(high, low)``, the high- and low-water marks of the pending output in bytes: a sender waits
        from the one to the other.
    :param read_limit: bytes of received frames waiting for the handler at which reading pauses.
    :param close_timeout: seconds a closing connection may make no progress before the rest is dropped.
    :param drain: seconds that leaving ``async with`` gives connections to finish.
    :param handshake_timeout: seconds for a TLS handshake; ``None``: 10.
    :param max_handshakes: TLS handshakes at once; more clients wait in the backlog.
    :param allow_truncation: take an end of TCP without the end of TLS for an end of file.

    Raises :class:`BindError` with one sentence when it cannot listen, TypeError or ValueError for a wrong argument.
    """
    if (handler is None) == (protocol_factory is None):
        raise TypeError("serve_tcp() needs a handler or a protocol_factory, and not both")
    if handler is not None:
        check_handler("handler", handler)
    else:
        check_factory("protocol_factory", protocol_factory, FramedProtocol)
    check_instance("codec", codec, Codec, optional=True)
    check_instance("options", options, SocketOptions, optional=True)
    if sockets is not None and port:
        raise ValueError("serve_tcp() takes a port or sockets that are bound to theirs, not both")
    check_flag("adopting", adopting)
    check_whole("backlog", backlog, least=1)
    check_whole("accepts", accepts, least=1)
    check_whole("max_connections", max_connections, least=1, optional=True)
    check_instance("limits", limits, Limits, optional=True)
    if limits is None:
        limits = Limits(connections=max_connections, max_buffered=None)
    elif max_connections is not None:
        raise TypeError("max_connections is part of limits: write limits=Limits(connections=...), and not both")
    check_instance("proxy", proxy, ProxyProtocol, optional=True)
    check_seconds("idle_timeout", idle_timeout, optional=True)
    check_seconds("handshake_timeout", handshake_timeout, optional=True)
    check_instance("deadlines", deadlines, Deadlines, optional=True)
    if deadlines is None:
        deadlines = Deadlines(idle=idle_timeout, handshake=handshake_timeout or HANDSHAKE_TIMEOUT)
    elif idle_timeout is not None or handshake_timeout is not None:
        raise TypeError(
            "idle_timeout and handshake_timeout are part of deadlines: write deadlines=Deadlines(idle=..., "
            "handshake=...), and not both"
        )
    check_write_limit(write_limit)
    check_whole("read_limit", read_limit, least=1, unit="bytes")
    check_seconds("close_timeout", close_timeout)
    check_seconds("drain", drain, zero=True)
    tls = None
    if ssl is not None:
        from proactor_echo.net.tcp.tls.serving import ServerTls

        tls = ServerTls(ssl, deadlines.handshake, max_handshakes, allow_truncation)
    options = options or SocketOptions()
    if adopting:
        listeners = []
    elif sockets is None:
        listeners = await listen_tcp(host, port, options=options, backlog=backlog)
    else:
        listeners = adopt_listeners(sockets, backlog=backlog)
    if ACCEPTED_INHERIT:
        for listener in listeners:
            options.apply_stream(listener)

    def connection() -> Connection:
        return Connection(codec, write_limit=write_limit, read_limit=read_limit, close_timeout=close_timeout)

    def protocol() -> FramedProtocol:
        assert protocol_factory is not None
        made = protocol_factory()
        if not isinstance(made, FramedProtocol):
            check_made("protocol_factory", made, FramedProtocol)
        # What configure() does, without its checks: they were made above, once for all connections.
        if codec is not None:
            made.codec = codec
        if write_limit is not None:
            made.write_limit = write_limit
        made.close_timeout = close_timeout
        return made

    loop = native(asyncio.get_running_loop())
    service = Service(
        open_accepted=tls.opener() if tls else loop.open_accepted if loop else None,
        factory=protocol if handler is None else connection,
        handler=handler,
        options=options,
        most_held=most_of_one(codec, write_limit),
        tls=tls,
    )
    return Server(listeners, service, drain=drain, accepts=accepts, limits=limits, deadlines=deadlines, proxy=proxy)
