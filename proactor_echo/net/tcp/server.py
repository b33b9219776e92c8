"""serve_tcp and Server: connections to handlers, counted, and closed in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Self

from proactor_echo.arguments import (
    check_factory,
    check_handler,
    check_instance,
    check_made,
    check_seconds,
    check_whole,
    check_write_limit,
)
from proactor_echo.errors import Disconnect, DisconnectReason, ProtocolStateError
from proactor_echo.net.loop_api import native
from proactor_echo.net.stats import DrainReport, ServerStats
from proactor_echo.net.stock.accept import StockAcceptPipeline
from proactor_echo.net.tcp.accept import BaseAcceptPipeline, NativeAcceptPipeline
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.served import Handler, ServedConnection, Service, Serving
from proactor_echo.net.tcp.unhandled import UnhandledConnections, count_out
from proactor_echo.sockets.addresses import Address, format_address, port_of
from proactor_echo.sockets.binding import adopt_listeners, listen_tcp
from proactor_echo.sockets.options import ACCEPTED_INHERIT, SocketOptions
from proactor_echo.wire import Codec

if TYPE_CHECKING:
    from ssl import SSLContext

    from proactor_echo.net.tcp.tls.description import Tls

__all__ = ["Server", "serve_tcp"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Seconds without traffic after which a closing server ends a connection without pending output: it has finished.
QUIET_TIME: Final = 0.02
#: Connections that a closing server checks, or aborts, in one iteration of the loop: about 2 ms of work.
PORTION: Final = 100
#: Seconds between two checks for each connection there is, so that checking takes a small part of the time.
CHECK_PAUSE: Final = 1e-5
#: Seconds that a cancelled handler may take to clean up before the server stops waiting for it.
CANCEL_GRACE: Final = 1.0


async def serve_tcp(
    handler: Handler | None = None,
    host: str | Sequence[str] | None = "127.0.0.1",
    port: int = 0,
    *,
    protocol_factory: Callable[[], FramedProtocol] | None = None,
    codec: Codec | None = None,
    ssl: Tls | SSLContext | None = None,
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
    handshake_timeout: float = 10.0,
    max_handshakes: int = 256,
    allow_truncation: bool = False,
) -> Server:
    """Listen on TCP and serve every connection; return the running :class:`Server`.

    :param handler: a coroutine function that gets a :class:`Connection`, which is closed when it returns.
    :param protocol_factory: instead of a handler: makes a :class:`FramedProtocol` for each connection.
    :param host: a name, several, or ``None`` for every interface; every address a name has is bound to one port, and
        port 0 takes a free one.
    :param port: the port on every address; 0 takes a free one.
    :param codec: how bytes become frames; default: the pieces in which they arrive.
    :param ssl: a :class:`Tls` or a server's :class:`ssl.SSLContext`: every connection begins with TLS.
    :param options: :class:`SocketOptions` for the listeners and every connection.
    :param sockets: listening sockets made elsewhere, instead of host and port; the server closes them.
    :param backlog: connections the system may hold that are not accepted yet.
    :param accepts: outstanding AcceptEx for each listener, on a proactor loop.
    :param max_connections: connections served at once; more wait in the backlog. ``None``: no limit.
    :param idle_timeout: seconds without traffic after which a connection is ended. ``None``: never.
    :param write_limit: ``(high, low)``, the high- and low-water marks of the pending output in bytes: a sender waits
        from the one to the other.
    :param read_limit: bytes of received frames waiting for the handler at which reading pauses.
    :param close_timeout: seconds a closing connection may make no progress before the rest is dropped.
    :param drain: seconds that leaving ``async with`` gives connections to finish.
    :param handshake_timeout: seconds for a TLS handshake.
    :param max_handshakes: TLS handshakes at once; more clients wait in the backlog.
    :param allow_truncation: take an end of TCP without the end of TLS for an end of file.

    Raises :class:`BindError` with one sentence when it cannot listen, TypeError or ValueError for a wrong argument.
    """
    if (handler is None) == (protocol_factory is None):
        raise TypeError("serve_tcp() needs a handler or a protocol_factory, and not both")
    if handler is not None:
        check_handler("handler", handler)
    else:
        check_factory("protocol_factory", protocol_factory, FramedProtocol)
    check_instance("codec", codec, Codec, optional=True)
    check_instance("options", options, SocketOptions, optional=True)
    if sockets is not None and port:
        raise ValueError("serve_tcp() takes a port or sockets that are bound to theirs, not both")
    check_whole("backlog", backlog, least=1)
    check_whole("accepts", accepts, least=1)
    check_whole("max_connections", max_connections, least=1, optional=True)
    check_seconds("idle_timeout", idle_timeout, optional=True)
    check_write_limit(write_limit)
    check_whole("read_limit", read_limit, least=1, unit="bytes")
    check_seconds("close_timeout", close_timeout)
    check_seconds("drain", drain, zero=True)
    tls = None
    if ssl is not None:
        from proactor_echo.net.tcp.tls.serving import ServerTls

        tls = ServerTls(ssl, handshake_timeout, max_handshakes, allow_truncation)
    options = options or SocketOptions()
    if sockets is None:
        listeners = await listen_tcp(host, port, options=options, backlog=backlog)
    else:
        listeners = adopt_listeners(sockets, backlog=backlog)
    if ACCEPTED_INHERIT:
        for listener in listeners:
            options.apply_stream(listener)

    def connection() -> Connection:
        return Connection(codec, write_limit=write_limit, read_limit=read_limit, close_timeout=close_timeout)

    def protocol() -> FramedProtocol:
        assert protocol_factory is not None
        made = protocol_factory()
        if not isinstance(made, FramedProtocol):
            check_made("protocol_factory", made, FramedProtocol)
        # What configure() does, without its checks: they were made above, once for all connections.
        if codec is not None:
            made.codec = codec
        if write_limit is not None:
            made.write_limit = write_limit
        made.close_timeout = close_timeout
        return made

    loop = native(asyncio.get_running_loop())
    service = Service(
        open_accepted=tls.opener() if tls else loop.open_accepted if loop else None,
        factory=protocol if handler is None else connection,
        handler=handler,
        options=options,
        idle_timeout=idle_timeout,
        tls=tls,
    )
    return Server(listeners, service, drain=drain, accepts=accepts, max_connections=max_connections)


class Server:
    """A running TCP server, made by :func:`serve_tcp`.

    In ``async with`` it closes gracefully on exit. :attr:`addresses` are the ``(host, port)`` pairs it listens on (four
    elements for IPv6), :attr:`connections` what is being served, :attr:`stats` what has happened so far.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        service: Service,
        *,
        drain: float,
        accepts: int,
        max_connections: int | None,
    ) -> None:
        self._addresses: list[Address] = [sock.getsockname() for sock in listeners]
        self._service = service
        self._tls = service.tls
        self._served_class = ServedConnection if self._tls is None else self._tls.served_class
        self._drain = drain
        self._loop = asyncio.get_running_loop()
        self._serving = Serving()
        self._total = ServerStats()
        self._closing: asyncio.Task[DrainReport] | None = None
        self._deadline = 0.0
        self._empty = asyncio.Event()
        self._closed = asyncio.Event()
        self._limited = max_connections is not None
        self._acceptor = self._make_acceptor(listeners, accepts, max_connections)
        if self._tls is not None:
            self._tls.begin(self._acceptor)
        self._acceptor.start()

    @property
    def addresses(self) -> list[Address]:
        """The socket addresses listened on, as ``socket.getsockname()`` gives them."""
        return list(self._addresses)

    @property
    def address(self) -> Address:
        """The first of :attr:`addresses`."""
        return self._addresses[0]

    @property
    def port(self) -> int:
        """The port listened on, which is one for all addresses unless sockets were handed in.

        Raises AttributeError on a Unix socket, which has none.
        """
        return port_of(self.address)

    @property
    def connections(self) -> set[FramedProtocol | Connection]:
        """The connections being served now; a copy. With a handler they are :class:`Connection` objects."""
        return self._serving.connections()

    @property
    def stats(self) -> ServerStats:
        """A snapshot of the counters."""
        connections = self.connections
        now = dataclasses.replace(self._total, open=len(connections), disconnects=self._total.disconnects.copy())
        for connection in connections:
            now.add(connection.stats)
        if self._tls is not None:
            self._tls.add_to(now)
        return now

    async def serve_forever(self) -> None:
        """Wait until :meth:`close` has been called and has finished."""
        await self._closed.wait()

    async def close(self, drain: float | None = None) -> DrainReport:
        """Stop accepting, let connections finish for ``drain`` seconds, abort the rest; report how many of each.

        A connection has finished when everything is handled and sent and no data has arrived for 20 ms; the
        ``async for`` of its handler then ends as if the peer had sent end of file. ``drain=0`` aborts at once. ``None``
        takes the value given to :func:`serve_tcp`. A second call while the first is under way may shorten it, and
        returns the same report; cancelling a call makes it abort at once.

        Raises :class:`ProtocolStateError` in a handler of this server, which would wait for its own end: use
        ``asyncio.create_task(server.close())`` there.
        """
        check_seconds("drain", drain, zero=True, optional=True)
        task = asyncio.current_task()
        if any(served.runs(task) for served in self._serving.served):
            raise ProtocolStateError("a handler cannot wait for its own server to close; give close() its own task")
        now = self._loop.time()
        self._end_by(now + (self._drain if drain is None else drain))
        if self._closing is None:
            self._closing = asyncio.create_task(self._close(now), name="close server")
            self._closing.add_done_callback(lambda task: self._closed.set())
        try:
            return await asyncio.shield(self._closing)
        except asyncio.CancelledError:
            # The caller has no more time: end at once, and do not leave anything running.
            self._end_by(self._loop.time())
            await asyncio.wait([self._closing])
            raise

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        where = ", ".join(map(format_address, self._addresses))
        return f"<Server {where} open={len(self.connections)}>"

    def _make_acceptor(
        self, listeners: Sequence[socket.socket], accepts: int, max_connections: int | None
    ) -> BaseAcceptPipeline:
        pipeline = StockAcceptPipeline if native(self._loop) is None else NativeAcceptPipeline
        accepted, service = self._accepted, self._service
        if service.handler is None and service.open_accepted is not None and service.tls is None:
            accepted = UnhandledConnections(
                service, self._serving.protocols, service.open_accepted, self._total, self._unhandled_ended
            ).accepted
        return pipeline(
            listeners,
            accepted,
            accepts=accepts,
            max_connections=max_connections,
            failed=self._accept_failed,
            refused=self._refused,
        )

    # -- called by the accept pipeline and the connections -------------------------------------------------------

    def _accepted(self, sock: socket.socket, address: Address) -> None:
        self._total.accepted += 1
        served = self._served_class(self, self._service, sock, address)
        self._serving.served.add(served)
        try:
            served.start()
        except BaseException:  # the accept pipeline closes the socket, and frees the slot
            self._forget(served)
            raise

    def _accept_failed(self, error: BaseException) -> None:
        self._total.accept_errors += 1

    def _refused(self) -> None:
        self._total.accepted += 1
        self._total.refused += 1

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Count a connection out."""
        count_out(self._total, protocol, disconnect)

    def serving_ended(self, served: ServedConnection) -> None:
        """Free its slot."""
        if served.failed_handshake:
            self._total.disconnects[DisconnectReason.TLS_HANDSHAKE] += 1
        elif served.protocol is None:
            self._total.refused += 1
        self._forget(served)
        if self._limited:
            self._acceptor.leave()

    def _forget(self, served: ServedConnection) -> None:
        self._serving.served.discard(served)
        if self._closing is not None and not self._serving:
            self._empty.set()

    def _unhandled_ended(self) -> None:
        if self._closing is not None and not self._serving:
            self._empty.set()
        if self._limited:
            self._acceptor.leave()

    # -- closing -------------------------------------------------------------------------------------------------

    def _end_by(self, deadline: float) -> None:
        self._deadline = deadline if self._closing is None else min(self._deadline, deadline)

    async def _close(self, started: float) -> DrainReport:
        before = len(self._serving)
        if self._tls is not None:
            self._tls.end()
        try:
            await self._acceptor.close()
            await self._let_finish()
            aborted = await self._abort_all()
        except BaseException:  # cancelled: there is no more time
            for abort in self._serving.everything():
                abort()
            raise
        await self._all_ended(CANCEL_GRACE)
        if running := sum(not served.handled for served in self._serving.served):
            logger.warning("%d handlers did not end when cancelled; the server closed without them", running)
        return DrainReport(before - aborted, aborted, self._loop.time() - started)

    async def _let_finish(self) -> None:
        """Until the deadline, end the connections without pending output where no data passed between two checks."""
        passed_before: dict[StreamProtocol, int] = {}  # bytes at the last check, of idle connections
        while self._serving and self._deadline > self._loop.time():
            connections = self._serving.all_protocols()
            for start in range(0, len(connections), PORTION):
                for protocol in connections[start : start + PORTION]:
                    if protocol.disconnect is not None or not protocol.idle:
                        passed_before.pop(protocol, None)
                        continue
                    stats = protocol.stats
                    passed = stats.bytes_in + stats.bytes_out
                    if passed_before.get(protocol) == passed:
                        protocol.drain()
                    passed_before[protocol] = passed
                await asyncio.sleep(0)
                if self._deadline <= self._loop.time():
                    return
            left = self._deadline - self._loop.time()
            await self._all_ended(min(left, max(QUIET_TIME, CHECK_PAUSE * len(connections))))

    async def _abort_all(self) -> int:
        """Abort the connections that have not ended, a portion in each iteration; return how many those were."""
        everything = self._serving.everything()
        aborted = 0
        for start in range(0, len(everything), PORTION):
            aborted += sum([abort() for abort in everything[start : start + PORTION]])
            await asyncio.sleep(0)
        return aborted

    async def _all_ended(self, within: float) -> None:
        """Wait until no connection is served, for ``within`` seconds at most."""
        if self._serving:
            self._empty.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(within):
                    await self._empty.wait()
