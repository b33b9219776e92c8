"""TLS in the stream transport: what arrives and what is written goes through a filter on its way.

:class:`TlsStream` is put in front of an engine's stream transport, so that buffering, limits, pausing and closing are
those of :mod:`~proactor_echo.loops.stream`, once for the whole stack: what waits to be sent is ciphertext, and what is
held back while reading is paused is too. A connection that begins in clear text becomes one of these where it is
(:func:`secure`): outstanding operations of its engine complete as before.

The life of a connection, seen by its protocol::

    (handshake) connection_made  (data_received | buffer_updated)*  [eof_received]  connection_lost
    (handshake) [handshake_failed]

``eof_received`` is the peer's close_notify; its result says, as over TCP, whether to go on sending. The end of TCP
alone is no end of file, because anybody on the network path can cause it. It is ``connection_lost(ssl.SSLEOFError)``,
unless truncation is allowed. When the transport is closed, close_notify is sent after the pending output; the peer's is
waited for only if ``ssl_shutdown_timeout`` says so.
"""

from __future__ import annotations

import ssl
from functools import cache
from typing import TYPE_CHECKING, Any

from proactor_echo.loops import private
from proactor_echo.loops.stream import StreamTransport
from proactor_echo.loops.stream_writing import BufferedWriter
from proactor_echo.loops.tls import TlsFilter, TlsState
from proactor_echo.loops.tls_handshake import Handshake, HandshakingStream

if TYPE_CHECKING:
    import asyncio
    import socket
    from collections.abc import Callable

    from proactor_echo.loops.tls_settings import TlsSettings

_FROM_TLS: dict[str, Callable[[ssl.SSLObject], Any]] = {
    "ssl_object": lambda made: made,
    "peercert": lambda made: made.getpeercert(),
    "cipher": lambda made: made.cipher(),
    "compression": lambda made: made.compression(),
}


class TlsStream(HandshakingStream):
    """What TLS adds to a stream transport; :func:`tls_class` joins it with an engine's."""

    __slots__ = ()

    _sendfile_compatible = private.SENDFILE_FALLBACK

    def _release(self, exc: BaseException | None) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None
        super()._release(exc)

    # -- receiving -----------------------------------------------------------------------------------------------

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver what arrives from now on to ``protocol``."""
        super().set_protocol(protocol)
        self._into = self._buffered
        self._buffered = False  # the engine receives ciphertext, which is not for the protocol's buffer
        self._slow = self._into or self._handshake is not None or self._leaving is not None

    def _received(self, data: bytes) -> None:
        if self._paused or self._closing:
            if not self._closing:
                self._held = data
            return
        if self._slow:
            self._deliver(data)
            return
        tls = self._tls
        plain = tls.receive(data)
        if plain:
            try:
                self._context.run(self._protocol.data_received, plain)
            except (SystemExit, KeyboardInterrupt):
                raise
            except BaseException as exc:
                self._callback_failed(exc, "data_received")
        if tls.changed:
            self._settle()

    def _deliver(self, data: bytes = b"") -> None:
        """Deliver ``data``, and what the filter got before, as long as reading is not paused."""
        tls = self._tls
        while True:
            if self._leaving is not None:
                tls.receive(data)  # only what it says about the end of the stream matters
            elif self._into and self._handshake is None:
                self._in_context("buffer_updated", self._receive_into, data)
            else:
                plain = tls.receive(data)
                if plain:
                    self._in_context("data_received", self._protocol.data_received, plain)
            if tls.changed:
                self._settle()
            if self._paused or self._closing or not tls.has_input:
                return
            data = b""

    def _receive_into(self, data: bytes) -> None:
        protocol = self._protocol
        buffer = memoryview(protocol.get_buffer(-1)).cast("B")
        if not len(buffer):
            raise RuntimeError("get_buffer() returned an empty buffer")
        count = self._tls.receive_into(data, buffer)
        del buffer  # the protocol may resize its own
        if count:
            protocol.buffer_updated(count)

    def _settle(self) -> None:
        """Handle what has changed in the filter, unless data is still to be delivered before that."""
        tls = self._tls
        if self._paused and tls.has_input and tls.state is not TlsState.OPEN:
            return
        tls.changed = False
        out = tls.take_output()
        if out and not self._conn_lost and not self._eof:
            BufferedWriter.write(self, out)
        state = tls.state
        if state is TlsState.HANDSHAKING or self._closing:
            return
        if state is TlsState.FAILED:
            if self._leaving is not None:
                super().close()
            else:
                self._fatal_error(tls.error, "Fatal error on TLS")  # type: ignore[arg-type]
        elif self._leaving is not None:
            if state is TlsState.CLOSED:
                super().close()
        elif self._handshake is not None:
            self._handshake_done()
        elif state is not TlsState.OPEN and not self._ended and not tls.can_receive:
            self._peer_ended()

    def _peer_ended(self) -> None:
        """Pass the peer's close_notify on."""
        private.keep_streams_open(self._protocol)
        super()._end_of_file()

    def _end_of_file(self) -> None:
        """Engine: TCP has ended; whether TLS has is another question."""
        if self._leaving is not None:
            super().close()
        elif self._paused and not self._closing:
            if self._held is None:
                self._held = b""
        elif self._ended or self._closing or self._failure is not None:
            pass
        elif self._handshake is not None:
            self._fatal_error(ConnectionResetError("the peer closed the connection during the TLS handshake"))
        elif self._tls.can_receive and not self._allows_truncation():
            self._fatal_error(
                ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer ended the connection without TLS close_notify: truncated")
            )
        else:
            self._peer_ended()

    def _allows_truncation(self) -> bool:
        allowed = self._settings.allow_truncation
        return bool(self._loop.allow_tls_truncation if allowed is None else allowed)

    def _receive_failed(self, exc: BaseException) -> None:
        if self._leaving is not None and not self._size:
            super().close()
        else:
            super()._receive_failed(exc)

    def resume_reading(self) -> None:
        """Undo :meth:`pause_reading`."""
        if self._paused and not self._closing and self._held is None and (self._tls.has_input or self._tls.changed):
            self._loop._check_closed()
            self._paused = False
            self._loop.call_soon(self._deliver_held)
        else:
            super().resume_reading()

    def _deliver_held(self) -> None:
        if self._paused or self._closing:
            return
        if self._tls.has_input:
            self._deliver()
        if self._tls.changed and not self._paused:
            self._settle()
        if self._paused or self._closing or self._ended:
            return
        if self._held is None:
            self._receive_on()
        else:
            super()._deliver_held()

    # -- writing -------------------------------------------------------------------------------------------------

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        """Send ``data`` after everything written before it."""
        if type(data) is not bytes and type(data) is not bytearray:
            if not isinstance(data, bytes | bytearray | memoryview):
                raise TypeError(f"data argument must be a bytes-like object, not {type(data).__name__!r}")
            data = bytes(data)
        if data and (self._may_write or self._write_is_due(data)):  # type: ignore[arg-type]
            tls = self._tls
            ciphertext = tls.send(data)
            if ciphertext:
                BufferedWriter.write(self, ciphertext)
            elif tls.early_size > self._high_water:
                self._maybe_pause_protocol()
            if tls.changed:  # not at once: the protocol may be writing where it is handed what came before an end
                self._loop.call_soon(self._settle_later)

    def _settle_later(self) -> None:
        if self._tls.changed:
            self._settle()

    def get_write_buffer_size(self) -> int:
        """Bytes not yet taken by the system: of ciphertext, and during the handshake of what waits for its end."""
        return self._size + self._tls.early_size

    def can_write_eof(self) -> bool:
        """Whether the peer goes on sending after our close_notify, as TLS 1.3 has it."""
        made = self._tls.ssl_object
        return made is not None and made.version() == "TLSv1.3"

    def write_eof(self) -> None:
        """Send what was written, then close_notify and our end of file; receiving goes on.

        Over TLS 1.2 too, but there the peer has to answer at once, and drops what it had still to send.
        """
        if self._closing or self._eof or self._leaving is not None:
            return
        if self._handshake is not None:
            raise RuntimeError("Cannot call write_eof() during the TLS handshake")
        self._say_goodbye()
        super().write_eof()

    def _say_goodbye(self) -> None:
        out = self._tls.close()
        if out and self._may_write:
            BufferedWriter.write(self, out)

    # -- closing -------------------------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        """Whether the connection is closing or closed."""
        return self._closing or self._leaving is not None

    def close(self) -> None:
        """Send what was written and close_notify, then close. Nothing more is received."""
        if self._closing or self._leaving is not None:
            return
        if self._handshake is not None:
            self._force_close(None)
            return
        self._say_goodbye()
        seconds = self._settings.shutdown_timeout
        if not seconds or self._closing:  # sending it may have failed
            super().close()
            return
        self._leaving = self._loop.call_later(seconds, self._leaving_expired, context=self._context)
        if not self._tls.can_receive or self._ended:
            super().close()
            return
        self._may_write = False
        self._slow = True
        self._paused = False
        if self._held is None:
            self._deliver()
            if not self._closing:
                self._receive_on()
        else:
            self._deliver_held()

    def _leaving_expired(self) -> None:
        self._force_close(TimeoutError("SSL shutdown timed out"))

    # -- information ---------------------------------------------------------------------------------------------

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """As over TCP, and ``ssl_object``, ``sslcontext``, ``peercert``, ``cipher`` and ``compression``."""
        if name == "sslcontext":
            return self._settings.context
        if (found := _FROM_TLS.get(name)) is not None:
            made = self._tls.ssl_object
            return default if made is None or self._handshake is not None else found(made)
        return super().get_extra_info(name, default)


@cache
def tls_class(stream_class: type[StreamTransport]) -> type[TlsStream]:
    """Return the class of an engine's stream transport with TLS."""
    made: type[TlsStream] = type("Tls" + stream_class.__name__, (TlsStream, stream_class), {"__slots__": ()})
    return made


def make_tls_stream(
    loop: Any,
    sock: socket.socket,
    protocol: asyncio.BaseProtocol,
    settings: TlsSettings,
    *,
    waiter: asyncio.Future[None] | None = None,
    **how: Any,
) -> TlsStream:
    """Make the transport of a connected socket; ``how`` as ``StreamTransport`` takes it. It is still to be opened.

    With a ``waiter``, that future gets the end of the handshake.
    """
    tls = make_filter(settings)
    transport = tls_class(loop._stream_class)(loop, sock, protocol, **how)
    handshake = Handshake(settings)
    handshake.waiter = waiter
    transport.set_up(protocol, settings, tls, handshake)
    return transport


def secure(
    transport: StreamTransport,
    protocol: asyncio.BaseProtocol,
    settings: TlsSettings,
    *,
    waiter: asyncio.Future[None] | None = None,
    early: bytes = b"",
) -> TlsStream:
    """Go on with TLS on a connection in clear text; ``early`` is what the peer has sent of it so far.

    ``protocol`` hears of no second connection. A ``waiter`` gets the end of the handshake; without one
    ``protocol.tls_started()`` is called. When the handshake fails the connection is lost.
    """
    tls = make_filter(settings)
    transport.__class__ = tls_class(type(transport))
    assert isinstance(transport, TlsStream)
    handshake = Handshake(settings, upgrade=True)
    handshake.waiter = waiter
    transport.set_up(protocol, settings, tls, handshake)
    transport._paused = False
    transport._held = early + (transport._held or b"") or transport._held
    transport._open()
    return transport


def make_filter(settings: TlsSettings) -> TlsFilter:
    """Make the filter of a connection; a client's arguments that the ssl module refuses are refused here."""
    return TlsFilter(
        settings.context,
        server_side=settings.server_side,
        server_hostname=settings.server_hostname,
        session=settings.session,
    )
