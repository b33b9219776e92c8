"""RFC 862 against any echo server, ours or not: :func:`check_echo`.

The client is made of plain sockets driven by the running loop, so that nothing of this package stands between the
server and the verdict. It works on any loop with ``sock_connect``, ``sock_sendall``, ``sock_recv`` and, for UDP,
``sock_sendto`` and ``sock_recvfrom``.
"""

from __future__ import annotations

import asyncio
import ssl as tls
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final

from proactor_echo.arguments import (
    check_address,
    check_callable,
    check_flag,
    check_instance,
    check_names,
    check_seconds,
    check_text,
    check_whole,
)
from proactor_echo.errors import classify
from proactor_echo.sockets.addresses import Address, format_address, parse_host_port
from proactor_echo.testing.conformance.echo.case import Check, Checked, CheckFailed, Settings, Skipped, Target
from proactor_echo.testing.conformance.report import Outcome, Report, Result

__all__ = ["check_echo"]

#: A check as a whole may take so many times the timeout, which a server that drips may not stretch.
_LONGEST: Final = 12

#: The check that waits for the server's own time limit besides.
_WAITS_FOR_HANDSHAKES: Final = "endless handshake"


async def check_echo(
    address: Address | str,
    *,
    udp: bool = False,
    ssl: tls.SSLContext | bool = False,
    server_hostname: str | None = None,
    timeout: float = 5.0,
    quiet: float = 0.25,
    size: int = 4 << 20,
    clients: int = 20,
    handshake_timeout: float = 15.0,
    only: Iterable[str] | None = None,
    each: Callable[[Result], None] | None = None,
) -> Report:
    """Check an echo server against RFC 862, over TCP, TLS or UDP, and return what was found.

    :param address: ``(host, port)``, or ``"host:port"`` with an IPv6 address in brackets. A name is resolved; the first
        of its addresses that takes a connection is checked.
    :param udp: check datagrams (RFC 862, "UDP Based Echo Service") instead of the stream.
    :param ssl: check a server that speaks TLS, and TLS itself: a client's context, or True for one that trusts the
        system's authorities.
    :param server_hostname: the name that the certificate must have; that of the address unless another is given.
    :param handshake_timeout: seconds within which the server must give up a handshake that does not go on.
    :param timeout: seconds: no wait for the server is longer, and no check takes more than 12 times as long.
    :param quiet: seconds to wait where nothing more may come; the run takes a few times this.
    :param size: bytes of the large transfer over TCP; where nothing is read at first, four times as many are sent.
    :param clients: how many connections, or datagram sockets, are served at once.
    :param only: the names of the checks to make.
    :param each: called with every result when it is there.

    A server that does not even echo one line gets no further checks: the rest is reported as skipped.

    Raises :class:`~proactor_echo.ConnectFailed`, with one sentence, when nothing listens there or the host is unknown;
    TypeError or ValueError for an address that cannot be read, a number that makes no sense, a name in ``only`` that is
    no check.
    """
    if isinstance(address, str):
        address = parse_host_port(address)
    check_address("address", address)
    host, port = address[:2]
    check_flag("udp", udp)
    check_seconds("timeout", timeout)
    check_seconds("quiet", quiet)
    check_whole("size", size, least=1, unit="bytes")
    check_whole("clients", clients, least=1)
    check_callable("each", each, optional=True)
    check_seconds("handshake_timeout", handshake_timeout)
    if server_hostname is not None:
        check_text("server_hostname", server_hostname)
    if udp and ssl is not False:
        raise ValueError("udp and ssl exclude each other: TLS is for streams")
    settings = Settings(timeout, quiet, size, clients, handshake_timeout)
    if udp:
        from proactor_echo.testing.conformance.echo import udp_checks as datagrams

        udp_checks = _chosen(datagrams.CHECKS, only)
        udp_target = await datagrams.UdpTarget.open(host, port, settings)
        return await _run_all("udp", udp_target.address, udp_checks, udp_target, settings, each)
    if ssl is not False:
        if ssl is not True:
            check_instance("ssl", ssl, tls.SSLContext)
        return await _check_tls(host, port, None if ssl is True else ssl, server_hostname or host, settings, only, each)
    from proactor_echo.testing.conformance.echo import tcp_checks as stream

    checks = _chosen(stream.CHECKS, only)
    async with await stream.TcpTarget.open(host, port, settings) as target:
        return await _run_all("tcp", target.address, checks, target, settings, each)


async def _check_tls(
    host: str,
    port: int,
    context: tls.SSLContext | None,
    server_hostname: str,
    settings: Settings,
    only: Iterable[str] | None,
    each: Callable[[Result], None] | None,
) -> Report:
    from proactor_echo.testing.conformance.echo import tls_checks

    checks = _chosen(tls_checks.CHECKS, only)
    async with await tls_checks.TlsTarget.open(host, port, settings) as target:
        target.secure(context or tls.create_default_context(), server_hostname)
        return await _run_all("tls", target.address, checks, target, settings, each)


def _chosen(checks: Sequence[Check[Target]], only: Iterable[str] | None) -> Sequence[Check[Target]]:
    if only is None:
        return checks
    by_name = dict(checks)
    return [(name, by_name[name]) for name in check_names("only", only, list(by_name))]


async def _run_all(
    protocol: str,
    address: Address,
    checks: Sequence[Check[Target]],
    target: Target,
    settings: Settings,
    each: Callable[[Result], None] | None,
) -> Report:
    results: list[Result] = []
    for name, check in checks:
        if results and results[0].name == "answers" and results[0].outcome is Outcome.FAILED:
            result = Result(name, Outcome.SKIPPED, "not tried, since it does not echo at all")
        else:
            result = await _run(name, check, target, settings)
        results.append(result)
        if each is not None:
            each(result)
    return Report(f"{protocol} {format_address(address)}", tuple(results))


async def _run(name: str, check: Callable[[Target], Awaitable[Checked]], target: Target, settings: Settings) -> Result:
    started = time.perf_counter()
    outcome = Outcome.OK
    numbers: Mapping[str, float] = {}
    limit = settings.timeout * _LONGEST
    if name == _WAITS_FOR_HANDSHAKES:
        limit += settings.handshake
    try:
        async with asyncio.timeout(limit):
            detail, numbers = await check(target)
    except CheckFailed as exc:
        outcome, detail = Outcome.FAILED, str(exc)
    except Skipped as exc:
        outcome, detail = Outcome.SKIPPED, str(exc)
    except TimeoutError:
        outcome, detail = Outcome.FAILED, f"not done after {limit:g} s, though something came now and then"
    except OSError as exc:
        outcome, detail = Outcome.FAILED, classify(exc).text
    return Result(name, outcome, detail, numbers, time.perf_counter() - started)
