"""The accept pipeline of a server: accepting connections on listening sockets, and going on after every error.

:class:`BaseAcceptPipeline` is the interface for a server, with the part that does not depend on how connections are
accepted: the slots of ``max_connections``. :class:`NativeAcceptPipeline` accepts on our own event loops, which have
accepting built in: no tasks, only callbacks. On any other loop it is
:class:`~proactor_echo.net.stock.accept.StockAcceptPipeline`.

Throttling. While as many connections are served as the limits allow, or as many were accepted a moment ago, nothing new
is accepted; clients wait in the listen backlog, are not dropped, and are taken when there is a slot. A connection that
arrives when the last slot has just gone, from an accept that was already outstanding, is held until there is one. (An
accept does not take its slot before it has a connection: the last slot would then wait for a client of one listener
while another listener has one.)

Refusing. What one source has too much of is reset as soon as it is accepted, before it takes a slot or a token: so it
holds up nobody else.

Behind a load balancer. Slots and the accept rate of the whole server are taken first, then the PROXY header is read,
and the limits of sources are those of the client that it tells. The load balancer itself, which all clients come from,
has none.
"""

from __future__ import annotations

import abc
import asyncio
import contextlib
import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence

from proactor_echo.errors import DisconnectReason
from proactor_echo.net.loop_api import AcceptPipeline, native
from proactor_echo.net.proxy_protocol import Proxied, ProxyProtocol
from proactor_echo.net.rates import TokenBucket, as_rate
from proactor_echo.net.refusal_log import RefusalLog
from proactor_echo.net.tcp.accept_log import AcceptErrorLog
from proactor_echo.net.tcp.admission import Admission, RefusalReason
from proactor_echo.net.tcp.limits import Limits
from proactor_echo.net.tcp.proxied import HeaderReader
from proactor_echo.sockets.addresses import Address, format_address
from proactor_echo.sockets.options import reset_on_close

__all__ = ["BaseAcceptPipeline", "NativeAcceptPipeline"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")


class BaseAcceptPipeline(abc.ABC):
    """Accept from ``listeners`` and call ``connected(sock, address)`` for each connection.

    With ``proxy`` it is ``connected(sock, address, proxied)``, with the client's address, for what a load balancer has
    told of. ``limits`` says how many, and from where: call :meth:`leave` when one of them has ended, if it
    :attr:`limits` anything. ``failed`` is called for each accept error, ``refused`` for each connection that is not
    served, with the reason if it was refused, and None if it arrived when the server was closing. ``accepts`` bounds
    the outstanding accepts of a listener, on a proactor loop.
    """

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        connected: Callable[..., object],
        *,
        accepts: int = 32,
        limits: Limits | None = None,
        proxy: ProxyProtocol | None = None,
        failed: Callable[[BaseException], None] = lambda error: None,
        refused: Callable[[RefusalReason | None], None] = lambda reason: None,
    ) -> None:
        self._listeners = list(listeners)
        self._connected = connected
        self._failed = failed
        self._refused = refused
        self._accepts = accepts
        self._loop = asyncio.get_running_loop()
        limits = limits or Limits()
        self._max_connections = limits.connections
        self._slots = limits.connections  # those that are free; None: there is no limit
        rate = as_rate("accept_rate", limits.accept_rate)
        self._bucket = None if rate is None else TokenBucket(rate)
        self._token_timer: asyncio.TimerHandle | None = None  # until the bucket has a token again
        self._admission = Admission(limits) if limits.by_source else None
        self._proxy = proxy
        self._headers = None if proxy is None else HeaderReader(proxy, self._header_read, self._header_failed)
        self._refusal_log = RefusalLog(self._loop, "refused a connection", "refused %d more connections")
        self._waiting: deque[tuple[socket.socket, Address]] = deque()  # accepted when there was no slot any more
        self._closing = False
        self._held = False
        #: Whether anything is limited. If not, what arrives is served, and nobody needs to :meth:`leave`.
        self.limits: bool = any((self._slots is not None, self._bucket, self._admission, proxy))

    def start(self) -> None:
        """Begin to accept."""
        for listener in self._listeners:
            self._accept_on(listener, shared=False)

    def listen(self, listeners: Sequence[socket.socket], *, shared: bool) -> None:
        """Accept on more listeners; with ``shared`` other processes accept on them too."""
        if self._closing:
            for listener in listeners:
                listener.close()
            return
        for listener in listeners:
            self._listeners.append(listener)
            self._accept_on(listener, shared=shared)
        if not self._is_free:
            self._pause()

    @abc.abstractmethod
    def _accept_on(self, listener: socket.socket, *, shared: bool) -> None:
        """Begin to accept on a listener; with ``shared`` other processes are to get their part."""

    @abc.abstractmethod
    def _pause(self) -> None:
        """Accept no more until :meth:`_resume`: there is no slot. May be called when it is paused already."""

    @abc.abstractmethod
    def _resume(self) -> None:
        """Accept again: there is a slot."""

    @property
    def waiting(self) -> int:
        """How many connections were accepted and wait for a slot."""
        return len(self._waiting)

    def adopt(self, sock: socket.socket, address: Address) -> None:
        """Treat a connection that was accepted elsewhere as one of ours."""
        self._arrived(sock, address)

    def leave(self, address: object, reason: DisconnectReason | None = None) -> None:
        """Free the slot of a connection that has ended, for ``reason`` if it has been a connection."""
        self._give_back(address, reason)
        self._slot_was_freed()

    def _slot_was_freed(self) -> None:
        if self._waiting and not self._closing:
            self._serve_waiting()
        if self._slots == 1:
            self._resume_if_free()

    def hold(self) -> None:
        """Accept no more for now, although there are slots."""
        self._held = True
        self._pause()

    def let_go(self) -> None:
        """Undo :meth:`hold`."""
        self._held = False
        self._resume_if_free()

    def stop(self) -> None:
        """Stop accepting at once; a connection that waits for a slot is refused."""
        self._closing = True
        if self._token_timer is not None:
            self._token_timer.cancel()
            self._token_timer = None
        while self._waiting:
            sock, address = self._waiting.popleft()
            sock.close()
            self._refused(None)
            if self._admission is not None and not self._tells_its_client(address):
                self._admission.left(address, None, self._loop.time())
        self._refusal_log.close()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        self.stop()
        if self._headers is not None:
            await self._headers.close()

    # -- what the two ways of accepting report -------------------------------------------------------------------

    def _arrived(self, sock: socket.socket, address: Address) -> None:
        """Serve a connection, hold it until there is a slot, or refuse it."""
        if self._closing:
            sock.close()
            self._refused(None)
        elif reason := self._admit(address):
            self._refuse(sock, address, reason)
        elif self._slots == 0 or self._token_timer is not None:
            self._waiting.append((sock, address))
            self._pause()  # a listener may have come back from a pause of its own
        else:
            self._take_slot()
            if not self._serve(sock, address):
                self.leave(address)

    def _admit(self, address: Address) -> RefusalReason | None:
        """Let a connection in, which takes a slot of its source; or return why not."""
        if self._proxy is not None:
            if self._proxy.trusts(address):
                return None  # its client's source has the limits
            if self._proxy.untrusted == "refuse":
                return RefusalReason.UNTRUSTED
        return None if self._admission is None else self._admission.admit(address, self._loop.time())

    def _refuse(self, sock: socket.socket, address: Address, reason: RefusalReason) -> None:
        with contextlib.suppress(OSError):
            reset_on_close(sock)
        sock.close()
        self._refused(reason)
        source = None if self._admission is None else self._admission.source_of(address)
        self._refusal_log.note(reason, source or format_address(address))

    def _take_slot(self) -> None:
        """Take a slot and a token; pause accepting if they were the last ones."""
        if self._slots is not None:
            self._slots -= 1
            if not self._slots:
                self._pause()
        if self._bucket is not None:
            now = self._loop.time()
            self._bucket.charge(now)
            if wait := self._bucket.wait(now):
                self._pause()
                self._token_timer = self._loop.call_later(wait, self._token_is_there)

    def _token_is_there(self) -> None:
        """Go on. A timer may fire early, by a tick of the system's clock; then the next one is longer."""
        self._token_timer = None
        self._serve_waiting()
        self._resume_if_free()

    def _serve_waiting(self) -> None:
        while self._waiting and self._slots != 0 and self._token_timer is None:
            sock, address = self._waiting.popleft()
            self._take_slot()
            if not self._serve(sock, address):
                self._give_back(address, None)

    def _give_back(self, address: object, reason: DisconnectReason | None) -> None:
        self._give_back_slot()
        if self._admission is not None:
            self._admission.left(address, reason, self._loop.time())

    def _give_back_slot(self) -> None:
        if self._slots is not None:
            self._slots += 1

    def _resume_if_free(self) -> None:
        if self._is_free and not self._closing:
            self._resume()

    @property
    def _is_free(self) -> bool:
        return not (self._held or self._slots == 0 or self._token_timer is not None)

    def _serve(self, sock: socket.socket, address: Address) -> bool:
        """Begin to serve; return whether that worked. If not, it is logged and the socket closed."""
        if self._headers is not None and self._tells_its_client(address):
            self._headers.begin(sock, address)
            return True
        return self._connect(sock, address)

    def _connect(self, sock: socket.socket, address: Address, proxied: Proxied | None = None) -> bool:
        try:
            if proxied is None:
                self._connected(sock, address)
            else:
                self._connected(sock, address, proxied)
        except BaseException as error:
            sock.close()
            if isinstance(error, SystemExit | KeyboardInterrupt):
                raise
            peer = format_address(address)
            extra = {"event": "connection_not_made", "peer": peer}
            logger.error("serving a connection from %s could not begin", peer, exc_info=error, extra=extra)
            return False
        return True

    # -- behind a load balancer ----------------------------------------------------------------------------------

    def _tells_its_client(self, address: Address) -> bool:
        return self._proxy is not None and self._proxy.trusts(address)

    def _header_read(self, sock: socket.socket, client: Address, proxied: Proxied) -> None:
        """Serve the client whose address is known now, or refuse it."""
        reason = None if self._admission is None else self._admission.admit(client, self._loop.time())
        if reason is not None:
            self._refuse(sock, client, reason)
            self._give_back_slot()
            self._slot_was_freed()
        elif not self._connect(sock, client, proxied):
            self.leave(client)

    def _header_failed(self, sock: socket.socket, address: Address) -> None:
        sock.close()
        self._refused(None if self._closing else RefusalReason.PROXY_HEADER)
        self._give_back_slot()
        self._slot_was_freed()

    # -- for the two ways of accepting ---------------------------------------------------------------------------

    def _accept_failed(self, error_log: AcceptErrorLog, error: BaseException, pause: float) -> None:
        self._failed(error)
        error_log.report(error, pause)


class NativeAcceptPipeline(BaseAcceptPipeline):
    """Accepting by ``accept_connections`` of the running loop, one of ours. It goes on after every error by itself."""

    _pipelines: tuple[AcceptPipeline, ...] = ()

    def _accept_on(self, listener: socket.socket, *, shared: bool) -> None:
        loop = native(self._loop)
        assert loop is not None
        # Without a limit there is nothing to ask for; and nothing arrives at a pipeline of the loop that was closed.
        arrived = self._arrived if self.limits else self._connect
        report = self._reporter(AcceptErrorLog(listener))
        accepting = loop.accept_connections(listener, arrived, report, most=self._accepts, shared=shared)
        self._pipelines += (accepting,)

    def stop(self) -> None:
        """Stop accepting at once."""
        super().stop()
        for pipeline in self._pipelines:
            pipeline.close()

    async def close(self) -> None:
        """Accept no more, and close the listeners and whatever arrived while doing so."""
        try:
            await super().close()
        finally:
            for listener in self._listeners:
                listener.close()

    def _pause(self) -> None:
        for pipeline in self._pipelines:
            pipeline.stop()

    def _resume(self) -> None:
        # Another one first each time, or the first listener would always have the slot.
        self._pipelines = (*self._pipelines[1:], *self._pipelines[:1])
        for pipeline in self._pipelines:
            pipeline.start()

    def _reporter(self, error_log: AcceptErrorLog) -> Callable[[BaseException, float], None]:
        def report(error: BaseException, pause: float) -> None:
            self._accept_failed(error_log, error, pause)

        return report
