"""Serve with several processes, for the command line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Literal

import click

from proactor_echo.cli.background import Output
from proactor_echo.cli.serve import LoopName, announce, next_signal, or_at_once, print_stats, telling
from proactor_echo.cli.stop_signals import StopSignals
from proactor_echo.cli.systemd import NOBODY, Notifier
from proactor_echo.cli.tcp_service import TcpService, WorkerOptions
from proactor_echo.net.workers import WorkerError, Workers, serve_workers, usable_cpus

__all__ = ["serve_workers_until_stopped", "start_workers"]

logger: logging.Logger = logging.getLogger("proactor_echo.cli")


async def start_workers(
    service: TcpService,
    given: WorkerOptions,
    drain: float,
    loop: LoopName,
    **where: Any,
) -> Workers:
    """Start the workers. Raises click.ClickException with a worker's own sentence when one cannot be started."""
    workers = given["workers"] or "auto"
    count = usable_cpus() if workers == "auto" else workers
    try:
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
    except WorkerError as error:
        raise click.ClickException(str(error)) from None
    except ValueError as error:  # a --balance that this system, or what systemd has bound, does not go with
        raise click.UsageError(f"{error}.") from None


async def serve_workers_until_stopped(
    start: Callable[[], Awaitable[Workers]],
    *,
    protocol: Literal["tcp", "tls"],
    output: Output,
    drain: float,
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
            output.line(f"stopped: {report}")
            if stats:
                ended = {"finished": report.finished, "aborted": report.aborted, "seconds": round(report.seconds, 3)}
                print_stats(output, protocol, addresses, workers.stats.as_dict() | {"drain": ended})
    if failure is not None:
        output.err_line(f"Error: {failure}", always=True)
        raise click.exceptions.Exit(3)


async def _reload(workers: Workers, notifier: Notifier) -> None:
    notifier.reloading()
    try:
        await workers.reload()
    except WorkerError as error:
        logger.error("the old workers stay, a new one cannot be started: %s", error)
    else:
        logger.info("all workers have been replaced")
    notifier.ready()
