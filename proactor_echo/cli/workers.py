"""Serve with several processes, for the command line."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Literal

import click

from proactor_echo.cli.background import Output
from proactor_echo.cli.serve import (
    LoopName,
    announce,
    drain_row,
    next_signal,
    or_at_once,
    print_stats,
    stopped_line,
    telling,
)
from proactor_echo.cli.stop_signals import StopSignals
from proactor_echo.cli.systemd import NOBODY, Notifier
from proactor_echo.cli.tcp_service import TcpService, WorkerOptions
from proactor_echo.cli.udp_service import UdpService, UdpWorkerOptions
from proactor_echo.net.stats import DatagramStats
from proactor_echo.net.workers import (
    UdpWorkers,
    WorkerError,
    Workers,
    serve_udp_workers,
    serve_workers,
    usable_cpus,
)

__all__ = ["serve_workers_until_stopped", "start_udp_workers", "start_workers"]

logger: logging.Logger = logging.getLogger("proactor_echo.cli")


async def start_workers(
    service: TcpService,
    given: WorkerOptions,
    drain: float,
    loop: LoopName,
    **where: Any,
) -> Workers:
    """Start the workers. Raises click.ClickException with a worker's own sentence when one cannot be started."""
    count = _count(given["workers"])
    with _errors_of_workers():
        return await serve_workers(
            "proactor_echo.cli.tcp_service:start_worker",
            arguments=[service.share_of(count)],
            workers=count,
            balance=given["balance"],
            options=service.options,
            drain=drain,
            loop=loop,
            worker_timeout=given["worker_timeout"],
            **where,
        )


async def start_udp_workers(service: UdpService, given: UdpWorkerOptions, loop: LoopName, **where: Any) -> UdpWorkers:
    """As :func:`start_workers`, for datagrams."""
    count = _count(given["workers"])
    with _errors_of_workers():
        if "sockets" in where:
            raise ValueError("each worker needs sockets of its own, and takes none that systemd has bound")
        return await serve_udp_workers(
            "proactor_echo.cli.udp_service:start_worker",
            arguments=[service.share_of(count)],
            workers=count,
            options=service.options,
            loop=loop,
            worker_timeout=given["worker_timeout"],
            **where,
        )


def _count(workers: int | Literal["auto"] | None) -> int:
    return workers if isinstance(workers, int) else usable_cpus()


@contextlib.contextmanager
def _errors_of_workers() -> Iterator[None]:
    try:
        yield
    except WorkerError as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:  # what this system, or what systemd has bound, does not go with
        raise click.UsageError(f"{error}.") from None


async def serve_workers_until_stopped(
    start: Callable[[], Awaitable[Workers | UdpWorkers]],
    *,
    protocol: Literal["tcp", "tls", "udp"],
    output: Output,
    drain: float = 0.0,
    metrics: tuple[str, int] | None = None,
    notifier: Notifier = NOBODY,
    stats: bool,
) -> None:
    """Serve until a stop signal, replace the workers at SIGHUP, drain for at most ``drain`` seconds.

    Raises what starting raises, and click.exceptions.Exit with status 3 when the workers do not hold.
    """
    reloads: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = asyncio.get_running_loop().create_task(_reload(workers, notifier))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    signals = StopSignals(ignore_afterwards=True, hung_up=reload, ends_with_session=notifier.ends_with_session)
    failure = None
    with signals:
        workers = await start()
        async with workers, telling(workers, metrics) as status_addresses:
            addresses = announce(output, protocol, workers.addresses, status_addresses)
            stopped = asyncio.create_task(next_signal(signals, notifier, addresses))
            waiting: set[asyncio.Future[Any]] = {stopped, workers.failed}
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if workers.failed.done():
                failure = workers.failed.exception()
                stopped.cancel()
                notifier.stopping()
            report = await or_at_once(workers.close(drain), signals, lambda: workers.close(0))
            seen = workers.stats
            output.line(stopped_line(seen if isinstance(seen, DatagramStats) else report))
            if stats:
                counters = seen.as_dict() | ({} if isinstance(seen, DatagramStats) else {"drain": drain_row(report)})
                print_stats(output, protocol, addresses, counters)
    if failure is not None:
        output.err_line(f"Error: {failure}", always=True)
        raise click.exceptions.Exit(3)


async def _reload(workers: Workers | UdpWorkers, notifier: Notifier) -> None:
    notifier.reloading()
    try:
        await workers.reload()
    except WorkerError as error:
        if workers.is_closing:  # one that was being started was ended
            return
        logger.error("the old workers stay, a new one cannot be started: %s", error)
    else:
        logger.info("all workers have been replaced")
    notifier.ready()
