"""serve_workers, serve_udp_workers: one port, served by several processes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any, Literal

from proactor_echo.arguments import check_choice, check_instance, check_seconds, check_text, check_whole
from proactor_echo.net.metrics import Metric, datagram_metrics, server_metrics
from proactor_echo.net.stats import DatagramStats, ServerStats
from proactor_echo.net.workers.cpus import usable_cpus
from proactor_echo.net.workers.listeners import Balance, listen_for_each
from proactor_echo.net.workers.supervisor import Supervisor, WorkerError
from proactor_echo.sockets.binding import adopt_listeners, listen_tcp
from proactor_echo.sockets.options import ACCEPTED_INHERIT, SocketOptions

__all__ = ["UdpWorkers", "WorkerError", "Workers", "serve_udp_workers", "serve_workers", "usable_cpus"]


class Workers(Supervisor[ServerStats]):
    """Running workers, made by :func:`serve_workers`. In ``async with`` they are drained on exit."""

    def metrics(self, prefix: str = "proactor_echo") -> list[Metric]:
        """Return the counters, and what was measured, by the names that monitoring systems want."""
        return [_ready(self, prefix), *server_metrics(self.stats, prefix, self.loop_lag)]


class UdpWorkers(Supervisor[DatagramStats]):
    """Running workers, made by :func:`serve_udp_workers`. In ``async with`` they are closed on exit."""

    def metrics(self, prefix: str = "proactor_echo") -> list[Metric]:
        """Return the counters, and what was measured, by the names that monitoring systems want."""
        return [_ready(self, prefix), *datagram_metrics(self.stats, prefix, self.loop_lag)]


def _ready(workers: Supervisor[Any], prefix: str) -> Metric:
    return Metric(f"{prefix}_workers_ready", "gauge", "Workers that serve.", samples=[((), len(workers.pids))])


async def serve_workers(
    target: str,
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    arguments: Sequence[Any] = (),
    workers: int | Literal["auto"] = "auto",
    balance: Balance | None = None,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
    backlog: int = 1024,
    drain: float = 5.0,
    loop: Literal["own", "stock"] = "own",
    worker_timeout: float | None = None,
) -> Workers:
    """Listen on TCP and serve with several processes; return the running :class:`Workers`.

    Each worker is a new Python process. It imports and awaits ``target``, which returns the worker's server, made with
    ``serve_tcp(..., adopting=True)``: where it listens, and what it serves, comes from the supervisor. Limits of that
    server are each worker's own.

    :param target: ``"module:function"``: a coroutine function that returns a :class:`Server`.
    :param host: as for :func:`serve_tcp`.
    :param port: as for :func:`serve_tcp`.
    :param arguments: what the function is called with, in each worker; it must be possible to pickle them.
    :param workers: how many; ``"auto"``: one for each processor that may be used.
    :param balance: who accepts. ``"inherit"``: all workers, on the same listeners; on Linux the one that waits longest
        gets the next connection. ``"reuseport"``: each on a listener of its own, among which the system shares
        connections out by their addresses (Linux, FreeBSD). ``"handoff"``: the supervisor, which hands each connection
        to the worker that has the fewest; the only one of Windows. None: ``"handoff"`` on Windows, else ``"inherit"``.
    :param options: what to set on the listeners, and through them on connections.
    :param sockets: listening sockets made elsewhere, instead of host and port; the workers' end closes them.
    :param backlog: connections that may wait to be accepted.
    :param drain: seconds that a worker's connections may take to finish.
    :param loop: the workers' event loop: this package's own, or asyncio's.
    :param worker_timeout: seconds after which a worker whose loop does not go on is killed; ``None``: it is reported
        only.

    Raises :class:`WorkerError` with one sentence when a worker cannot be started, :class:`BindError` when it cannot
    listen, TypeError or ValueError for a wrong argument, and for a ``balance`` that this system has not.
    """
    workers = _check(target, workers, drain, loop, worker_timeout)
    check_instance("options", options, SocketOptions, optional=True)
    check_whole("backlog", backlog, least=1)
    if balance is None:
        balance = "handoff" if sys.platform == "win32" else "inherit"
    check_choice("balance", balance, ("inherit", "reuseport", "handoff"))
    if balance != "handoff" and sys.platform == "win32":
        raise ValueError(f'balance="{balance}" is not for Windows: there one process accepts, with "handoff"')
    sets = await _listen(host, port, balance, workers, options or SocketOptions(), sockets, backlog)
    made = Workers(
        ServerStats,
        sets,
        target,
        tuple(arguments),
        count=workers,
        balance=balance,
        drain=drain,
        loop=loop,
        worker_timeout=worker_timeout,
    )
    await made.start()
    return made


async def serve_udp_workers(
    target: str,
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    arguments: Sequence[Any] = (),
    workers: int | Literal["auto"] = "auto",
    options: SocketOptions | None = None,
    loop: Literal["own", "stock"] = "own",
    worker_timeout: float | None = None,
) -> UdpWorkers:
    """Bind a UDP port and serve with several processes; return the running :class:`UdpWorkers`.

    As :func:`serve_workers`: ``target`` returns a server, made with ``serve_udp(..., adopting=True)``. Each worker has
    sockets of its own on the port, and the system gives one client's datagrams to one worker (Linux, FreeBSD). What
    arrives while a worker is replaced waits in the socket's buffer.

    :param target: ``"module:function"``: a coroutine function that returns a :class:`UdpServer`.
    :param host: as for :func:`serve_udp`.
    :param port: as for :func:`serve_udp`.
    :param arguments: what the function is called with, in each worker; it must be possible to pickle them.
    :param workers: how many; ``"auto"``: one for each processor that may be used.
    :param options: what to set on the sockets.
    :param loop: the workers' event loop: this package's own, or asyncio's.
    :param worker_timeout: seconds after which a worker whose loop does not go on is killed; ``None``: it is reported
        only.

    Raises :class:`WorkerError` with one sentence when a worker cannot be started, :class:`BindError` when it cannot
    bind, TypeError or ValueError for a wrong argument, and ValueError on a system that does not share a port out.
    """
    workers = _check(target, workers, 0.0, loop, worker_timeout)
    check_instance("options", options, SocketOptions, optional=True)
    made = UdpWorkers(
        DatagramStats,
        await listen_for_each(workers, host, port, options=options or SocketOptions(), backlog=None),
        target,
        tuple(arguments),
        count=workers,
        balance="reuseport",
        drain=0.0,
        loop=loop,
        worker_timeout=worker_timeout,
    )
    await made.start()
    return made


def _check(
    target: str, workers: int | Literal["auto"], drain: float, loop: object, worker_timeout: float | None
) -> int:
    """Check what both kinds of workers are told, and return how many there are to be."""
    check_text("target", target)
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f'target must be "module:function", as in "my_app.server:start", not {target!r}')
    if workers == "auto":
        workers = usable_cpus()
    check_whole("workers", workers, least=1, most=1024)
    check_seconds("drain", drain, zero=True)
    check_choice("loop", loop, ("own", "stock"))
    check_seconds("worker_timeout", worker_timeout, optional=True)
    return workers


async def _listen(
    host: str | Sequence[str] | None,
    port: int,
    balance: Balance,
    count: int,
    options: SocketOptions,
    sockets: Sequence[socket.socket] | None,
    backlog: int,
) -> list[list[socket.socket]]:
    """Return the listeners: one set for all workers, or one for each."""
    if balance == "reuseport":
        if sockets is not None:
            raise ValueError('balance="reuseport" makes a listener for each worker, and takes none made elsewhere')
        sets = await listen_for_each(count, host, port, options=options, backlog=backlog)
    elif sockets is None:
        sets = [await listen_tcp(host, port, options=options, backlog=backlog)]
    elif port:
        raise ValueError("serve_workers() takes a port or sockets that are bound to theirs, not both")
    else:
        sets = [adopt_listeners(sockets, backlog=backlog)]
    if ACCEPTED_INHERIT:
        for listeners in sets:
            for listener in listeners:
                options.apply_stream(listener)
    return sets
