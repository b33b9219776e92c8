"""Servers made for tests: the real ones, on a free port, behind a port on which faults can be switched on."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from proactor_echo.arguments import check_factory, check_handler, check_made
from proactor_echo.net.stats import DatagramStats, ServerStats
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.serve import serve_tcp
from proactor_echo.net.tcp.served import Handler
from proactor_echo.net.tcp.server import Server
from proactor_echo.net.tcp.tls.description import Tls
from proactor_echo.net.udp import UdpServer, serve_udp
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.rfc862 import EchoDatagramProtocol, EchoProtocol
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.testing import certificates
from proactor_echo.testing.proxy.tcp import FaultProxy
from proactor_echo.testing.proxy.udp import UdpFaultProxy
from proactor_echo.wire import Codec

__all__ = ["ServerTls", "TcpTestServer", "UdpTestServer"]

#: Whether and how a server for tests speaks TLS.
ServerTls = bool | certificates.Certificate | Tls | tls.SSLContext

#: Seconds that connections get, at the end of a test, to end by themselves: the client's FIN may still be under way.
GRACE: Final = 0.5


class TcpTestServer(FaultProxy):
    """A TCP server and its fault proxy, on the running event loop.

    ``address`` is what clients connect to; ``connections``, ``received`` and ``sent`` are the clients'. (What a
    handler sees as ``conn.peer`` is the proxy.) ``handler_errors`` are exceptions that left the handler: those still in
    the list at the end of the test fail it.
    """

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__(server.addresses[0][:2], seed)
        #: The server behind the proxy.
        self.server = server
        #: Exceptions of the handler.
        self.handler_errors: list[Exception] = []
        self._tls = False

    @classmethod
    async def serve(
        cls,
        handler: Handler | None = None,
        *,
        protocol_factory: Callable[[], FramedProtocol] | None = None,
        codec: Codec | None = None,
        ssl: ServerTls | None = None,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
        seed: int = 0,
        **settings: Any,
    ) -> TcpTestServer:
        """Start a server with this handler or protocol, or else an echo server.

        ``ssl`` is True or a certificate for a server that speaks TLS with a certificate of
        :mod:`~proactor_echo.testing.certificates`, or a :class:`Tls` or context of yours.
        ``settings`` are further ones of :func:`~proactor_echo.serve_tcp`. Raises :class:`~proactor_echo.BindError`.
        """
        errors: list[Exception] = []
        # Before they are wrapped in functions of ours.
        if handler is not None:
            check_handler("handler", handler)
        if protocol_factory is not None:
            check_factory("protocol_factory", protocol_factory, FramedProtocol)
        if handler is None and protocol_factory is None:
            protocol_factory = EchoProtocol
        server = await serve_tcp(
            None if handler is None else _watched(handler, errors),
            host,
            protocol_factory=None if protocol_factory is None else _watched_protocol(protocol_factory, errors),
            codec=codec,
            ssl=_for_serving(ssl),
            options=options,
            **settings,
        )
        made = cls(server, seed)
        made.handler_errors = errors
        made._tls = ssl not in (None, False)
        try:
            await made._open(host, 0)
        except BaseException:
            await server.close(0)
            raise
        return made

    @property
    def stats(self) -> ServerStats:
        """The server's counters."""
        return self.server.stats

    @property
    def speaks_tls(self) -> bool:
        """Whether its connections begin with TLS."""
        return self._tls

    @property
    def ca_file(self) -> Path:
        """The file of the authority that has signed the certificates for tests. Raises ValueError without TLS."""
        self._check_tls()
        return certificates.CA_FILE

    def client_context(self, certificate: certificates.Certificate | None = None) -> tls.SSLContext:
        """Return a context with which a client trusts this server, and shows ``certificate`` if one is given.

        Raises ValueError without TLS.
        """
        self._check_tls()
        return certificates.client_context(certificate)

    def _check_tls(self) -> None:
        if not self._tls:
            raise ValueError(f"{self} does not speak TLS: make it with ssl=True, or use the fixture tls_echo_server")

    async def left_open(self) -> list[str]:
        """Tell which clients have not closed their connection, after giving them a moment."""
        for _ in range(5):  # a connection that nobody has used yet may still be waiting to be accepted
            await asyncio.sleep(0)
        if self.connections:
            try:
                await self.wait_for(lambda server: not server.connections, GRACE)
            except TimeoutError:
                return [f"a connection from {link.peer} to {self}" for link in self.connections]
        return []

    async def close(self) -> None:
        """Stop listening, abort every connection, cancel handlers."""
        await super().close()
        await self.server.close(0)


class UdpTestServer(UdpFaultProxy):
    """A UDP server and its fault proxy, on the running event loop.

    (What the protocol sees as a client's address is the proxy's.)
    """

    def __init__(self, server: UdpServer, seed: int) -> None:
        super().__init__(server.addresses[0][:2], seed)
        #: The server behind the proxy.
        self.server = server

    @classmethod
    async def serve(
        cls,
        protocol_factory: Callable[[], DatagramHandler] = EchoDatagramProtocol,
        *,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
        seed: int = 0,
    ) -> UdpTestServer:
        """Start a server with this protocol, or else an echo server. Raises :class:`~proactor_echo.BindError`."""
        server = await serve_udp(protocol_factory, host, options=options)
        made = cls(server, seed)
        try:
            await made._open(host, 0)
        except BaseException:
            await server.close()
            raise
        return made

    @property
    def stats(self) -> DatagramStats:
        """The server's counters."""
        return self.server.stats

    async def close(self) -> None:
        """Close; what is held back is dropped."""
        await super().close()
        await self.server.close()


def _for_serving(ssl: ServerTls | None) -> Tls | tls.SSLContext | None:
    """Return what serve_tcp() takes."""
    if isinstance(ssl, bool):
        return certificates.server_context() if ssl else None
    return certificates.server_context(ssl) if isinstance(ssl, certificates.Certificate) else ssl


def _watched(handler: Handler, errors: list[Exception]) -> Handler:
    async def watched(conn: Connection) -> None:
        try:
            await handler(conn)
        except Exception as error:
            if isinstance(
                failure := conn.without_end_errors(error), Exception
            ):  # else the client has ended the connection
                errors.append(failure)
            raise

    return watched


def _watched_protocol(factory: Callable[[], FramedProtocol], errors: list[Exception]) -> Callable[[], FramedProtocol]:
    def record_error(error: BaseException) -> None:
        if isinstance(error, Exception):
            errors.append(error)

    def make() -> FramedProtocol:
        protocol = factory()
        check_made("protocol_factory", protocol, FramedProtocol)
        protocol.on_error = record_error
        return protocol

    return make
