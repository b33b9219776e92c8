"""UDP: datagrams in coroutines (bind_udp, connect_udp) and in callbacks (serve_udp).

Every datagram received is either delivered or counted in :class:`~proactor_echo.DatagramStats` as dropped: because the
queue was full, or because it was longer than ``max_datagram``. ICMP errors are counted too. None of this ends an
endpoint.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import Literal, TypeVar

from proactor_echo.arguments import check_factory, check_flag, check_host, check_instance, check_made, check_whole
from proactor_echo.errors import ConnectFailed, classify
from proactor_echo.net.proxy_protocol import ProxyProtocol
from proactor_echo.net.stock.datagram import MAX_DATAGRAM
from proactor_echo.net.udp.endpoint import UdpEndpoint
from proactor_echo.net.udp.guard import UdpGuard
from proactor_echo.net.udp.handler import DatagramHandler, Oversize, check_datagram_policy
from proactor_echo.net.udp.server import UdpServer, UdpSockets
from proactor_echo.sockets.addresses import resolve
from proactor_echo.sockets.binding import adopt_datagram_sockets, bind_udp_sockets, open_socket
from proactor_echo.sockets.options import SocketOptions

__all__ = ["UdpEndpoint", "UdpServer", "bind_udp", "connect_udp", "serve_udp"]

Made = TypeVar("Made", bound=UdpSockets)


async def bind_udp(
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    max_datagram: int = MAX_DATAGRAM,
    oversize: Oversize = "truncate",
    queue: int = 1024,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
) -> UdpEndpoint:
    """Bind a UDP port and return an :class:`UdpEndpoint` that talks to anybody.

    :param host: as for :func:`serve_tcp`; a name with several addresses is bound on all of them.
    :param port: the port for all of them; 0 takes a free one.
    :param max_datagram: the longest datagram, in bytes, that :meth:`UdpEndpoint.receive` returns.
    :param oversize: ``"truncate"`` cuts a longer one to that length, ``"drop"`` drops it; both count it.
    :param queue: datagrams that may wait for :meth:`UdpEndpoint.receive`; further ones are dropped and counted.
    :param options: what to set on the sockets.
    :param sockets: bound UDP sockets made elsewhere, instead of host and port; the endpoint closes them.

    Raises :class:`BindError` with one sentence.
    """
    _check_endpoint(max_datagram, oversize, queue)

    def endpoint(made: Sequence[socket.socket]) -> UdpEndpoint:
        return UdpEndpoint(made, max_datagram=max_datagram, oversize=oversize, queue=queue)

    return await _bind(endpoint, host, port, options, sockets)


async def connect_udp(
    host: str,
    port: int,
    *,
    max_datagram: int = MAX_DATAGRAM,
    oversize: Oversize = "truncate",
    queue: int = 1024,
    options: SocketOptions | None = None,
) -> UdpEndpoint:
    """Return an :class:`UdpEndpoint` that talks to one peer: the first address of ``host`` that has a route.

    Datagrams of others are not received. Raises :class:`ConnectFailed` with one sentence.
    """
    _check_endpoint(max_datagram, oversize, queue)
    check_instance("options", options, SocketOptions, optional=True)
    sock = await _connected(host, port, options or SocketOptions())
    try:
        return UdpEndpoint([sock], max_datagram=max_datagram, oversize=oversize, queue=queue)
    except BaseException:
        sock.close()
        raise


async def serve_udp(
    protocol_factory: Callable[[], DatagramHandler],
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
    guard: UdpGuard | Literal[False] | None = None,
    proxy: ProxyProtocol | None = None,
    adopting: bool = False,
) -> UdpServer:
    """Bind a UDP port and give each of its sockets a protocol; return the running :class:`UdpServer`.

    :param protocol_factory: makes a :class:`DatagramHandler` for each socket.
    :param host: as for :func:`serve_tcp`.
    :param port: the port for all addresses; 0 takes a free one.
    :param options: what to set on the sockets.
    :param sockets: bound UDP sockets made elsewhere, instead of host and port; the server closes them.
    :param guard: a :class:`UdpGuard`: what is not answered. ``None``: the protocol's own ``guard``, which
        :class:`EchoDatagramProtocol` has and others have not; ``False``: everything is answered.
    :param proxy: a :class:`ProxyProtocol`: the load balancers whose datagrams each begin with a PROXY header. The
        handler gets a :class:`ProxiedAddress`, to which its answers go.
    :param adopting: bind nothing; serve the sockets that :meth:`UdpServer.listen` is given.

    Raises :class:`BindError` with one sentence.
    """
    check_factory("protocol_factory", protocol_factory, DatagramHandler)
    if guard is not False:
        check_instance("guard", guard, UdpGuard, optional=True)
    check_instance("proxy", proxy, ProxyProtocol, optional=True)

    check_flag("adopting", adopting)

    def protocol() -> DatagramHandler:
        made = protocol_factory()
        check_made("protocol_factory", made, DatagramHandler)
        return made

    if adopting:
        return UdpServer([], protocol, guard, proxy)
    server = await _bind(lambda made: UdpServer(made, protocol, guard, proxy), host, port, options, sockets)
    try:
        await asyncio.sleep(0)  # each protocol has its transport, so that it may send
    except BaseException:
        server.abort()
        raise
    return server


def _check_endpoint(max_datagram: int, oversize: Oversize, queue: int) -> None:
    check_datagram_policy(max_datagram, oversize)
    check_whole("queue", queue, least=1)


async def _bind(
    make: Callable[[Sequence[socket.socket]], Made],
    host: str | Sequence[str] | None,
    port: int,
    options: SocketOptions | None,
    sockets: Sequence[socket.socket] | None,
) -> Made:
    """Bind, and make the endpoint or server. When that fails, sockets that the caller gave are not closed."""
    check_instance("options", options, SocketOptions, optional=True)
    if sockets is not None:
        if port:
            raise ValueError("give a port or sockets that are bound to theirs, not both")
        return make(adopt_datagram_sockets(sockets))
    bound = await bind_udp_sockets(host, port, options=options)
    try:
        return make(bound)
    except BaseException:
        for sock in bound:
            sock.close()
        raise


async def _connected(host: str, port: int, options: SocketOptions) -> socket.socket:
    """Connect a datagram socket to the first address that the system has a route to."""
    check_host("host", host)
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    errors: list[OSError] = []
    for family, kind, _, _, address in await resolve(host, port, type=socket.SOCK_DGRAM):
        try:
            sock = open_socket(family, kind, options)
            try:
                sock.connect(address)
            except BaseException:
                sock.close()
                raise
            return sock
        except OSError as error:
            errors.append(error)
    if not errors:
        raise ConnectFailed(f"cannot connect to {where}: it has no address")
    last = errors[-1]
    raise ConnectFailed(f"cannot connect to {where}: {classify(last).text}", errors=errors, errno=last.errno) from last
