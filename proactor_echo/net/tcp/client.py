"""connect_tcp: a connection to the first address of a name that answers."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Literal

from proactor_echo.arguments import check_address, check_host, check_instance, check_seconds
from proactor_echo.errors import ConnectFailed
from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.happy_eyeballs import Race, interleave
from proactor_echo.sockets.addresses import Address, resolve
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.wire import Codec

if TYPE_CHECKING:
    from ssl import SSLContext

    from proactor_echo.net.tcp.tls.connecting import ClientTls
    from proactor_echo.net.tcp.tls.description import Tls
    from proactor_echo.wire.proxy_header import ProxyHeader

__all__ = ["connect_tcp"]


async def connect_tcp(
    host: str,
    port: int,
    *,
    codec: Codec | None = None,
    ssl: Tls | SSLContext | Literal[True] | None = None,
    server_hostname: str | None = None,
    options: SocketOptions | None = None,
    send_proxy: ProxyHeader | Literal[1, 2] | None = None,
    open_timeout: float | None = 10.0,
    happy_eyeballs_delay: float | None = 0.25,
    local_address: tuple[str, int] | None = None,
    write_limit: tuple[int, int] | None = None,
    read_limit: int = 262144,
    close_timeout: float = 10.0,
    allow_truncation: bool = False,
) -> Connection:
    """Connect to ``host`` and ``port`` and return the open :class:`Connection`.

    Addresses are tried in turn, IPv6 and IPv4 alternating; the next one starts when one has failed, or has not
    answered for ``happy_eyeballs_delay`` seconds. The first that answers wins and the others are dropped.

    :param host: a name or an address.
    :param port: the port, 1 to 65,535.
    :param codec: how bytes become frames; default: the pieces in which they arrive.
    :param options: what to set on the socket.
    :param ssl: True for TLS with the authorities that the system trusts; a :class:`Tls` or a client's
        :class:`ssl.SSLContext` for anything else. The server's certificate and name are verified, and sessions are
        taken up again: the next connection to this host has a short handshake.
    :param server_hostname: the name that must be in the certificate, if it is another than ``host``.
    :param send_proxy: a :class:`ProxyHeader` to begin with, for a server that wants one; 1 or 2 for one of that version
        with the connection's own addresses. It goes before TLS.
    :param open_timeout: seconds for all of it, names and TLS included; ``None`` waits for the system's own limit.
    :param happy_eyeballs_delay: seconds of head start; ``None`` tries one address after the other.
    :param local_address: ``(host, port)`` to connect from.
    :param write_limit: as for :func:`serve_tcp`.
    :param read_limit: as for :func:`serve_tcp`.
    :param close_timeout: as for :func:`serve_tcp`.
    :param allow_truncation: as for :func:`serve_tcp`.

    Raises :class:`ConnectFailed` with one sentence; its ``errors`` has what each address answered, in the order in
    which they were tried, ``TimeoutError`` for one that was silent. Cancelling leaves no socket open. Raises TypeError
    or ValueError for a wrong argument.
    """
    check_instance("options", options, SocketOptions, optional=True)
    check_seconds("open_timeout", open_timeout, optional=True)
    check_seconds("happy_eyeballs_delay", happy_eyeballs_delay, optional=True)
    if local_address is not None:
        check_address("local_address", local_address)
    options = options or SocketOptions()
    check_host("host", host)
    if send_proxy not in (None, 1, 2) or isinstance(send_proxy, bool):
        from proactor_echo.wire.proxy_header import ProxyHeader

        check_instance("send_proxy", send_proxy, ProxyHeader)
    tls = None
    if ssl is not None:
        from proactor_echo.net.tcp.tls.connecting import ClientTls

        tls = ClientTls(ssl, host, port, server_hostname, allow_truncation)
    elif server_hostname is not None:
        raise ValueError("server_hostname is for TLS: write ssl=True too")
    conn = Connection(codec, write_limit=write_limit, read_limit=read_limit, close_timeout=close_timeout)
    conn.protocol.host = host
    loop = asyncio.get_running_loop()
    deadline = None if open_timeout is None else loop.time() + open_timeout
    sock = await _connected_socket(host, port, options, open_timeout, happy_eyeballs_delay, local_address)
    try:
        if send_proxy is not None:
            await loop.sock_sendall(sock, _proxy_header(sock, send_proxy).encode())
        if tls is not None:
            await _open_tls(tls, conn, sock, deadline, open_timeout, _where(host, port))
        else:
            conn.protocol.attach(None, sock if is_proactor(loop) else None)
            await loop.create_connection(lambda: conn.protocol, sock=sock)
        if conn.disconnect is None:
            options.apply_stream(sock)  # not before: asyncio's own loops and ours set TCP_NODELAY there
    except BaseException:
        sock.close()
        raise
    return conn


def _proxy_header(sock: socket.socket, given: ProxyHeader | Literal[1, 2]) -> ProxyHeader:
    """Return the header, made of the socket's own addresses if only a version is given."""
    from proactor_echo.wire.proxy_header import ProxyHeader

    if isinstance(given, ProxyHeader):
        return given
    source, destination = (
        (address[0].partition("%")[0], *address[1:]) for address in (sock.getsockname(), sock.getpeername())
    )
    return ProxyHeader(source, destination, version=given)


async def _open_tls(
    tls: ClientTls, conn: Connection, sock: socket.socket, deadline: float | None, seconds: float | None, where: str
) -> None:
    from proactor_echo.loops.tls_causes import tls_cause

    error: OSError
    try:
        async with asyncio.timeout_at(deadline):
            await tls.open(conn.protocol, sock, sock.getpeername(), is_proactor(asyncio.get_running_loop()))
            return
    except TimeoutError:
        error = TimeoutError(f"the TLS handshake was not done within {seconds:g} s")
        said = str(error)
    except OSError as failed:
        error = failed
        said = f"the TLS handshake failed: {tls_cause(failed)}"
    raise ConnectFailed(f"cannot connect to {where}: {said}", errors=[error], errno=error.errno) from error


async def _connected_socket(
    host: str,
    port: int,
    options: SocketOptions,
    open_timeout: float | None,
    delay: float | None,
    local_address: tuple[str, int] | None,
) -> socket.socket:
    where = _where(host, port)
    local: dict[int, Address] = {}
    race = Race(options, delay, local)
    try:
        async with asyncio.timeout(open_timeout):
            addresses = await resolve(host, port)
            if local_address is not None:
                for info in await resolve(*local_address):
                    local.setdefault(info[0], info[4])
                addresses = [info for info in addresses if info[0] in local]
            if not addresses:
                missing = f" of the same family as {_where(*local_address)}" if local_address else ""
                raise ConnectFailed(f"cannot connect to {where}: it has no address{missing}")
            sock = await race.run(interleave(addresses))
    except TimeoutError:
        raise _failure(race, where, f"within {open_timeout:g} s") from None
    if sock is None:
        raise _failure(race, where) from race.attempts[-1].error
    return sock


def _failure(race: Race, where: str, within: str = "") -> ConnectFailed:
    """Put into one sentence what the addresses answered."""
    for attempt in race.attempts:
        if attempt.error is None:
            attempt.said = f"no answer {within}"
            attempt.error = TimeoutError(attempt.said)
    answers = [f"{attempt.address}: {attempt.said}".removeprefix(f"{where}: ") for attempt in race.attempts]
    errors = [attempt.error for attempt in race.attempts if attempt.error is not None]
    said = "; ".join(answers) or f"its address was not found {within}"
    return ConnectFailed(
        f"cannot connect to {where}: {said}", errors=errors, errno=errors[-1].errno if errors else None
    )


def _where(host: str, port: int) -> str:
    host = host.removeprefix("[").removesuffix("]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
