"""Servers made for tests: the real ones, on a free port, behind a port on which faults can be switched on."""

from __future__ import annotations

import asyncio
import ssl as tls
from collections.abc import Callable
from typing import Any

from proactor_echo.arguments import check_factory, check_handler, check_made
from proactor_echo.net.stats import DatagramStats, ServerStats
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.server import Server, serve_tcp
from proactor_echo.net.tcp.session import Handler
from proactor_echo.net.udp import UdpServer, serve_udp
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.rfc862 import EchoDatagramProtocol, EchoProtocol
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.testing.proxy.tcp import FaultProxy
from proactor_echo.testing.proxy.udp import UdpFaultProxy
from proactor_echo.wire import Codec

__all__ = ["TcpTestServer", "UdpTestServer"]

#: Seconds that connections get, at the end of a test, to end by themselves: the news may still be under way.
GRACE = 0.5


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

    @classmethod
    async def serve(
        cls,
        handler: Handler | None = None,
        *,
        protocol_factory: Callable[[], FramedProtocol] | None = None,
        codec: Codec | None = None,
        ssl: tls.SSLContext | None = None,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
        seed: int = 0,
        **settings: Any,
    ) -> TcpTestServer:
        """Start a server with this handler or protocol, or else an echo server.

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
            ssl=ssl,
            options=options,
            **settings,
        )
        made = cls(server, seed)
        made.handler_errors = errors
        try:
            await made._listen(host, 0)
        except BaseException:
            await server.close(0)
            raise
        return made

    @property
    def stats(self) -> ServerStats:
        """The server's counters."""
        return self.server.stats

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


def _watched(handler: Handler, errors: list[Exception]) -> Handler:
    async def watched(conn: Connection) -> None:
        try:
            await handler(conn)
        except Exception as error:
            if isinstance(failure := conn.without_own(error), Exception):  # else it is the client's doing
                errors.append(failure)
            raise

    return watched


def _watched_protocol(factory: Callable[[], FramedProtocol], errors: list[Exception]) -> Callable[[], FramedProtocol]:
    def make() -> FramedProtocol:
        protocol = factory()
        check_made("protocol_factory", protocol, FramedProtocol)
        crashed = protocol.crashed

        def noted(error: BaseException) -> None:
            if isinstance(error, Exception):
                errors.append(error)
            crashed(error)

        protocol.crashed = noted  # type: ignore[method-assign]
        return protocol

    return make
