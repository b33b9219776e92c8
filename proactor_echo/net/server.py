"""serve_tcp and Server: connections to handlers, counted, and closed in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import socket
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Self

from ..addresses import format_address
from ..binding import adopt_listeners, listen_tcp
from ..errors import Disconnect, Disconnected, DisconnectReason, EndOfStream, FramingError, classify
from ..sockopts import SocketOptions
from ..wire.framing import Codec
from .acceptor import Acceptor
from .connection import Connection
from .protocol import FramedProtocol, is_proactor
from .stats import DrainReport, ServerStats

__all__ = ["Server", "serve_tcp"]

logger = logging.getLogger("proactor_echo.net")

Handler = Callable[[Connection], Awaitable[object]]

#: Seconds without traffic after which a closing server takes a connection with nothing owed for finished.
QUIET = 0.02
#: Seconds that a cancelled handler may take to clean up before the server stops waiting for it.
CANCEL_GRACE = 1.0


async def serve_tcp(
    handler: Handler | None = None,
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    protocol_factory: Callable[[], FramedProtocol] | None = None,
    codec: Codec | None = None,
    options: SocketOptions | None = None,
    sockets: Sequence[socket.socket] | None = None,
    backlog: int = 1024,
    accepts: int = 32,
    max_connections: int | None = None,
    idle_timeout: float | None = None,
    write_limit: tuple[int, int] | None = None,
    read_limit: int = 262144,
    close_timeout: float = 10.0,
    drain: float = 5.0,
) -> Server:
    """Listen on TCP and serve every connection; return the running :class:`Server`.

    ``handler``           a coroutine function that gets a :class:`Connection`, which is closed when it returns.
    ``protocol_factory``  instead of a handler: makes a :class:`FramedProtocol` for each connection.
    ``host``, ``port``    a name, several, or ``None`` for every interface; every address a name has is bound to one
                          port, and port 0 takes a free one.
    ``codec``             how bytes become frames; default: the pieces in which they arrive.
    ``options``           :class:`SocketOptions` for the listeners and every connection.
    ``sockets``           listening sockets made elsewhere, instead of host and port; the server closes them.
    ``backlog``           connections the system may hold that are not accepted yet.
    ``accepts``           AcceptEx outstanding per listener on a proactor loop.
    ``max_connections``   connections served at once; more wait in the backlog. ``None``: no limit.
    ``idle_timeout``      seconds without traffic after which a connection is ended. ``None``: never.
    ``write_limit``       ``(high, low)`` bytes of unsent output between which a sender waits.
    ``read_limit``        bytes of received frames waiting for the handler at which reading pauses.
    ``close_timeout``     seconds a closing connection may make no progress before the rest is dropped.
    ``drain``             seconds that leaving ``async with`` gives connections to finish.

    Raises :class:`BindError` with one sentence when it cannot listen.
    """
    if (handler is None) == (protocol_factory is None):
        raise TypeError("serve_tcp() needs a handler or a protocol_factory, and not both")
    if handler is not None and (inspect.isclass(handler) or not callable(handler)):
        raise TypeError(f"handler must be a coroutine function, not {handler!r}; give a class as protocol_factory=")
    for name, value in (("backlog", backlog), ("accepts", accepts), ("max_connections", max_connections)):
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1, not {value}")
    options = options or SocketOptions()
    if sockets is None:
        listeners = await listen_tcp(host, port, options=options, backlog=backlog)
    else:
        listeners = adopt_listeners(sockets)

    def connection() -> FramedProtocol:
        return Connection(codec, write_limit=write_limit, read_limit=read_limit, close_timeout=close_timeout)

    def protocol() -> FramedProtocol:
        assert protocol_factory is not None
        made = protocol_factory()
        made.configure(codec, write_limit=write_limit, close_timeout=close_timeout)
        return made

    server = Server(
        listeners,
        connection if handler else protocol,
        handler=handler,
        options=options,
        idle_timeout=idle_timeout,
        drain=drain,
    )
    server._start(accepts=accepts, max_connections=max_connections)
    return server


class Server:
    """A running TCP server, made by :func:`serve_tcp`.

    In ``async with`` it closes gracefully on exit. :attr:`addresses` are the ``(host, port)`` pairs it listens on (four
    elements for IPv6), :attr:`connections` what is being served, :attr:`stats` what has happened so far.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        factory: Callable[[], FramedProtocol],
        *,
        handler: Handler | None,
        options: SocketOptions,
        idle_timeout: float | None,
        drain: float,
    ) -> None:
        self._listeners = list(listeners)
        self._factory = factory
        self._handler = handler
        self._options = options
        self._idle_timeout = idle_timeout
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._addresses = [sock.getsockname() for sock in self._listeners]
        self._open: set[FramedProtocol] = set()
        self._tasks: dict[asyncio.Task[None], FramedProtocol | None] = {}
        self._total = ServerStats()
        self._acceptor: Acceptor
        self._closing: asyncio.Task[DrainReport] | None = None
        self._deadline = 0.0
        self._change = asyncio.Event()
        self._closed = asyncio.Event()

    @property
    def addresses(self) -> list[Any]:
        """The socket addresses listened on, as ``socket.getsockname()`` gives them."""
        return list(self._addresses)

    @property
    def connections(self) -> set[FramedProtocol]:
        """The connections being served now; a copy."""
        return set(self._open)

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the counters."""
        total = self._total
        now = ServerStats(
            accepted=total.accepted,
            open=len(self._open),
            refused=total.refused,
            failed=total.failed,
            accept_errors=total.accept_errors,
            disconnects=total.disconnects.copy(),
        )
        now.add(total)
        for protocol in self._open:
            now.add(protocol.stats)
        return now

    async def serve_forever(self) -> None:
        """Wait until :meth:`close` has been called and has finished."""
        await self._closed.wait()

    async def close(self, drain: float | None = None) -> DrainReport:
        """Stop accepting, let connections finish for ``drain`` seconds, abort the rest; report how many of each.

        A connection has finished when nothing is owed either way and it has been silent for a moment; handlers then
        come to the end of their ``async for`` as if the peer had ended. ``drain=0`` aborts at once. ``None`` takes the
        value given to :func:`serve_tcp`. A second call while the first is under way may shorten it, and returns the
        same report.
        """
        deadline = self._loop.time() + (self._drain if drain is None else drain)
        if self._closing is None:
            self._deadline = deadline
            self._closing = asyncio.create_task(self._close(), name="close server")
            self._closing.add_done_callback(lambda task: self._closed.set())
        else:
            self._deadline = min(self._deadline, deadline)
            self._change.set()
        try:
            return await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            # Whoever waited has no more time: do not leave the rest running behind its back.
            self._deadline = self._loop.time()
            self._change.set()
            if not self._closing.done():
                await asyncio.wait([self._closing], timeout=CANCEL_GRACE)
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        where = ", ".join(map(format_address, self._addresses))
        return f"<Server {where} open={len(self._open)}>"

    # -- one connection: accepted, served, counted out -----------------------------------------------------------

    def _start(self, *, accepts: int, max_connections: int | None) -> None:
        self._acceptor = Acceptor(
            self._listeners,
            self._accepted,
            accepts=accepts,
            max_connections=max_connections,
            failed=self._accept_failed,
            refused=self._refused,
        )
        self._acceptor.start()

    def _accepted(self, sock: socket.socket) -> None:
        task = asyncio.create_task(self._serve(sock), name="serve connection")
        self._tasks[task] = None
        task.add_done_callback(self._served)

    def _served(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        self._change.set()
        if not task.cancelled() and (error := task.exception()):
            logger.error("serving a connection failed", exc_info=error)

    def _accept_failed(self, error: BaseException) -> None:
        self._total.accept_errors += 1

    def _refused(self) -> None:
        self._total.accepted += 1
        self._total.refused += 1

    async def _serve(self, sock: socket.socket) -> None:
        """Carry one connection from its socket to its end."""
        protocol = await self._connect(sock)
        if protocol is None:
            self._acceptor.leave()
        elif self._handler is not None and isinstance(protocol, Connection):
            task = asyncio.current_task()
            assert task is not None
            self._tasks[task] = protocol
            await self._handle(self._handler, protocol)

    async def _connect(self, sock: socket.socket) -> FramedProtocol | None:
        self._total.accepted += 1
        try:
            self._options.apply_stream(sock)
            protocol = self._factory()
            protocol.own(self, sock if is_proactor(self._loop) else None)
            await self._loop.connect_accepted_socket(lambda: protocol, sock)
        except Exception as error:
            sock.close()
            self._total.refused += 1
            if isinstance(error, OSError):
                logger.info("a connection ended while it was set up: %s", classify(error).text)
            else:
                logger.error("a connection could not be set up and is closed", exc_info=error)
            return None
        except asyncio.CancelledError:
            sock.close()
            self._total.refused += 1
            self._acceptor.leave()
            raise
        return protocol

    async def _handle(self, handler: Handler, conn: Connection) -> None:
        try:
            await handler(conn)
        except EndOfStream:
            pass
        except (Disconnected, FramingError) as error:
            # The peer's doing, and connection_lost() says why; unless it is about another connection or our own frame.
            if conn.disconnect is None and conn.failure is not error:
                conn.crashed(error)
        except asyncio.CancelledError:
            conn.abort()
            raise
        except Exception as error:
            conn.crashed(error)
        await conn.close()

    def connection_opened(self, protocol: FramedProtocol) -> None:
        """Count a connection in (called by the protocol)."""
        self._open.add(protocol)
        if self._idle_timeout is not None:
            protocol.limit_idle(self._idle_timeout)

    def connection_closed(self, protocol: FramedProtocol, disconnect: Disconnect) -> None:
        """Count a connection out (called by the protocol)."""
        self._open.discard(protocol)
        self._total.add(protocol.stats)
        self._total.disconnects[disconnect.reason] += 1
        if disconnect.reason is DisconnectReason.HANDLER_FAILED:
            self._total.failed += 1
        self._acceptor.leave()
        self._change.set()

    # -- closing -------------------------------------------------------------------------------------------------

    async def _close(self) -> DrainReport:
        started = self._loop.time()
        await self._acceptor.close()
        before = self._unfinished()
        progress: dict[FramedProtocol, tuple[int, int]] = {}
        while self._unfinished() and (left := self._deadline - self._loop.time()) > 0:
            progress = self._finish_quiet(progress)
            await self._change_within(min(left, QUIET))
        aborted = self._unfinished()
        for protocol in self._open.copy():
            protocol.cut(DisconnectReason.DRAIN_DEADLINE)
        for task in self._tasks:
            task.cancel()
        grace = self._loop.time() + CANCEL_GRACE
        while self._unfinished() and self._loop.time() < grace:
            await self._change_within(QUIET)
        if left_behind := len(self._tasks):
            logger.warning("%d handlers did not end when cancelled; the server closed without them", left_behind)
        return DrainReport(len(before - aborted), len(aborted), self._loop.time() - started)

    def _unfinished(self) -> set[object]:
        """Open connections, and the tasks of handlers whose connection has ended before them."""
        return {*self._open, *(protocol or task for task, protocol in self._tasks.items())}

    def _finish_quiet(self, before: dict[FramedProtocol, tuple[int, int]]) -> dict[FramedProtocol, tuple[int, int]]:
        """End the connections that owe nothing and where nothing passed since the last look."""
        now = {}
        for protocol in self._open.copy():
            now[protocol] = (protocol.stats.bytes_in, protocol.stats.bytes_out)
            if protocol.idle and before.get(protocol) == now[protocol]:
                protocol.finish()
        return now

    async def _change_within(self, seconds: float) -> None:
        """Wait until a connection or a handler has ended, or a second ``close()`` came, at most so long."""
        self._change.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._change.wait()
