"""One connection that a server serves, from its accepted socket until it and its handler have ended.

It has two halves that end in any order: the connection, whose end the protocol reports, and the task which sets it up
and runs the handler. Its slot among ``max_connections`` is free when both have ended, so that handlers which go on
working for clients that have left cannot pile up.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import TYPE_CHECKING, Any, Protocol

from proactor_echo.errors import Disconnect, DisconnectReason, classify
from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.proxy_protocol import Proxied
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.sockets.addresses import Address, format_address
from proactor_echo.sockets.options import ACCEPTED_INHERIT, SocketOptions

if TYPE_CHECKING:
    from proactor_echo.net.tcp.tls.serving import ServerTls

__all__ = ["Handler", "ServedConnection", "ServerObserver", "Service", "Serving", "log_not_made"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

Handler = Callable[[Connection], Awaitable[object]]


class ServerObserver(Protocol):
    """Gets what ends on a connection that a server serves."""

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Handle that the connection has ended; its handler may go on."""

    def serving_ended(self, served: ServedConnection) -> None:
        """Handle that connection and handler have ended."""


class Service:
    """What all connections of a server have in common, chosen once, when the server is made.

    There are two ways to the same connection:

    * ``open_accepted`` gives the socket its transport here and now, as our own loops can. There is a task only where
      there is a handler to run.
    * None: a task awaits the loop's own coroutine, ``connect_accepted_socket``, and then runs the handler. It is for
      loops that have nothing else.

    ``tls`` is for sessions that begin with a handshake: :class:`~proactor_echo.net.tcp.tls.serving.ServerTls`.
    """

    __slots__ = ("factory", "handler", "most_held", "open_accepted", "options", "tls")

    def __init__(
        self,
        *,
        open_accepted: Callable[[StreamProtocol, socket.socket, Address], object] | None,
        factory: Callable[[], FramedProtocol | Connection],
        handler: Handler | None,
        options: SocketOptions,
        most_held: float,
        tls: ServerTls | None = None,
    ) -> None:
        self.open_accepted: Callable[[StreamProtocol, socket.socket, Address], object] | None = open_accepted
        self.factory: Callable[[], FramedProtocol | Connection] = factory
        self.handler: Handler | None = handler
        self.options: SocketOptions = options
        #: Bytes of unfinished frames and unsent output that one connection may hold.
        self.most_held: float = most_held
        self.tls: ServerTls | None = tls


class ServedConnection:
    """Serve the connection of ``sock`` as ``service`` says, with the handler if there is one."""

    __slots__ = (
        "_observer",
        "_proxied",
        "_service",
        "_socket",
        "_task",
        "address",
        "connection",
        "handled",
        "protocol",
    )

    #: Whether there is no connection because the client did not get through the TLS handshake.
    failed_handshake: bool = False
    observes_opening: bool = True

    def __init__(
        self,
        observer: ServerObserver,
        service: Service,
        sock: socket.socket,
        address: Address,
        proxied: Proxied | None = None,
    ) -> None:
        #: The connection as the server's user has it, and its protocol once it has been made.
        self.connection: FramedProtocol | Connection | None = None
        self.protocol: StreamProtocol | None = None
        #: Whether the task, and the handler in it, has ended.
        self.handled: bool = False
        self._observer = observer
        self._service = service
        self._socket = sock
        self.address: Address = address
        self._proxied = proxied
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Make the connection and run the handler."""
        service = self._service
        if service.open_accepted is None:
            self._run_task(self._run())
            return
        try:
            service.open_accepted(self._make_protocol(None), self._socket, self._peer_address)
        except Exception as error:
            self._not_made(error)
            self._finished()
        else:
            self._serve()

    def _serve(self) -> None:
        handler = self._service.handler
        if handler is not None and isinstance(self.connection, Connection):
            self._run_task(self._handle(handler, self.connection))
        else:
            self._finished()

    @property
    def open(self) -> bool:
        """Whether the connection has been made and has not ended."""
        return self.protocol is not None and self.protocol.disconnect is None

    def runs(self, task: asyncio.Task[Any] | None) -> bool:
        """Return whether ``task`` is the one that runs the handler."""
        return task is not None and task is self._task

    def abort(self) -> None:
        """Abort the connection and cancel the handler: the server's time to drain is over."""
        if self.protocol is not None:
            self.protocol.abort_for(DisconnectReason.DRAIN_DEADLINE)
        if self._task is not None:
            self._task.cancel()

    @property
    def _peer(self) -> str:
        return format_address(self.address) if self.address else "connection"

    @property
    def _peer_address(self) -> Address:
        """The address of the transport's peer."""
        return self.address if self._proxied is None else self._proxied.proxy

    # -- called by the protocol ----------------------------------------------------------------------------------

    def protocol_opened(self, protocol: StreamProtocol) -> None:
        """Note that the connection has been made."""
        self.protocol = protocol

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Note that the connection has ended."""
        if self.protocol is None:
            return  # it was closed before it was made; it is counted as refused at the end of the task
        self._observer.protocol_closed(protocol, disconnect)
        if self.handled:
            self._observer.serving_ended(self)

    def handshake_failed(self, error: BaseException) -> None:
        """Nothing: there was no handshake."""

    # -- the task ------------------------------------------------------------------------------------------------

    def _run_task(self, work: Coroutine[Any, Any, None]) -> None:
        self._task = asyncio.create_task(work, name=f"serve {self._peer}")
        self._task.add_done_callback(self._task_done)

    async def _run(self) -> None:
        try:
            await self._connect()
        except Exception as error:
            self._not_made(error)
            return
        await self._run_handler()

    async def _run_handler(self) -> None:
        handler = self._service.handler
        if handler is not None and isinstance(self.connection, Connection):
            await self._handle(handler, self.connection)

    async def _connect(self, **tls: Any) -> None:
        loop = asyncio.get_running_loop()
        service = self._service
        protocol = self._make_protocol(self._socket if is_proactor(loop) else None)
        await loop.connect_accepted_socket(lambda: protocol, self._socket, **tls)
        if not service.options.nodelay and protocol.disconnect is None:
            service.options.apply_stream(self._socket)  # asyncio turns TCP_NODELAY on there

    def _make_protocol(self, sock: socket.socket | None) -> StreamProtocol:
        service = self._service
        if not ACCEPTED_INHERIT:
            service.options.apply_stream(self._socket)
        self.connection = made = service.factory()
        protocol = made.protocol if isinstance(made, Connection) else made
        protocol.attach(self, sock, self.address)
        if self._proxied is not None:
            protocol.handed_on(self._proxied)
        return protocol

    def _not_made(self, error: BaseException) -> None:
        log_not_made(self.address, error)

    async def _handle(self, handler: Handler, conn: Connection) -> None:
        try:
            await handler(conn)
        except asyncio.CancelledError as error:
            if _cancelled_from_outside():
                conn.abort()
                raise
            # Something that the handler waited for was cancelled. The handler is not, and has failed.
            conn.protocol.handler_failed(error)
        except (Exception, BaseExceptionGroup) as error:
            self._handler_raised(error, conn)
        await conn.close()

    def _handler_raised(self, error: BaseException, conn: Connection) -> None:
        """Handle an exception of the handler.

        Errors that ``conn`` raised because it has ended are no failure of the handler: connection_lost() logs why it
        ended. Nor is a TimeoutError in most cases: the client sent nothing, and must not be able to fill the log with
        tracebacks. But it may also be the handler's database that does not answer, so it is logged in one line.
        Anything else is a failure.
        """
        rest = conn.without_end_errors(error)
        if rest is None:
            return
        if _is_timeout(rest):
            logger.warning(
                "%s: a TimeoutError left the handler%s; the connection is closed",
                self._peer,
                _place(rest),
                exc_info=rest if logger.isEnabledFor(logging.DEBUG) else None,
                extra={"event": "handler_timeout", "connection": conn.id, "peer": self._peer},
            )
            conn.protocol.abort_for(DisconnectReason.HANDLER_TIMEOUT)
        else:
            conn.protocol.handler_failed(rest)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        if task.cancelled():
            if self.protocol is not None:
                self.protocol.abort()
        elif error := task.exception():
            if self.protocol is not None:
                self.protocol.handler_failed(error)
            else:
                extra = {"event": "connection_not_made", "peer": self._peer}
                logger.error("%s: serving the connection failed", self._peer, exc_info=error, extra=extra)
        self._finished()

    def _finished(self) -> None:
        """Note that setting up and the handler have ended; the connection may go on."""
        self.handled = True
        protocol = self.protocol
        if protocol is None:
            self.connection = None  # its protocol knows us: a cycle would be left to the garbage collector
            self._socket.close()
        elif protocol.disconnect is None:
            return
        self._observer.serving_ended(self)


class Serving:
    """What a server is serving: connections that have an object of their own for that, and ``protocols`` without."""

    __slots__ = ("protocols", "served")

    def __init__(self) -> None:
        self.served: set[ServedConnection] = set()
        self.protocols: set[StreamProtocol] = set()

    def __len__(self) -> int:
        return len(self.served) + len(self.protocols)

    def connections(self) -> set[FramedProtocol | Connection]:
        """Return the connections that are open, as the server's user has them."""
        open_now = {each.connection for each in self.served if each.open and each.connection}
        return open_now.union(
            each for each in self.protocols if isinstance(each, FramedProtocol) and each.disconnect is None
        )

    def all_protocols(self) -> list[StreamProtocol]:
        """Return the protocols of the connections that have been made."""
        return [*(each.protocol for each in self.served if each.protocol is not None), *self.protocols]

    def everything(self) -> list[Callable[[], bool]]:
        """Return, for all that is served, a function that aborts it, if it has not ended: then it returns False."""
        return [
            *(functools.partial(self._abort, each) for each in self.served),
            *(functools.partial(self._abort_protocol, each) for each in self.protocols),
        ]

    def _abort(self, served: ServedConnection) -> bool:
        if served not in self.served:
            return False
        served.abort()
        return True

    def _abort_protocol(self, protocol: StreamProtocol) -> bool:
        if protocol not in self.protocols:
            return False
        protocol.abort_for(DisconnectReason.DRAIN_DEADLINE)
        return True


def log_not_made(address: Address, error: BaseException) -> None:
    """Log why the connection with ``address`` could not be made."""
    peer = format_address(address) if address else "connection"
    if isinstance(error, OSError):
        why = classify(error)
        extra = {"event": "connection_not_made", "peer": peer, "reason": str(why.reason), "number": why.number}
        logger.info("%s: the connection ended while it was set up: %s", peer, why.text, extra=extra)
    else:
        extra = {"event": "connection_not_made", "peer": peer}
        logger.error("%s: the connection could not be set up and is closed", peer, exc_info=error, extra=extra)


def _cancelled_from_outside() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _is_timeout(error: BaseException) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return error.split(TimeoutError)[1] is None
    return isinstance(error, TimeoutError)


def _place(error: BaseException) -> str:
    """Return the line of the handler that ``error`` came from."""
    trace = error.__traceback__
    if trace is None or trace.tb_next is None:  # the first one is ours
        return ""
    code = trace.tb_next.tb_frame.f_code
    return f" ({code.co_name}, {os.path.basename(code.co_filename)}:{trace.tb_next.tb_lineno})"
