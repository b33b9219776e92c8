"""serve_workers: one port, served by several processes."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any, Literal

from proactor_echo.arguments import check_choice, check_instance, check_seconds, check_text, check_whole
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
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
    backlog: int = 1024,
    drain: float = 5.0,
    loop: Literal["own", "stock"] = "own",
    worker_timeout: float | None = None,
) -> Workers:
    """Listen on TCP and serve with several processes; return the running :class:`Workers`.

    Each worker is a new Python process. It imports and awaits ``target``, which returns the worker's server, made with
    ``serve_tcp(..., adopting=True)``: the supervisor accepts, and hands each connection to the worker that has the
    fewest. Limits of that server are each worker's own.

    :param target: ``"module:function"``: a coroutine function that returns a :class:`Server`.
    :param host: as for :func:`serve_tcp`.
    :param port: as for :func:`serve_tcp`.
    :param arguments: what the function is called with, in each worker; it must be possible to pickle them.
    :param workers: how many; ``"auto"``: one for each processor that may be used.
    :param options: what to set on the listeners, and through them on connections.
    :param sockets: listening sockets made elsewhere, instead of host and port; the workers' end closes them.
    :param backlog: connections that may wait to be accepted.
    :param drain: seconds that a worker's connections may take to finish.
    :param loop: the workers' event loop: this package's own, or asyncio's.
    :param worker_timeout: seconds after which a worker whose loop does not go on is killed; ``None``: it is reported
        only.

    Raises :class:`WorkerError` with one sentence when a worker cannot be started, :class:`BindError` when it cannot
    listen, TypeError or ValueError for a wrong argument.
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
    options = options or SocketOptions()
    if sockets is None:
        listeners = await listen_tcp(host, port, options=options, backlog=backlog)
    elif port:
        raise ValueError("serve_workers() takes a port or sockets that are bound to theirs, not both")
    else:
        listeners = adopt_listeners(sockets, backlog=backlog)
    if ACCEPTED_INHERIT:
        for listener in listeners:
            options.apply_stream(listener)
    made = Workers(
        listeners,
        target,
        tuple(arguments),
        count=workers,
        drain=drain,
        loop=loop,
        worker_timeout=worker_timeout,
    )
    await made.start()
    return made
