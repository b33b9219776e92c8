"""serve_workers: one port, served by several processes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence
from typing import Any, Literal

from proactor_echo.arguments import check_choice, check_instance, check_seconds, check_text, check_whole
from proactor_echo.net.workers.listeners import Balance, listen_for_each
from proactor_echo.net.workers.supervisor import WorkerError, Workers, usable_cpus
from proactor_echo.sockets.binding import adopt_listeners, listen_tcp
from proactor_echo.sockets.options import ACCEPTED_INHERIT, SocketOptions

__all__ = ["WorkerError", "Workers", "serve_workers", "usable_cpus"]


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
    check_text("target", target)
    module, colon, name = target.partition(":")
    if not (module and colon and name):
        raise ValueError(f'target must be "module:function", as in "my_app.server:start", not {target!r}')
    if workers == "auto":
        workers = usable_cpus()
    check_whole("workers", workers, least=1, most=1024)
    check_instance("options", options, SocketOptions, optional=True)
    check_whole("backlog", backlog, least=1)
    check_seconds("drain", drain, zero=True)
    check_choice("loop", loop, ("own", "stock"))
    check_seconds("worker_timeout", worker_timeout, optional=True)
    if balance is None:
        balance = "handoff" if sys.platform == "win32" else "inherit"
    check_choice("balance", balance, ("inherit", "reuseport", "handoff"))
    if balance != "handoff" and sys.platform == "win32":
        raise ValueError(f'balance="{balance}" is not for Windows: there one process accepts, with "handoff"')
    sets = await _listen(host, port, balance, workers, options or SocketOptions(), sockets, backlog)
    made = Workers(
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
