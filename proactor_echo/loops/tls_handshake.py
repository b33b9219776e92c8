"""The handshake at the beginning of a TLS connection: its timeout, the limit of a server, and what its end calls.

The failure of a handshake is reported to the limit and to a waiting task only: the protocol has no connection yet.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from proactor_echo.loops.stream import StreamTransport
from proactor_echo.loops.tls_causes import tls_cause
from proactor_echo.sockets.addresses import format_address

if TYPE_CHECKING:
    from proactor_echo.loops.tls import TlsFilter
    from proactor_echo.loops.tls_settings import TlsSettings

logger: logging.Logger = logging.getLogger("asyncio")


class Handshake:
    """A handshake under way: its timeout, and the future that waits for its end."""

    __slots__ = ("_counted", "settings", "timer", "upgrade", "waiter")

    def __init__(self, settings: TlsSettings, *, upgrade: bool = False) -> None:
        self.settings: TlsSettings = settings
        self.upgrade: bool = upgrade  # the protocol has its connection already
        self.timer: asyncio.TimerHandle | None = None
        self.waiter: asyncio.Future[None] | None = None
        self._counted = False

    def begin(self, transport: HandshakingStream) -> None:
        """Have ``transport`` begin it, as soon as there is a slot."""
        handshakes = self.settings.handshakes
        if handshakes is None:
            transport.begin_handshake()
        else:
            self._counted = True
            handshakes.begin(transport)

    def ended(self, transport: HandshakingStream, error: BaseException | None) -> None:
        """Cancel the timeout, free the slot and wake the task that waits."""
        if self.timer is not None:
            self.timer.cancel()
        if self._counted and self.settings.handshakes is not None:
            self.settings.handshakes.end(transport, completed=error is None)
        waiter = self.waiter
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)


class HandshakingStream(StreamTransport):
    """What a stream transport with TLS does until it is established."""

    __slots__ = ()

    # In __dict__, which a plain connection has no need of.
    _tls: TlsFilter
    _settings: TlsSettings
    _handshake: Handshake | None = None
    _slow = True  # whether data that arrives needs more than to be decrypted and delivered
    _into = False  # the protocol has a buffer of its own
    _leaving: asyncio.TimerHandle | None = None  # the time limit, while the peer's close_notify is waited for

    def set_up(
        self, protocol: asyncio.BaseProtocol, settings: TlsSettings, tls: TlsFilter, handshake: Handshake
    ) -> None:
        """Get ready for the handshake; to be called before the transport opens."""
        self._settings = settings
        self._tls = tls
        self._handshake = handshake
        self.set_protocol(protocol)

    def _open(self, waiter: asyncio.Future[None] | None = None) -> None:
        if self._handshake is not None and not self._closing:
            self._handshake.begin(self)

    def begin_handshake(self) -> None:
        """Begin the handshake, and its time limit."""
        handshake = self._handshake
        if handshake is None or self._closing:
            return
        seconds = handshake.settings.handshake_timeout
        handshake.timer = self._loop.call_later(seconds, self._handshake_expired, context=self._context)
        self._tls.start()
        if self._tls.changed:
            self._settle()
        if self._held is not None:
            self._deliver_held()
        elif self.is_reading():
            self._receive_on()

    def end_silent_handshake(self) -> None:
        """End the handshake if the peer has not sent its first message yet."""
        if self._handshake is not None and not self._tls.began:
            self._fatal_error(ConnectionAbortedError("the client did not begin its TLS handshake, and others wait"))

    def _handshake_expired(self) -> None:
        if self._handshake is not None:
            seconds = self._handshake.settings.handshake_timeout
            self._fatal_error(
                ConnectionAbortedError(
                    f"SSL handshake is taking longer than {seconds:g} seconds: aborting the connection"
                )
            )

    def _handshake_done(self) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        self._slow = self._into
        if not handshake.upgrade:
            self._in_context("connection_made", self._protocol.connection_made, self)
        elif handshake.waiter is None:
            self._in_context("tls_started", self._protocol.tls_started)
        if self._protocol_paused:
            self._maybe_resume_protocol()
        handshake.ended(self, None)

    def _handshake_lost(self, error: BaseException) -> None:
        handshake, self._handshake = self._handshake, None
        assert handshake is not None
        handshake.ended(self, error)
        if handshake.waiter is not None or handshake.upgrade:
            return
        handle_failure = getattr(self._protocol, "handshake_failed", None)
        if handle_failure is not None:
            handle_failure(error)
        else:
            peer = format_address(self._peer) if self._peer else "connection"
            logger.info("%s: TLS handshake failed: %s", peer, tls_cause(error))

    def _call_connection_lost(self, exc: BaseException | None) -> None:
        handshake = self._handshake
        if handshake is None:
            super()._call_connection_lost(exc)
            return
        try:
            self._handshake_lost(exc or ConnectionAbortedError("the connection was closed during the TLS handshake"))
        finally:
            if handshake.upgrade:
                super()._call_connection_lost(exc)
            else:
                self._release(exc)

    def _settle(self) -> None:
        """Handle what has changed in the filter."""
        raise NotImplementedError
