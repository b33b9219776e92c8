"""Server: connections to handlers, counted, and closed in bounded time."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import socket
from collections.abc import Callable, Sequence
from typing import Final, Self

from proactor_echo.arguments import check_flag, check_seconds
from proactor_echo.errors import Disconnect, DisconnectReason, ProtocolStateError
from proactor_echo.net.histogram import Histogram
from proactor_echo.net.loop_api import native
from proactor_echo.net.metrics import CONNECTION_SECONDS, LoopLag, Metric, server_metrics
from proactor_echo.net.proxy_protocol import Proxied, ProxyProtocol
from proactor_echo.net.stats import DrainReport, ServerStats
from proactor_echo.net.stock.accept import StockAcceptPipeline
from proactor_echo.net.tcp.accept import BaseAcceptPipeline, NativeAcceptPipeline
from proactor_echo.net.tcp.admission import RefusalReason
from proactor_echo.net.tcp.buffer_watch import BufferWatch
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.deadlines import Deadlines, DeadlineSweep
from proactor_echo.net.tcp.limits import Limits
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.served import ServedConnection, Service, Serving
from proactor_echo.net.tcp.unhandled import UnhandledConnections, count_out
from proactor_echo.sockets.addresses import Address, format_address, port_of
from proactor_echo.sockets.binding import adopt_listeners
from proactor_echo.sockets.options import ACCEPTED_INHERIT

__all__ = ["Server"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

#: Seconds without traffic after which a closing server ends a connection without pending output: it has finished.
QUIET_TIME: Final = 0.02
#: Connections that a closing server checks, or aborts, in one iteration of the loop: about 2 ms of work.
PORTION: Final = 100
#: Seconds between two checks for each connection there is, so that checking takes a small part of the time.
CHECK_PAUSE: Final = 1e-5
#: Seconds that a cancelled handler may take to clean up before the server stops waiting for it.
CANCEL_GRACE: Final = 1.0


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
        limits: Limits,
        deadlines: Deadlines,
        proxy: ProxyProtocol | None = None,
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
        self._lag: LoopLag | None = None
        self._deadline = 0.0
        self._quiet = QUIET_TIME
        self._empty = asyncio.Event()
        self._closed = asyncio.Event()
        self._acceptor = self._make_acceptor(listeners, accepts, limits, proxy)
        self._limited = self._acceptor.limits
        self._buffer_watch: BufferWatch | None = None
        if limits.max_buffered is not None:
            serving = self._serving
            self._buffer_watch = BufferWatch(
                limits.max_buffered, service.most_held, serving.__len__, serving.all_protocols
            )
        self._deadlines: DeadlineSweep | None = None
        if deadlines.of_connections:
            self._deadlines = DeadlineSweep(deadlines, self._serving.all_protocols, self._loop)
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
        now = dataclasses.replace(self._total, open=len(connections))
        now.disconnects, now.refusals = now.disconnects.copy(), now.refusals.copy()
        for connection in connections:
            now.add(connection.stats)
        if self._tls is not None:
            self._tls.add_to(now)
        return now

    @property
    def is_closing(self) -> bool:
        """Whether :meth:`close` has been called: no client is accepted any more."""
        return self._closing is not None

    def measure(self) -> None:
        """Begin to measure how long connections last, and how late the loop is, for :meth:`metrics`."""
        if self._lag is None and not self.is_closing:
            self._total.durations = Histogram(CONNECTION_SECONDS)
            self._lag = LoopLag()

    @property
    def loop_lag(self) -> Histogram | None:
        """How many seconds the loop was late, once that is measured: None before :meth:`measure`."""
        return None if self._lag is None else self._lag.histogram

    def metrics(self, prefix: str = "proactor_echo") -> list[Metric]:
        """Return the counters, and what was measured, by the names that monitoring systems want."""
        return server_metrics(self.stats, prefix, self.loop_lag)

    @property
    def open(self) -> int:
        """How many connections are served now, those included that are being set up."""
        return len(self._serving)

    @property
    def waiting(self) -> int:
        """How many connections were accepted and wait for a slot."""
        return self._acceptor.waiting

    def adopt(self, sock: socket.socket) -> None:
        """Serve a connection that was accepted elsewhere; the server closes its socket."""
        sock.setblocking(False)
        try:
            address = sock.getpeername()
        except OSError:  # it was reset meanwhile
            sock.close()
            self._refused(None)
            return
        self._acceptor.adopt(sock, address)

    def listen(self, sockets: Sequence[socket.socket], *, shared: bool = False) -> None:
        """Accept on these listening sockets too; the server closes them.

        ``shared``: other processes accept on them as well. Where the system can (Linux), the one that waits longest
        gets the next connection. Raises BindError for a socket that cannot listen.
        """
        check_flag("shared", shared)
        listeners = adopt_listeners(sockets)
        self._addresses += [sock.getsockname() for sock in listeners]
        if ACCEPTED_INHERIT:
            for sock in listeners:
                self._service.options.apply_stream(sock)
        self._acceptor.listen(listeners, shared=shared)

    async def serve_forever(self) -> None:
        """Wait until :meth:`close` has been called and has finished."""
        await self._closed.wait()

    async def close(self, drain: float | None = None, *, quiet: float = QUIET_TIME) -> DrainReport:
        """Stop accepting, let connections finish for ``drain`` seconds, abort the rest; report how many of each.

        A connection has finished when everything is handled and sent and no data has arrived for ``quiet`` seconds; the
        ``async for`` of its handler then ends as if the peer had sent end of file. ``drain=0`` aborts at once. ``None``
        takes the value given to :func:`serve_tcp`. A second call while the first is under way may shorten it, and
        returns the same report; cancelling a call makes it abort at once.

        Raises :class:`ProtocolStateError` in a handler of this server, which would wait for its own end: use
        ``asyncio.create_task(server.close())`` there.
        """
        check_seconds("drain", drain, zero=True, optional=True)
        check_seconds("quiet", quiet)
        task = asyncio.current_task()
        if any(served.runs(task) for served in self._serving.served):
            raise ProtocolStateError("a handler cannot wait for its own server to close; give close() its own task")
        now = self._loop.time()
        self._end_by(now + (self._drain if drain is None else drain))
        if self._closing is None:
            self._quiet = quiet
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
        self, listeners: Sequence[socket.socket], accepts: int, limits: Limits, proxy: ProxyProtocol | None
    ) -> BaseAcceptPipeline:
        pipeline = StockAcceptPipeline if native(self._loop) is None else NativeAcceptPipeline
        accepted: Callable[..., object] = self._accepted
        service = self._service
        if service.handler is None and service.open_accepted is not None and service.tls is None:
            accepted = UnhandledConnections(
                service, self._serving.protocols, service.open_accepted, self._total, self._ended
            ).accepted
        return pipeline(
            listeners,
            accepted,
            accepts=accepts,
            limits=limits,
            proxy=proxy,
            failed=self._accept_failed,
            refused=self._refused,
        )

    # -- called by the accept pipeline and the connections -------------------------------------------------------

    def _accepted(self, sock: socket.socket, address: Address, proxied: Proxied | None = None, /) -> None:
        self._total.accepted += 1
        served = self._served_class(self, self._service, sock, address, proxied)
        self._serving.served.add(served)
        try:
            served.start()
        except BaseException:  # the accept pipeline closes the socket, and frees the slot
            self._serving.served.discard(served)
            raise

    def _accept_failed(self, error: BaseException) -> None:
        self._total.accept_errors += 1

    def _refused(self, reason: RefusalReason | None) -> None:
        self._total.accepted += 1
        self._total.refused += 1
        if reason is not None:
            self._total.refusals[reason] += 1

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Count a connection out."""
        count_out(self._total, protocol, disconnect)

    def serving_ended(self, served: ServedConnection) -> None:
        """Free its slot."""
        reason = None
        if served.failed_handshake:
            reason = DisconnectReason.TLS_HANDSHAKE
            self._total.disconnects[reason] += 1
        elif served.protocol is None:
            self._total.refused += 1
        elif served.protocol.disconnect is not None:
            reason = served.protocol.disconnect.reason
        self._serving.served.discard(served)
        self._ended(served.address, reason)

    def _ended(self, address: object, reason: DisconnectReason | None) -> None:
        """Free the slot of what is served no more."""
        if self._closing is not None and not self._serving:
            self._empty.set()
        if self._limited:
            self._acceptor.leave(address, reason)

    # -- closing -------------------------------------------------------------------------------------------------

    def _end_by(self, deadline: float) -> None:
        self._deadline = deadline if self._closing is None else min(self._deadline, deadline)

    async def _close(self, started: float) -> DrainReport:
        before = len(self._serving)
        if self._lag is not None:
            self._lag.cancel()
        if self._tls is not None:
            self._tls.end()
        if self._buffer_watch is not None:
            self._buffer_watch.close()
        if self._deadlines is not None:  # what is served now has the time to drain
            self._deadlines.cancel()
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
        # Of idle connections: the bytes that had passed, and when that was first seen.
        passed_before: dict[StreamProtocol, tuple[int, float]] = {}
        while self._serving and self._deadline > self._loop.time():
            connections = self._serving.all_protocols()
            now = self._loop.time()
            for start in range(0, len(connections), PORTION):
                for protocol in connections[start : start + PORTION]:
                    if protocol.disconnect is not None or not protocol.idle:
                        passed_before.pop(protocol, None)
                        continue
                    stats = protocol.stats
                    passed = stats.bytes_in + stats.bytes_out
                    before, since = passed_before.get(protocol, (-1, now))
                    if before != passed:
                        passed_before[protocol] = passed, now
                    elif now - since >= self._quiet:
                        protocol.drain()
                await asyncio.sleep(0)
                if self._deadline <= self._loop.time():
                    return
            left = self._deadline - self._loop.time()
            await self._all_ended(min(left, max(self._quiet / 4, QUIET_TIME, CHECK_PAUSE * len(connections))))

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
