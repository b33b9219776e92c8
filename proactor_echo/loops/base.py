"""What the loops of both engines share: the end of an iteration, and our transports where asyncio makes its own."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private
from proactor_echo.loops.accept import ServerConnections, set_nodelay
from proactor_echo.loops.stream_writing import contained
from proactor_echo.loops.tls_loop import TlsLoop, TlsServerConnections, asyncio_settings, handshakes_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable
    from contextvars import Context

    from proactor_echo.loops.accept import Acceptor
    from proactor_echo.loops.datagram import DatagramTransport
    from proactor_echo.loops.stream import StreamTransport
    from proactor_echo.loops.tls_settings import TlsSettings


class LoopState:
    """The state of a loop of ours, in one attribute. An engine's loop adds its own.

    asyncio's loops have 26 attributes, and near 30 the interpreter no longer looks attributes up the fast way.
    """

    __slots__ = ("acceptors", "running")

    def __init__(self) -> None:
        self.acceptors: dict[int, Acceptor] = {}  # of create_server(), by descriptor
        self.running: bool = False  # so there is an end of an iteration to come


_stock_run_once = private.StockLoop._run_once  # looked up once, since it is called in every iteration


class KeepsIterationEnd(type):
    """Keeps the end of an iteration when ``_run_once`` is replaced while the loop runs, as nest_asyncio does."""

    def __setattr__(cls, name: str, value: Any) -> None:
        super().__setattr__(name, _with_end(value) if name == "_run_once" else value)


def _with_end(run_once: Callable[[Any], None]) -> Callable[[Any], None]:
    def run_and_end(self: BaseLoop) -> None:
        try:
            run_once(self)
        finally:
            if self._end_callbacks:
                self._end_iteration()

    return run_and_end


class BaseLoop(TlsLoop, metaclass=KeepsIterationEnd):
    """The stock loop of the platform with our transports. An engine's loop subclasses it and names its classes."""

    _datagram_class: type[DatagramTransport]
    _acceptor_class: type[Acceptor]
    _shared_acceptor_class: type[Acceptor]

    def __init__(self, state: LoopState, *args: Any) -> None:
        self._state = state
        self._end_callbacks: deque[Callable[[], object]] = deque()  # to be called at the end of this iteration
        super().__init__(*args)

    def run_forever(self) -> None:
        """Run until :meth:`stop` is called."""
        self._state.running = True
        if self._end_callbacks:
            self.call_soon(_nothing)  # added between two runs, through a method that was looked up before
        try:
            super().run_forever()
        finally:
            self._state.running = False

    def _run_once(self) -> None:
        try:
            _stock_run_once(self)
        finally:
            if self._end_callbacks:
                self._end_iteration()

    @property
    def call_at_iteration_end(self) -> Callable[[Callable[[], object]], object]:
        """``call_at_iteration_end(callback)``: call it at the end of this iteration, without a handle.

        With it a connection joins its writes of one iteration. The sends of many connections then come one right after
        the other, which costs less than sends with other work in between: the peers are woken once for all of them, and
        answer sooner. The callback has no context of its own. (A property, so that a caller may look it up once and
        then has the queue's own method.)
        """
        return self._end_callbacks.append if self._state.running else self.call_soon

    def _end_iteration(self) -> None:
        """Call the callbacks that are there now, and not those they add: others must run in between."""
        callbacks = self._end_callbacks
        try:
            for _ in range(len(callbacks)):
                callback = callbacks.popleft()
                try:
                    callback()
                except (SystemExit, KeyboardInterrupt):
                    raise
                except BaseException as exc:
                    self._callback_owner_failed(getattr(callback, "__self__", callback), exc)
        finally:
            if callbacks:
                self.call_soon(_nothing)  # do not wait for events before these are called

    def _callback_owner_failed(self, owner: Any, exc: BaseException) -> None:
        """End the transport or operation whose callback raised what nobody expected; everything else goes on."""
        end = getattr(owner, "_fatal_error", None)
        if end is None:
            self.call_exception_handler({"message": f"Fatal error in {owner!r}", "exception": exc, "loop": self})
        else:
            end(exc, "Fatal error on transport")

    # -- servers -------------------------------------------------------------------------------------------------

    def accept_connections(
        self,
        listener: socket.socket,
        deliver: Callable[[socket.socket, Any], object],
        report: Callable[[BaseException, float], None],
        *,
        most: int | None = None,
        shared: bool = False,
    ) -> Acceptor:
        """Accept on a listening, non-blocking socket, whatever goes wrong; what ``create_server`` is made of.

        ``deliver(sock, peer)`` gets each connection, non-blocking, straight from the processing of events.
        ``report(error, pause)`` gets each accept that failed, with the seconds until the next try: 0.0 after an error
        of one connection, more when the system is short of a resource. ``most`` bounds the outstanding accepts on
        Windows, whose number follows the rate of connections. ``shared`` is for POSIX: other processes accept on the
        listener too, and each is to get its part. The object returned is accepting; ``stop()`` and
        ``start()`` it at any time, ``close()`` it before the listener is closed. The caller sets the socket options.
        """
        kind = self._shared_acceptor_class if shared else self._acceptor_class
        acceptor = kind(self, listener, deliver, report, most)
        acceptor.start()
        return acceptor

    def open_accepted(
        self,
        protocol: asyncio.BaseProtocol,
        sock: socket.socket,
        peer: Any = None,
        tls: TlsSettings | None = None,
    ) -> StreamTransport:
        """Give an accepted, non-blocking socket a transport: ``connect_accepted_socket`` without a coroutine.

        ``protocol.connection_made`` has been called when it returns, in a context copied from this one. ``peer`` is the
        address that ``accept`` returned, which saves looking it up. The caller sets the socket options.

        With ``tls`` the handshake comes first, and ``connection_made`` is called when it is done. If it fails,
        ``protocol.handshake_failed(error)`` is called instead, once the socket is to be closed; for a protocol without
        that method a line is logged. With the settings of a client it is for a connected socket.
        """
        if tls is None:
            transport = self._stream_class(self, sock, protocol, peer=peer)
        else:
            from proactor_echo.loops.tls_stream import make_tls_stream

            transport = make_tls_stream(self, sock, protocol, tls, peer=peer)
        transport._context.run(transport._open)
        return transport

    def open_datagrams(self, protocol: asyncio.DatagramProtocol, sock: socket.socket) -> DatagramTransport:
        """Give a bound, non-blocking datagram socket a transport: ``create_datagram_endpoint`` without a coroutine.

        ``protocol.connection_made`` is called in the next iteration of the loop, in a context copied from this one.
        """
        transport = self._datagram_class(self, sock, protocol)
        transport._open_soon(None)
        return transport

    def _start_serving(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        sock: socket.socket,
        sslcontext: Any = None,
        server: Any = None,
        backlog: int = 100,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        context: Context | None = None,
        **_later: Any,
    ) -> None:
        if sslcontext:
            settings = asyncio_settings(sslcontext, True, None, ssl_handshake_timeout, ssl_shutdown_timeout)
            settings.handshakes = handshakes = handshakes_of(server, self)
            connections: ServerConnections = TlsServerConnections(self, protocol_factory, server, settings)
        else:
            connections = ServerConnections(self, protocol_factory, server)
        if not private.WINDOWS:
            set_nodelay(sock)  # inherited by every connection it accepts
        if context is None:  # from Python 3.15 on a server has its own
            context = copy_context()
        self._state.acceptors[sock.fileno()] = acceptor = context.run(
            self.accept_connections, sock, connections.deliver, connections.report
        )
        if sslcontext:
            handshakes.acceptors.append(acceptor)

    def _stop_serving(self, sock: socket.socket) -> None:
        acceptor = self._state.acceptors.pop(sock.fileno(), None)
        if acceptor is not None:
            acceptor.close()
        if self._closed:
            sock.close()  # asyncio's own asks the completion port, which is gone
        else:
            super()._stop_serving(sock)

    # -- transports ----------------------------------------------------------------------------------------------

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: Any = None,
        context: Context | None = None,
    ) -> StreamTransport:
        peer = None
        with contained:  # asked for now: after a reset the system has forgotten it, and connection_lost may log it
            peer = sock.getpeername()
        transport = self._stream_class(self, sock, protocol, extra=extra, server=server, context=context, peer=peer)
        set_nodelay(sock)
        transport._open_soon(waiter)
        return transport

    def _make_datagram_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.DatagramProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        context: Context | None = None,
    ) -> DatagramTransport:
        transport = self._datagram_class(self, sock, protocol, address, extra=extra, context=context)
        transport._open_soon(waiter)
        return transport

    async def _sendfile_native(self, transp: Any, file: Any, offset: int, count: int | None) -> int:
        # asyncio's, cancelled while it waits for the pending output, leaves a transport that neither reads nor writes.
        drained = transp._make_empty_waiter()
        resume = transp.is_reading()
        transp.pause_reading()
        try:
            await drained
            self._lend(transp)
            return await self.sock_sendfile(transp._sock, file, offset, count, fallback=False)
        finally:
            transp._reset_empty_waiter()
            if resume:
                transp.resume_reading()

    def _lend(self, transport: StreamTransport) -> None:
        """Make the socket of ``transport``, which is idle, free for ``sock_sendfile``."""


def _nothing() -> None:
    pass
