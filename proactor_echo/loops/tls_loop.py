"""TLS in the loop: asyncio's calls that take ``ssl=``, and two more without coroutines, for the layers above.

The transports are imported where they are used: a program without TLS need not wait for them.
"""

from __future__ import annotations

import asyncio
import weakref
from ssl import PROTOCOL_TLS_CLIENT, SSLContext, create_default_context
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private
from proactor_echo.loops.accept import ServerConnections, set_nodelay
from proactor_echo.loops.scheduling import SchedulingLoop
from proactor_echo.loops.stream_writing import contained
from proactor_echo.loops.tls_settings import HANDSHAKE_TIMEOUT, HANDSHAKES, Handshakes, TlsSettings

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextvars import Context

    from proactor_echo.loops.accept import Acceptor
    from proactor_echo.loops.stream import StreamTransport
    from proactor_echo.loops.tls_stream import TlsStream


class TlsLoop(SchedulingLoop):
    """The stock loop of the platform with TLS in the transports."""

    _stream_class: type[StreamTransport]

    #: Whether the end of TCP without the peer's close_notify is an end of file for asyncio's protocols, as it is on the
    #: stock loops. False, because anybody on the network path can cause it, and it cannot be detected afterwards: it is
    #: then ``connection_lost(ssl.SSLEOFError)``, an OSError like others that break a connection.
    allow_tls_truncation: bool = False

    async def create_server(self, *args: Any, ssl: Any = None, **how: Any) -> asyncio.Server:
        """Serve; a context that is not for servers is refused here, where each handshake would fail otherwise."""
        if isinstance(ssl, SSLContext) and ssl.protocol is PROTOCOL_TLS_CLIENT:
            raise ValueError("ssl is a client's context: a server needs ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)")
        server: asyncio.Server = await super().create_server(*args, ssl=ssl, **how)
        return server

    def begin_tls(
        self,
        transport: StreamTransport,
        protocol: asyncio.BaseProtocol,
        settings: TlsSettings,
        *,
        early: bytes = b"",
    ) -> TlsStream:
        """Go on with TLS on a connection in clear text, for ``protocol``: :meth:`start_tls` without a coroutine.

        The transport stays the same object. ``protocol.tls_started()`` is called when the handshake is done; when it
        fails, ``connection_lost`` says why. ``early`` is what has been received already and belongs to TLS.
        """
        if not self._is_plain(transport):
            raise TypeError(f"begin_tls() needs a stream transport of this loop in clear text, not {transport!r}")
        if transport.is_closing():
            raise ConnectionResetError("cannot begin TLS: the connection is closing")
        from proactor_echo.loops.tls_stream import secure

        return secure(transport, protocol, settings, early=early)

    async def start_tls(
        self,
        transport: Any,
        protocol: asyncio.BaseProtocol,
        sslcontext: SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Go on with TLS on a connection, and return its transport: the same object, or another for TLS in TLS."""
        if not self._is_plain(transport) or not isinstance(sslcontext, SSLContext):
            return await super().start_tls(
                transport,
                protocol,
                sslcontext,
                server_side=server_side,
                server_hostname=server_hostname,
                ssl_handshake_timeout=ssl_handshake_timeout,
                ssl_shutdown_timeout=ssl_shutdown_timeout,
            )
        settings = asyncio_settings(
            sslcontext, server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        hasattr(protocol, "get_buffer")  # asyncio's own asks this first: a protocol may refuse then
        if transport.is_closing():
            raise ConnectionResetError("cannot begin TLS: the connection is closing")
        from proactor_echo.loops.tls_stream import secure

        waiter = self.create_future()
        secure(transport, protocol, settings, waiter=waiter, early=_received_early(protocol) if server_side else b"")
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        secured: asyncio.Transport = transport
        return secured

    def _is_plain(self, transport: Any) -> bool:
        from proactor_echo.loops.tls_stream import TlsStream

        return isinstance(transport, self._stream_class) and not isinstance(transport, TlsStream)

    def _make_ssl_transport(
        self,
        rawsock: socket.socket,
        protocol: asyncio.BaseProtocol,
        sslcontext: Any,
        waiter: asyncio.Future[None] | None = None,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
        **_later: Any,
    ) -> TlsStream:
        settings = asyncio_settings(
            sslcontext, server_side, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        peer = None
        with contained:
            peer = rawsock.getpeername()
        from proactor_echo.loops.tls_stream import make_tls_stream

        transport = make_tls_stream(
            self, rawsock, protocol, settings, waiter=waiter, extra=extra, server=server, context=context, peer=peer
        )
        set_nodelay(rawsock)
        transport._open_soon(None)
        return transport


class TlsServerConnections(ServerConnections):
    """What ``loop.create_server(ssl=...)`` does with a connection."""

    def __init__(
        self, loop: Any, factory: Callable[[], asyncio.BaseProtocol], server: Any, settings: TlsSettings
    ) -> None:
        super().__init__(loop, factory, server)
        self._settings = settings

    def make_transport(
        self, protocol: asyncio.BaseProtocol, conn: socket.socket, peer: Any, context: Context
    ) -> StreamTransport:
        """Make the connection's transport."""
        from proactor_echo.loops.tls_stream import make_tls_stream

        return make_tls_stream(
            self._loop, conn, protocol, self._settings, server=self._server, context=context, peer=peer
        )


class ServerHandshakes(Handshakes):
    """Those of an asyncio server, on all of its listeners."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(HANDSHAKES, full=self._stop, freed=self._start, later=loop.call_later)
        self.acceptors: list[Acceptor] = []

    def _stop(self) -> None:
        for acceptor in self.acceptors:
            acceptor.stop()

    def _start(self) -> None:
        for acceptor in self.acceptors:
            acceptor.start()  # nothing once it was closed


_handshakes: weakref.WeakKeyDictionary[Any, ServerHandshakes] = weakref.WeakKeyDictionary()


def handshakes_of(server: Any, loop: asyncio.AbstractEventLoop) -> ServerHandshakes:
    """Return what counts the handshakes of ``server`` on ``loop``; None has its own each time."""
    if server is None:
        return ServerHandshakes(loop)
    if server not in _handshakes:
        _handshakes[server] = ServerHandshakes(loop)
    return _handshakes[server]


def asyncio_settings(
    context: Any,
    server_side: bool,
    server_hostname: str | None,
    handshake_timeout: float | None,
    shutdown_timeout: float | None,
) -> TlsSettings:
    """Return what asyncio's arguments say; raise what asyncio raises for them.

    A ``ssl_shutdown_timeout`` that was given asks to wait for the peer's close_notify, at most so long.
    """
    for name, value in (("ssl_handshake_timeout", handshake_timeout), ("ssl_shutdown_timeout", shutdown_timeout)):
        if value is not None and value <= 0:
            raise ValueError(f"{name} should be a positive number, got {value}")
    if not isinstance(context, SSLContext) and not context:
        if server_side:
            raise ValueError("Server side SSL needs a valid SSLContext")
        context = create_default_context()
        if not server_hostname:
            context.check_hostname = False
    return TlsSettings(
        context,
        server_side,
        (server_hostname or None) if not server_side else None,
        handshake_timeout=HANDSHAKE_TIMEOUT if handshake_timeout is None else handshake_timeout,
        shutdown_timeout=shutdown_timeout or 0.0,
    )


def _received_early(protocol: Any) -> bytes:
    """Take what asyncio's streams have buffered of a client that began its handshake at once (gh-142352)."""
    buffer = private.stream_buffer(protocol)
    early = bytes(buffer)
    buffer.clear()
    return early
