"""StreamProtocol: the life of one connection on any asyncio event loop, whatever its bytes mean.

Its states are those of :mod:`proactor_echo.wire.lifecycle`. Whoever ends it, and however, it comes to its end in one
place, :meth:`StreamProtocol.connection_lost`, which leaves one :class:`~proactor_echo.errors.Disconnect`. What its
callbacks raise stays here: it ends the connection, and never reaches the transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any, Protocol, cast

from proactor_echo.arguments import check_seconds
from proactor_echo.errors import Disconnect, DisconnectReason, ProtocolStateError
from proactor_echo.net.stats import ConnectionStats
from proactor_echo.net.tcp.ending import Ending, log_level, lost_error
from proactor_echo.net.tcp.started import Started, nothing_to_wait_for
from proactor_echo.net.tcp.timers import IdleTimer, StallTimer
from proactor_echo.sockets.addresses import format_address
from proactor_echo.wire.lifecycle import ConnectionState, Event, Lifecycle

__all__ = ["Owner", "StreamProtocol", "next_wake", "wake"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")


class StreamProtocol(asyncio.Protocol):
    """One connection: opened, ended, half-closed, held up by a peer that does not read, and counted.

    A subclass gives meaning to the bytes in :meth:`data_received`, :meth:`_begin` and :meth:`_stream_ended`, and writes
    with :meth:`_write`.
    """

    #: Seconds for which a closing connection may hand nothing of what is owed to the system before the rest is dropped.
    close_timeout: float = 10.0

    #: Why the connection ended; ``None`` while it is open.
    disconnect: Disconnect | None = None

    # What most connections never change is kept in the class: making a connection is work that is done often.
    _transport: asyncio.Transport = cast("asyncio.Transport", None)
    _write_paused = False
    _tls = False
    _resetting = False
    _end_told = False
    _peer = ""  # see `peer`
    _address: Any = None
    _owner: Owner | None = None
    _socket: socket.socket | None = None
    _closer: StallTimer | None = None
    _closers: list[asyncio.Future[None]] | None = None

    def __init__(self) -> None:
        self._stats = ConnectionStats()
        self._lifecycle = Lifecycle(self._state_changed)
        self._out: list[bytes] = []
        self._ending = Ending()
        self._idle: IdleTimer | None = None  # asked for with every message

    # -- for subclasses ------------------------------------------------------------------------------------------

    def connection_opened(self) -> None:
        """Handle the new connection; sending works from here on."""

    def end_received(self) -> None:
        """Handle the peer's end of file, after its last frame. The default sends what is owed, then ends too."""
        self.close()

    def connection_closed(self, disconnect: Disconnect) -> None:
        """Handle the end of the connection, called exactly once; ``disconnect`` tells why."""

    # -- ending --------------------------------------------------------------------------------------------------

    def send_eof(self) -> Started[None]:
        """Send our end of file after everything sent so far; receiving goes on. Doing it twice is harmless.

        It is done when the call returns; it may be awaited all the same.
        """
        self._send_eof()
        return Started(nothing_to_wait_for)

    def _send_eof(self) -> None:
        if self._lifecycle.state is ConnectionState.OPENING:
            raise ProtocolStateError("cannot send an end of file: the connection is opening")
        if not self._lifecycle.can_send or self._transport.is_closing():
            return
        if not self._transport.can_write_eof():
            raise ProtocolStateError("this transport (TLS) cannot send an end of file and go on receiving")
        self._flush()
        # The stock transports let the shutdown() of a socket fail that the peer has just reset. Reading tells why.
        with contextlib.suppress(OSError):
            self._transport.write_eof()
        if self._lifecycle.on(Event.SEND_EOF) is ConnectionState.CLOSING:
            self._close(DisconnectReason.LOCAL_CLOSE)

    def close(self) -> Started[None]:
        """Send what is owed, then end the connection. Doing it twice is harmless.

        Closing begins with the call; ``await`` waits until the connection has ended. That is bounded: when the system
        takes nothing of what is owed for ``close_timeout`` seconds, because the peer does not, the rest is dropped.
        """
        self._close(DisconnectReason.LOCAL_CLOSE)
        return Started(self._until_closed)

    async def wait_closed(self) -> Disconnect:
        """Wait until the connection has ended, however it ends; return why."""
        while self.disconnect is None:
            if self._closers is None:
                self._closers = []
            await next_wake(self._closers)
        return self.disconnect

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is dropped."""
        self.cut(DisconnectReason.ABORTED)

    def reset(self) -> None:
        """End the connection at once with a TCP reset: the peer gets an error where :meth:`abort` may look orderly."""
        if self._lifecycle.state not in (ConnectionState.OPENING, ConnectionState.CLOSED):
            # Closing a socket that lingers for 0 seconds sends a reset, unless it has been shut down before.
            linger = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)
            with contextlib.suppress(OSError):
                self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._resetting = True
        self.abort()

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def state(self) -> ConnectionState:
        """Where the connection is in its life."""
        return self._lifecycle.state

    @property
    def stats(self) -> ConnectionStats:
        """What passed so far."""
        return self._stats

    @property
    def peer(self) -> str:
        """The peer's address as text: ``127.0.0.1:50001``, ``[::1]:50001``."""
        if not self._peer and self._address:
            self._peer = format_address(self._address)
        return self._peer

    @property
    def local(self) -> str:
        """Our own address as text."""
        address = self._transport.get_extra_info("sockname") if self._transport else None
        return format_address(address) if address else ""

    @property
    def transport(self) -> asyncio.Transport:
        """The asyncio transport below."""
        return self._transport

    # -- for whoever made the protocol, before and while it is connected -----------------------------------------

    def own(self, owner: Owner | None, sock: socket.socket | None = None, address: Any = None) -> None:
        """Tell ``owner`` about the connection's beginning and end; close ``sock`` when it has ended.

        ``address`` is the peer's as it was accepted: a socket that was reset since does not know it any more.
        """
        self._owner = owner
        self._socket = sock
        self._address = address

    def limit_idle(self, seconds: float) -> None:
        """End the connection once nothing passed either way for so many seconds."""
        check_seconds("seconds", seconds)
        self._idle = IdleTimer(seconds, self._idle_expired)

    def finish(self) -> None:
        """Come to an end as if the peer had sent its end of file here, unless it is coming to one already."""
        if self._lifecycle.can_receive:
            self._tell_end()

    def cut(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        """Abort for ``reason``."""
        self._ending.note(reason, error, forced=True)
        if self._lifecycle.state is not ConnectionState.CLOSED:
            self._out.clear()
            self._lifecycle.on(Event.ABORT)
            if self._transport is not None:
                self._transport.abort()

    def crashed(self, error: BaseException) -> None:
        """End this connection because of an exception in the code that serves it, with one log record."""
        logger.error("%s: serving the connection failed; it is closed", self.peer or "connection", exc_info=error)
        self.cut(DisconnectReason.HANDLER_FAILED, error)

    def without_own(self, error: BaseException) -> BaseException | None:
        """Return what is left of ``error`` without what this connection raised because it has ended; None: nothing."""
        return self._ending.without_own(error)

    @property
    def get_buffer(self) -> Callable[[int], bytearray]:
        """Nothing: this protocol has no buffer of its own.

        ``loop.start_tls()`` asks every protocol whether it is a :class:`asyncio.BufferedProtocol`, before anything is
        changed. It would put TLS below what is received, and leave this connection sending in clear text on the
        transport that it has. So it is refused here, where it asks.
        """
        if self._lifecycle.state is not ConnectionState.OPENING:
            raise ProtocolStateError(
                "loop.start_tls() does not work on this connection, which would go on sending in clear text: "
                "begin with TLS instead, by serve_tcp(ssl=...)"
            )
        raise AttributeError("get_buffer")

    # -- asyncio.Protocol: called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection (called by the event loop)."""
        self._transport = cast("asyncio.Transport", transport)
        self._tls = transport.get_extra_info("sslcontext") is not None
        if self._address is None:
            self._address = transport.get_extra_info("peername")
        if self._lifecycle.state is not ConnectionState.OPENING:
            self._transport.abort()  # closed before it was there
            return
        self._lifecycle.on(Event.CONNECTED)
        if self._owner is not None:
            self._owner.connection_opened(self)
        self._call(self._begin)

    def eof_received(self) -> bool:
        """Note the peer's end of file, once: a paused proactor transport of the standard library reports it twice."""
        if self._lifecycle.can_receive:
            self._ending.peer_ended = True
            both_ended = self._lifecycle.on(Event.PEER_EOF) is ConnectionState.CLOSING
            self._stream_ended()
            if both_ended:
                self._close(DisconnectReason.LOCAL_CLOSE)
        # Keeping the transport open is ours to decide; TLS cannot be half closed and asyncio warns when asked to.
        return not self._tls

    def connection_lost(self, exc: Exception | None) -> None:
        """End the connection's life (called by the transport, once)."""
        self._lifecycle.on(Event.LOST)
        self._out.clear()
        for timer in (self._idle, self._closer):
            if timer is not None:
                timer.cancel()
        self._idle = self._closer = None  # they know us too: cycles would be left to the garbage collector
        self.disconnect = disconnect = self._ending.disconnect(exc)
        self._close_socket()
        level = log_level(disconnect)
        if logger.isEnabledFor(level):
            logger.log(level, "%s: %s", self.peer or "connection", disconnect.text)
        self._call(self.connection_closed, disconnect)
        if self._closers is not None:
            wake(self._closers)
        owner, self._owner = self._owner, None  # it knows us too: a cycle would be left to the garbage collector
        if owner is not None:
            owner.connection_closed(self, disconnect)

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read (called by the transport)."""
        self._write_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """Read on (called by the transport)."""
        self._write_paused = False
        self._resume_reading()

    # -- what the bytes mean -------------------------------------------------------------------------------------

    def _begin(self) -> None:
        """Get ready for the first bytes; what this raises ends the connection."""
        self.connection_opened()

    def _stream_ended(self) -> None:
        """Handle the end of the peer's bytes."""
        self._tell_end()

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    async def _until_closed(self) -> None:
        await self.wait_closed()

    def _tell_end(self) -> None:
        if not self._end_told:
            self._end_told = True
            self._call(self.end_received)

    def _flush(self) -> None:
        if out := self._out:
            self._out = []
            self._write(b"".join(out))

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # it broke, and connection_lost() is on its way; asyncio would warn
        self._stats.bytes_out += len(data)
        if self._idle is not None:
            self._idle.touch()
        self._transport.write(data)

    def _pause_reading(self) -> None:
        if self._lifecycle.can_receive and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        # Not after the end of file: the stock transports would find and report it once more.
        if self._lifecycle.can_receive and not self._transport.is_closing():
            self._transport.resume_reading()

    def _check_sendable(self) -> None:
        if self._lifecycle.can_send:
            return
        if self.disconnect is not None or self._ending.is_forced:
            raise self._ending.sign(lost_error(self.peer, self.disconnect or self._ending.disconnect(None)))
        if self._lifecycle.state is ConnectionState.OUR_EOF:
            raise ProtocolStateError("cannot send after send_eof(), which told the peer that nothing more comes")
        raise ProtocolStateError(f"cannot send: the connection is {self._lifecycle.state}")

    def _close(self, reason: DisconnectReason) -> None:
        self._ending.note(reason)
        transport = self._transport
        if transport is None:
            self._lifecycle.on(Event.CLOSE)
        elif not transport.is_closing():
            self._flush()
            self._lifecycle.on(Event.CLOSE)
            transport.close()
            # A TLS peer has to say goodbye as well, for which asyncio would wait 30 seconds.
            if self._tls or transport.get_write_buffer_size():
                self._closer = StallTimer(self.close_timeout, transport.get_write_buffer_size, self._stalled)

    def _close_socket(self) -> None:
        if self._socket is not None:
            # The stock proactor transport shuts the socket down after connection_lost(), unguarded: an error there
            # leaves the socket open and logs "Exception in callback" (gh-83191). It skips that for a closed socket.
            with contextlib.suppress(OSError):
                if not self._resetting:
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _stalled(self) -> None:
        self.cut(DisconnectReason.TIMED_OUT)

    def _idle_expired(self) -> None:
        self._close(DisconnectReason.IDLE_TIMEOUT)

    def _call(self, callback: Callable[..., None], *args: object) -> None:
        try:
            callback(*args)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # CancelledError too: the result of a cancelled future raises it
            self.crashed(error)

    def _state_changed(self, before: ConnectionState, after: ConnectionState) -> None:
        """Tell whoever waits for a change; the callback form has nobody."""


async def next_wake(waiters: list[asyncio.Future[None]]) -> None:
    """Wait until :func:`wake` is called for ``waiters``."""
    waiter = asyncio.get_running_loop().create_future()
    waiters.append(waiter)
    try:
        await waiter
    finally:
        waiters.remove(waiter)


def wake(waiters: list[asyncio.Future[None]]) -> None:
    """Let everybody go on who waits."""
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


class Owner(Protocol):
    """What a server that owns connections is told."""

    def connection_opened(self, protocol: Any) -> None:
        """Count a connection in."""

    def connection_closed(self, protocol: Any, disconnect: Disconnect) -> None:
        """Count it out."""
