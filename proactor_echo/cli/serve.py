"""Run a server for the command line: say where it listens, serve until a stop signal, say how it ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from proactor_echo.cli.background import Output
from proactor_echo.cli.stop_signals import StopSignals
from proactor_echo.cli.systemd import NOBODY, Notifier
from proactor_echo.loops import new_event_loop
from proactor_echo.net.stats import DatagramStats, DrainReport
from proactor_echo.net.tcp.server import Server
from proactor_echo.net.udp import UdpServer
from proactor_echo.sockets.addresses import Address, format_address

if TYPE_CHECKING:
    from proactor_echo.net.status import Observable

__all__ = [
    "LoopName",
    "announce",
    "drain_row",
    "next_signal",
    "or_at_once",
    "print_stats",
    "run",
    "serve_tcp_until_stopped",
    "serve_udp_until_stopped",
    "stopped_line",
    "telling",
]

logger: logging.Logger = logging.getLogger("proactor_echo.cli")

T = TypeVar("T")

LoopName = Literal["own", "stock"]


def run(work: Coroutine[Any, Any, T], loop: LoopName = "own") -> T:
    """Run ``work`` on an event loop of this package, or on asyncio's own default one for this system."""
    with asyncio.Runner(loop_factory=new_event_loop if loop == "own" else asyncio.new_event_loop) as runner:
        return runner.run(work)


async def serve_tcp_until_stopped(
    starting: Awaitable[Server],
    *,
    protocol: Literal["tcp", "tls"] = "tcp",
    output: Output,
    signals: StopSignals,
    drain: float,
    metrics: tuple[str, int] | None = None,
    notifier: Notifier = NOBODY,
    stats: bool,
) -> None:
    """Start a TCP server, serve until a stop signal, drain for at most ``drain`` seconds; a second signal ends that.

    ``metrics`` is where to answer monitoring systems, also while it drains.

    Raises what starting raises (:class:`~proactor_echo.BindError`), and click.ClickException when the lines that say
    where it listens cannot be printed.
    """
    with signals:
        async with await starting as server, telling(server, metrics) as status_addresses:
            addresses = announce(output, protocol, server.addresses, status_addresses)
            arrived = await next_signal(signals, notifier, addresses)
            open_now = len(server.connections)
            if open_now and drain:
                logger.info(
                    "%s: waiting up to %g s for %d connection%s to finish; a second signal stops at once",
                    arrived.name, drain, open_now, "" if open_now == 1 else "s",
                )  # fmt: skip
            report = await or_at_once(server.close(drain), signals, lambda: server.close(0))
            output.line(stopped_line(report))
            if stats:
                print_stats(output, protocol, addresses, server.stats.as_dict() | {"drain": drain_row(report)})


async def serve_udp_until_stopped(
    starting: Awaitable[UdpServer],
    *,
    output: Output,
    signals: StopSignals,
    metrics: tuple[str, int] | None = None,
    notifier: Notifier = NOBODY,
    stats: bool,
) -> None:
    """Start a UDP server, serve until a stop signal, send what is queued; a second signal drops it.

    Raises as :func:`serve_tcp_until_stopped` does.
    """
    with signals:
        async with await starting as server, telling(server, metrics) as status_addresses:
            addresses = announce(output, "udp", server.addresses, status_addresses)
            await next_signal(signals, notifier, addresses)

            async def at_once() -> None:
                server.abort()

            await or_at_once(server.close(), signals, at_once)
            seen = server.stats
            output.line(stopped_line(seen))
            if stats:
                print_stats(output, "udp", addresses, seen.as_dict())


async def next_signal(signals: StopSignals, notifier: Notifier, addresses: Sequence[str]) -> signal.Signals:
    """Say that the service is ready, and wait for the next stop signal."""
    notifier.ready(f"serves {', '.join(addresses)}")
    with notifier.alive():
        arrived = await signals.next()
    notifier.stopping()
    return arrived


async def or_at_once(
    closing: Coroutine[Any, Any, T], signals: StopSignals, at_once: Callable[[], Awaitable[object]]
) -> T:
    """Return what ``closing`` returns; when a signal comes before that, have it hurry by calling ``at_once``."""
    close = asyncio.create_task(closing)
    again = asyncio.create_task(signals.next())
    try:
        await asyncio.wait({close, again}, return_when=asyncio.FIRST_COMPLETED)
        if not close.done():
            await at_once()
        return await close
    finally:
        again.cancel()


@contextlib.asynccontextmanager
async def telling(server: Observable, where: tuple[str, int] | None) -> AsyncIterator[list[Address]]:
    """Answer monitoring systems about ``server``, on the addresses that this yields."""
    if where is None:
        yield []
        return
    from proactor_echo.net.status import serve_status  # few want it

    async with await serve_status(server, *where) as status:
        yield status.addresses


def announce(
    output: Output, protocol: str, addresses: Sequence[Address], status_addresses: Sequence[Address]
) -> list[str]:
    """Print where it listens, and where its metrics are; return the addresses as text."""
    texts = [format_address(address) for address in addresses]
    lines = [f"listening {protocol} {text}" for text in texts]
    lines += [f"metrics http://{format_address(address)}/metrics" for address in status_addresses]
    output.line("\n".join(lines))
    output.flush()
    return texts


def stopped_line(ended: DrainReport | DatagramStats) -> str:
    """Return the last line that a server prints."""
    if isinstance(ended, DatagramStats):
        return f"stopped: {ended.datagrams_in} datagrams in, {ended.datagrams_out} out, {ended.dropped} dropped"
    return f"stopped: {ended}"


def drain_row(report: DrainReport) -> dict[str, Any]:
    """Return how connections ended, for the JSON of ``--stats``."""
    return {"finished": report.finished, "aborted": report.aborted, "seconds": round(report.seconds, 3)}


def print_stats(output: Output, protocol: str, addresses: list[str], counters: dict[str, Any]) -> None:
    """Print all counters as a line of JSON."""
    output.err_line(json.dumps({"protocol": protocol, "listening": addresses} | counters), always=True)
