"""What one test has opened on one event loop: made by the factories, closed last in, first out."""

from __future__ import annotations

import asyncio
import contextlib
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, Generic, TypeVar

from proactor_echo.arguments import check_address
from proactor_echo.net.tcp.client import connect_tcp
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.served import Handler
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.rfc862 import EchoDatagramProtocol
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.testing.faults.schedule import ActiveFault
from proactor_echo.testing.proxy.tcp import FaultProxy
from proactor_echo.testing.proxy.udp import UdpFaultProxy
from proactor_echo.testing.servers import ServerTls, TcpTestServer, UdpTestServer
from proactor_echo.wire import Codec

__all__ = [
    "FaultProxyFactory",
    "Resources",
    "TcpClientFactory",
    "TcpServerFactory",
    "UdpFaultProxyFactory",
    "UdpServerFactory",
]

P = TypeVar("P", FaultProxy, UdpFaultProxy)

#: Seconds a client of the factory gets to close in good order before it is aborted.
CLOSE_TIMEOUT: Final = 1.0


class Resources:
    """Everything that one test's factories have made on the running loop.

    ``seed`` is a number for the test; servers get theirs from it, in the order in which they are made. With
    ``report_tasks``, tasks that the test has left running are reported too; that is for loops that end with the test.
    """

    def __init__(self, seed: int, *, report_tasks: bool = False) -> None:
        self._seed = seed
        self._made = 0
        self._stack: list[Callable[[], Awaitable[None]]] = []
        self._faulty: list[FaultProxy | UdpFaultProxy] = []
        self._errors: list[list[Exception]] = []
        self._left: list[str] = []
        self._report_tasks = report_tasks
        self._tasks = asyncio.all_tasks()

    @property
    def tcp_server(self) -> TcpServerFactory:
        """Make TCP servers."""
        return TcpServerFactory(self)

    @property
    def udp_server(self) -> UdpServerFactory:
        """Make UDP servers."""
        return UdpServerFactory(self)

    @property
    def tcp_client(self) -> TcpClientFactory:
        """Make TCP connections."""
        return TcpClientFactory(self)

    @property
    def fault_proxy(self) -> FaultProxyFactory:
        """Make TCP proxies."""
        return FaultProxyFactory(self)

    @property
    def udp_fault_proxy(self) -> UdpFaultProxyFactory:
        """Make UDP proxies."""
        return UdpFaultProxyFactory(self)

    def faults(self) -> Iterator[tuple[str, ActiveFault[Any]]]:
        """Yield every fault there was, with the server that had it."""
        for proxy in self._faulty:
            for active in proxy.fault_history:
                yield str(proxy), active

    async def close(self) -> list[str]:
        """Close everything, the last one first; return what the test had left open.

        Raises what a handler raised, or several of them in a group.
        """
        problems: list[Exception] = []
        while self._stack:
            try:
                await self._stack.pop()()
            except Exception as error:
                problems.append(error)
        if self._report_tasks:
            await self._find_tasks_left()
        problems += [error for errors in self._errors for error in errors]
        if len(problems) == 1:
            raise problems[0]
        if problems:
            raise ExceptionGroup("in the servers of this test", problems)
        return self._left

    # -- for the factories ---------------------------------------------------------------------------------------

    def next_seed(self) -> int:
        """Return a seed for the next server."""
        self._made += 1
        return zlib.crc32(f"{self._seed}/{self._made}".encode())

    def opened_proxy(self, proxy: FaultProxy | UdpFaultProxy) -> None:
        """Close a proxy or server at the end, and record what clients have left open."""
        self._faulty.append(proxy)

        async def close() -> None:
            if isinstance(proxy, TcpTestServer):
                self._left += await proxy.left_open()
                self._errors.append(proxy.handler_errors)
            await proxy.close()

        self._stack.append(close)

    def opened_client(self, conn: Connection) -> None:
        """Close a connection at the end."""

        async def close() -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(CLOSE_TIMEOUT):
                    await conn.close()
            conn.abort()
            await conn.wait_closed()

        self._stack.append(close)

    async def _find_tasks_left(self) -> None:
        """Record tasks that still run some iterations of the loop after the servers have been closed."""
        for _ in range(5):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - self._tasks - {asyncio.current_task()}:
            self._left.append(f"the task {task.get_name()} running {getattr(task.get_coro(), '__qualname__', '?')}()")


class TcpServerFactory:
    """``server = await tcp_server_factory(handler, codec=…)``: a TCP server that is closed after the test."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def __call__(
        self,
        handler: Handler | None = None,
        *,
        protocol_factory: Callable[[], FramedProtocol] | None = None,
        codec: Codec | None = None,
        ssl: ServerTls | None = None,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
        **settings: Any,
    ) -> TcpTestServer:
        """Serve ``handler``, a coroutine function that gets a Connection, or protocols, or else echo.

        :param codec: how bytes become frames.
        :param ssl: for TLS: True, or a server's certificate, of :mod:`~proactor_echo.testing.certificates`, or a
            :class:`Tls` or server's context; faults work on what is encrypted.
        :param settings: further ones of :func:`~proactor_echo.serve_tcp`.
        """
        server = await TcpTestServer.serve(
            handler,
            protocol_factory=protocol_factory,
            codec=codec,
            ssl=ssl,
            options=options,
            host=host,
            seed=self._resources.next_seed(),
            **settings,
        )
        self._resources.opened_proxy(server)
        return server


class UdpServerFactory:
    """``server = await udp_server_factory(MyProtocol)``: a UDP server that is closed after the test."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def __call__(
        self,
        protocol_factory: Callable[[], DatagramHandler] = EchoDatagramProtocol,
        *,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
    ) -> UdpTestServer:
        """Serve a DatagramHandler, or else echo."""
        seed = self._resources.next_seed()
        server = await UdpTestServer.serve(protocol_factory, options=options, host=host, seed=seed)
        self._resources.opened_proxy(server)
        return server


class TcpClientFactory:
    """``conn = await tcp_client_factory(server)``: a connection that is closed after the test."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def __call__(
        self, server: FaultProxy | Address, *, codec: Codec | None = None, **settings: Any
    ) -> Connection:
        """Connect to a server of this test or to a ``(host, port)``.

        ``settings`` are those of :func:`~proactor_echo.connect_tcp`; to a server of this test that speaks TLS it does
        so too. Raises :class:`~proactor_echo.ConnectFailed`.
        """
        address = server.address if isinstance(server, FaultProxy) else server
        check_address("server", address)
        host, port = address[:2]
        if isinstance(server, TcpTestServer) and server.speaks_tls:
            settings.setdefault("ssl", server.client_context())
        conn = await connect_tcp(host, port, codec=codec, **settings)
        self._resources.opened_client(conn)
        return conn


class _ProxyFactory(Generic[P]):
    """Makes proxies for faults, closed after the test."""

    kind: type[P]

    def __init__(self, resources: Resources) -> None:
        self._resources = resources

    async def __call__(self, upstream: Address, *, host: str = "127.0.0.1") -> P:
        """Put a proxy in front of ``upstream``."""
        proxy = await self.kind.open(upstream, host=host, seed=self._resources.next_seed())
        self._resources.opened_proxy(proxy)
        return proxy


class FaultProxyFactory(_ProxyFactory[FaultProxy]):
    """``proxy = await fault_proxy(("127.0.0.1", 5432))``: a TCP proxy for faults, closed after the test."""

    kind = FaultProxy


class UdpFaultProxyFactory(_ProxyFactory[UdpFaultProxy]):
    """``proxy = await udp_fault_proxy(("127.0.0.1", 53))``: a UDP proxy for faults, closed after the test."""

    kind = UdpFaultProxy
