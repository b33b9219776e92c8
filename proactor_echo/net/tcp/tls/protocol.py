"""What a connection's protocol has to do with TLS: what it tells, how it begins in mid-stream, and how it ends.

**STARTTLS.** Whatever has come in clear text behind the command that asks for TLS was put there by somebody on the
line, who wants it taken for what the peer has encrypted (CVE-2011-0411; "NO STARTTLS", Poddebniak et al., 2021). So TLS
does not begin while such bytes are held. And whatever the program writes while the handshake is going on waits, and
leaves encrypted.

**Truncation.** TLS has an end of its own, close_notify. An end of TCP without it can be made by anybody on the line, so
it is no end of file: the connection is then broken, for the reason :attr:`DisconnectReason.TRUNCATED`. Our event loops
tell the two apart. asyncio's TLS reports both as ``eof_received()``, and there OpenSSL is asked which it was.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Literal, cast

from proactor_echo.arguments import check_flag, check_seconds
from proactor_echo.errors import Disconnected, DisconnectReason, ProtocolStateError
from proactor_echo.net.loop_api import tls_loop
from proactor_echo.net.stock.start_tls import start_tls
from proactor_echo.net.tcp.configured import ConfiguredProtocol
from proactor_echo.net.tcp.observers import ConnectionObserver
from proactor_echo.net.tcp.stream import SocketStream
from proactor_echo.wire.lifecycle import ConnectionState

if TYPE_CHECKING:
    import ssl as library

    from proactor_echo.net.tcp.core import StreamProtocol
    from proactor_echo.net.tcp.tls.description import Tls
    from proactor_echo.net.tcp.tls.info import TlsInfo

__all__ = ["TlsProtocol"]

HANDSHAKE_TIMEOUT = 10.0  # seconds; asyncio's own is 60


class TlsProtocol(ConfiguredProtocol):
    """The part of :class:`~proactor_echo.net.tcp.core.StreamProtocol` that knows of TLS."""

    #: Whether an end of TCP without TLS' own end is an end of file, and not a connection that broke.
    allow_truncation: bool = False

    #: The host that ``connect_tcp`` has connected to: a client, then, which wants to see its certificate.
    host: str | None = None

    _transport: asyncio.Transport = cast("asyncio.Transport", None)
    _stream: SocketStream
    _write_paused = False
    _observer: ConnectionObserver | None = None
    _asyncio_tls = False  # TLS by asyncio, which cannot be half closed
    _securing: asyncio.Future[None] | None = None  # the handshake of start_tls() is going on
    _handed_over = False  # to loop.start_tls(), which may look at this protocol

    @property
    def tls(self) -> TlsInfo | None:
        """What is known of the connection's TLS; None when it speaks clear text."""
        transport = self._transport
        made = None
        if transport is not None:
            with contextlib.suppress(AttributeError):  # asyncio's, which forgets everything when it is closed twice
                made = transport.get_extra_info("ssl_object")
        if made is None:
            return None
        from proactor_echo.net.tcp.tls.info import TlsInfo

        return TlsInfo(made)

    def start_tls(
        self,
        ssl: Tls | library.SSLContext | Literal[True],
        *,
        server_side: bool | None = None,
        server_hostname: str | None = None,
        handshake_timeout: float = HANDSHAKE_TIMEOUT,
    ) -> Coroutine[Any, Any, TlsInfo]:
        """Go on with TLS, as STARTTLS of many protocols asks for; await it, and nothing is sent or received in clear.

        :param ssl: a :class:`Tls` or :class:`ssl.SSLContext`; a client's may be True, as in ``connect_tcp``.
        :param server_side: which end this is; ``None``: that of ``serve_tcp`` or ``connect_tcp``, which made it.
        :param server_hostname: a client's: the name that must be in the certificate; ``None``: the host connected to.
        :param handshake_timeout: seconds.

        A server answers the command first, and calls it then. Raises :class:`ProtocolStateError` when anything has been
        received behind the command, since that has come in clear text; :class:`Disconnected` when the handshake fails,
        which ends the connection. Cancelling it ends the connection too.
        """
        check_seconds("handshake_timeout", handshake_timeout)
        if server_side is None:
            server_side = True if self._observer is not None and self.host is None else False if self.host else None
        if server_side is None:
            raise TypeError("start_tls() must be told which end this is: write server_side=True or False")
        check_flag("server_side", server_side)
        try:
            self._check_clear()
        except Disconnected as error:  # which belongs where it is awaited, and not into a callback
            return _raising(error)
        from proactor_echo.net.tcp.tls.given import client_context, server_context

        context = server_context("ssl", ssl) if server_side else client_context("ssl", ssl)
        name = None if server_side else server_hostname or self.host
        if name is None and context.check_hostname:
            raise ValueError('start_tls() needs the server\'s name: write server_hostname="mail.example"')
        self._clear_text_ends()
        return self._start_tls(context, server_side, name, handshake_timeout)

    async def _start_tls(
        self, context: library.SSLContext, server_side: bool, server_hostname: str | None, timeout: float
    ) -> TlsInfo:
        self._clear_text_ended()
        self._check_clear()
        loop = asyncio.get_running_loop()
        ours = tls_loop(loop)
        if ours is None and self._write_paused:
            raise ProtocolStateError("cannot start TLS on this event loop before the peer has taken what was sent")
        self._flush()
        self._resume_reading()
        self._securing = loop.create_future()
        try:
            if ours is None:
                await start_tls(loop, cast("StreamProtocol", self), context, server_side, server_hostname, timeout)
            else:
                from proactor_echo.loops.tls_settings import TlsSettings

                settings = TlsSettings(
                    context,
                    server_side,
                    server_hostname,
                    handshake_timeout=timeout,
                    allow_truncation=self.allow_truncation,
                )
                ours.begin_tls(self._transport, self, settings)
                await self._securing
        except BaseException:
            self.abort_for(DisconnectReason.ABORTED)
            raise
        finally:
            self._securing = None
        info = self.tls
        if self._stream.disconnect is not None or info is None:
            raise self._stream.cannot_send()
        return info

    def _check_clear(self) -> None:
        """Raise what speaks against beginning with TLS now."""
        stream = self._stream
        if stream.disconnect is None and (self._securing is not None or self.tls is not None):
            raise ProtocolStateError("this connection speaks TLS already")
        if stream.state is not ConnectionState.OPEN:
            error = stream.cannot_send()
            if isinstance(error, Disconnected):
                raise error
            raise ProtocolStateError(f"cannot start TLS: the connection is {stream.state}")
        if stream.buffered or self._holds_frames():
            self._injected()
            raise stream.cannot_send()

    def _injected(self) -> None:
        """End the connection: something in clear text has come behind the command that asked for TLS."""
        self.abort_for(
            DisconnectReason.TLS_HANDSHAKE, ConnectionAbortedError("clear text came behind the command for it")
        )

    def tls_started(self) -> None:
        """Go on: the handshake of :meth:`start_tls` is done (called by one of our own transports)."""
        if self._securing is not None and not self._securing.done():
            self._securing.set_result(None)

    def handshake_failed(self, error: BaseException) -> None:
        """End before the beginning, because of the handshake (called by one of our own transports)."""
        self._stream.abort(DisconnectReason.TLS_HANDSHAKE)
        self._stream.lost(error)
        observer, self._observer = self._observer, None
        if observer is not None:
            observer.handshake_failed(error)

    @property
    def get_buffer(self) -> Callable[[int], bytearray]:
        """Nothing: ``loop.start_tls()`` is refused here, where it asks whether this is a BufferedProtocol.

        It would put TLS below what is received, and leave this connection sending in clear text on its old transport.
        """
        if self._stream.state is not ConnectionState.OPENING and not self._handed_over:
            raise ProtocolStateError(
                "loop.start_tls() does not work on this connection, which would go on sending in clear text: "
                "write await conn.start_tls(...) instead"
            )
        raise AttributeError("get_buffer")

    # -- for StreamProtocol --------------------------------------------------------------------------------------

    def _note_tls(self) -> None:
        """See whose TLS a new connection speaks."""
        self._asyncio_tls = tls_loop(asyncio.get_running_loop()) is None

    def _truncated(self) -> bool:
        """Tell, at the end of asyncio's TLS, whether the peer has not sent the end of its own."""
        if self.allow_truncation:
            return False
        import ssl

        made = self._transport.get_extra_info("ssl_object")
        try:
            return bool(made.read(1))  # nothing: that is close_notify
        except ssl.SSLWantReadError:
            return True
        except ssl.SSLError:
            return False  # the transport says what is wrong

    def _handshake_error(self, error: BaseException | None) -> BaseException:
        """Return why a connection ended in the handshake of :meth:`start_tls`, which ends with it."""
        from proactor_echo.loops.tls_causes import tls_cause

        error = error or ConnectionResetError("the connection ended during the TLS handshake")
        self._stream.set_reason(DisconnectReason.TLS_HANDSHAKE, OSError(tls_cause(error)), forced=True)
        self.tls_started()
        return error

    def _clear_text_ends(self) -> None:
        """Take no more of what was read together with the command, if that is still being handed over."""

    def _clear_text_ended(self) -> None:
        """Undo :meth:`_clear_text_ends`."""

    # -- which StreamProtocol has --------------------------------------------------------------------------------

    def abort_for(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        """Abort for ``reason``."""
        raise NotImplementedError

    def _flush(self) -> None:
        raise NotImplementedError

    def _resume_reading(self) -> None:
        raise NotImplementedError

    def _holds_frames(self) -> bool:
        raise NotImplementedError


async def _raising(error: Disconnected) -> TlsInfo:
    raise error
