"""The TLS of a server: its context of the moment, the limits and counters of its handshakes, and its sessions.

How a connection begins. Our own event loops do the handshake below the transport, in callbacks, and report its end by
``protocol_opened`` or ``handshake_failed``. On other loops a task awaits asyncio's. Either way at most
``max_handshakes`` are going on at once: accepting pauses, and more clients wait in the listen backlog.
"""

from __future__ import annotations

import asyncio
import socket
import ssl as library
from collections.abc import Callable
from typing import Any, Final

from proactor_echo.arguments import check_flag, check_seconds, check_whole
from proactor_echo.errors import DisconnectReason
from proactor_echo.loops.tls_causes import tls_cause
from proactor_echo.loops.tls_settings import Handshakes, TlsSettings
from proactor_echo.net.loop_api import tls_loop
from proactor_echo.net.stats import ServerStats
from proactor_echo.net.tcp.accept import BaseAcceptPipeline
from proactor_echo.net.tcp.core import StreamProtocol
from proactor_echo.net.tcp.served import ServedConnection, logger
from proactor_echo.net.tcp.tls.description import Tls
from proactor_echo.net.tcp.tls.expiry import ExpiryWatch
from proactor_echo.net.tcp.tls.given import server_context

__all__ = ["ServerTls", "TlsServedConnection"]

#: What OpenSSL says of a first record that is none.
_NOT_TLS: Final = ("HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL")


class ServerTls:
    """What is asked of the clients of one server, and how that went so far."""

    def __init__(
        self,
        given: Tls | library.SSLContext,
        handshake_timeout: float,
        max_handshakes: int,
        allow_truncation: bool,
    ) -> None:
        check_seconds("handshake_timeout", handshake_timeout)
        check_whole("max_handshakes", max_handshakes, least=1)
        check_flag("allow_truncation", allow_truncation)
        self._given = given
        self._acceptor: BaseAcceptPipeline | None = None
        self._expiry: ExpiryWatch | None = None
        self._resumed = 0
        self._not_tls = 0
        self.allow_truncation = allow_truncation
        later = asyncio.get_running_loop().call_later
        self.handshakes: Handshakes = Handshakes(max_handshakes, full=self._full, freed=self._freed, later=later)
        self._settings = TlsSettings(
            server_context("ssl", given),
            handshake_timeout=handshake_timeout,
            allow_truncation=allow_truncation,
            handshakes=self.handshakes,
        )

    @property
    def served_class(self) -> type[ServedConnection]:
        """What serves a connection."""
        return TlsServedConnection

    def begin(self, acceptor: BaseAcceptPipeline) -> None:
        """Limit what ``acceptor`` accepts, and watch over the certificates."""
        self._acceptor = acceptor
        if isinstance(self._given, Tls):
            self._expiry = ExpiryWatch(self._given)

    def end(self) -> None:
        """Watch no more."""
        if self._expiry is not None:
            self._expiry.cancel()

    def settings(self) -> TlsSettings:
        """Return what the next connection begins with: a certificate that was loaded anew is for this one."""
        settings = self._settings
        if isinstance(self._given, Tls):
            settings.context = self._given.server_context
        return settings

    def opener(self) -> Callable[[StreamProtocol, socket.socket, Any], object] | None:
        """Return what gives a socket its transport, on loops whose transports speak TLS."""
        loop = tls_loop(asyncio.get_running_loop())
        if loop is None:
            return None
        open_accepted = loop.open_accepted
        settings = self.settings
        return lambda protocol, sock, address: open_accepted(protocol, sock, address, settings())

    # -- counting ------------------------------------------------------------------------------------------------

    def opened(self, protocol: StreamProtocol) -> None:
        """Count a connection that got through its handshake."""
        info = protocol.tls
        if info is not None and info.resumed:
            self._resumed += 1

    def failed(self, peer: str, error: BaseException) -> None:
        """Count a handshake that failed, and say why in one line."""
        cause = tls_cause(error)
        if getattr(error, "reason", None) in _NOT_TLS and not cause.startswith("not TLS"):
            cause = f"not TLS: {cause}"
        if cause.startswith("not TLS"):
            self._not_tls += 1
        reason = DisconnectReason.TLS_HANDSHAKE
        extra = {"event": "handshake_failed", "peer": peer, "reason": str(reason)}
        logger.info("%s: %s (%s)", peer, reason, cause, extra=extra)

    def add_to(self, stats: ServerStats) -> None:
        """Fill in what is known of TLS."""
        stats.handshaking = self.handshakes.active
        stats.handshakes = self.handshakes.completed
        stats.handshakes_failed = self.handshakes.failed
        stats.handshakes_resumed = self._resumed
        stats.not_tls = self._not_tls
        end = self._given.not_after if isinstance(self._given, Tls) else None
        stats.certificate_expires = None if end is None else end.timestamp()

    def _full(self) -> None:
        if self._acceptor is not None:
            self._acceptor.hold()

    def _freed(self) -> None:
        if self._acceptor is not None:
            self._acceptor.let_go()


class TlsServedConnection(ServedConnection):
    """A session whose connection begins with a TLS handshake."""

    __slots__ = ("_aborted", "_loop_opens", "_slot", "_transport", "failed_handshake")

    def start(self) -> None:
        """Begin the handshake; the handler is run when it is done."""
        self.failed_handshake: bool = False
        self._aborted = False
        self._transport: Any = None
        self._slot: asyncio.Future[None] | None = None
        service = self._service
        self._loop_opens = service.open_accepted is not None
        if service.open_accepted is None:
            self._run_task(self._run())
            return
        try:
            self._transport = service.open_accepted(self._make_protocol(None), self._socket, self._peer_address)
        except Exception as error:
            self._not_made(error)
            self._finished()

    def abort(self) -> None:
        """Abort the connection, or its handshake, and cancel the handler."""
        self._aborted = True
        super().abort()
        if self.protocol is None and self._transport is not None:
            self._transport.abort()

    # -- told by the protocol ------------------------------------------------------------------------------------

    def protocol_opened(self, protocol: StreamProtocol) -> None:
        """Note that the handshake is done."""
        super().protocol_opened(protocol)
        self._tls.opened(protocol)
        if not self._loop_opens:
            pass  # the task goes on
        elif self._service.handler is None:
            self._finished()
        else:  # in the next iteration: an eager task would begin before the connection has
            asyncio.get_running_loop().call_soon(self._serve)

    def handshake_failed(self, error: BaseException) -> None:
        """Note that there will be no connection."""
        self._not_made(error)
        self._finished()

    # -- the task, on loops that need one for the handshake ------------------------------------------------------

    async def _run(self) -> None:
        handshakes = self._tls.handshakes
        self._slot = asyncio.get_running_loop().create_future()
        handshakes.begin(self)
        completed = False
        try:
            await self._slot
            settings = self._tls.settings()
            await self._connect(ssl=settings.context, ssl_handshake_timeout=settings.handshake_timeout)
            completed = self.protocol is not None
        except Exception as error:
            self._not_made(error)
            return
        finally:
            handshakes.end(self, completed=completed)
        await self._run_handler()

    def begin_handshake(self) -> None:
        """Go on: there are not too many handshakes."""
        if self._slot is not None and not self._slot.done():
            self._slot.set_result(None)

    def end_silent_handshake(self) -> None:
        """Nothing: asyncio does not tell whether the client has sent anything."""

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    @property
    def _tls(self) -> ServerTls:
        tls = self._service.tls
        assert tls is not None
        return tls

    def _make_protocol(self, sock: Any) -> StreamProtocol:
        protocol = super()._make_protocol(sock)
        if self._tls.allow_truncation:
            protocol.allow_truncation = True
        return protocol

    def _not_made(self, error: BaseException) -> None:
        if self._aborted:
            return
        if self.protocol is None and isinstance(error, OSError):
            self.failed_handshake = True
            self._tls.failed(self._peer, error)
        else:
            super()._not_made(error)
