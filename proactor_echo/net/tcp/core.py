"""StreamProtocol: the I/O of one connection, on any asyncio event loop.

The state of a connection, its decoder, its counters and the cause of its end are in its
:class:`~proactor_echo.wire.connection.FramedStream`. Here is the I/O around that: the transport, pending output, two
timers, the socket.

However a connection ends, its end is handled in one place, :meth:`StreamProtocol.connection_lost`, which sets one
:class:`~proactor_echo.errors.Disconnect`. An exception of a callback ends the connection, and never reaches the
transport.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING, Final

from proactor_echo.arguments import check_seconds
from proactor_echo.errors import Disconnect, DisconnectReason, ProtocolStateError
from proactor_echo.net.tcp.deadlines import Deadlines, DeadlineSweep
from proactor_echo.net.tcp.observers import ConnectionObserver, next_wake, wake
from proactor_echo.net.tcp.properties import ConnectionProperties
from proactor_echo.net.tcp.started import Started, nothing_to_wait_for
from proactor_echo.net.tcp.stream import LEVELS, SocketStream, logger
from proactor_echo.net.tcp.timers import StallTimer
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.options import reset_on_close
from proactor_echo.wire.connection import LOCAL_CLOSE
from proactor_echo.wire.lifecycle import ConnectionState

__all__ = ["StreamProtocol"]

END_OF_FILE: Final = DisconnectReason.END_OF_FILE


class StreamProtocol(ConnectionProperties):
    """One connection on a transport: opening, writing, half-close, closing, back pressure.

    A subclass handles the frames, in :meth:`data_received` and :meth:`_handle_last`, and bytes of the peer that are no
    frame (:meth:`_framing_failed`).
    """

    # Attributes that most connections never change are in the class: connections are made often.
    _has_watchers = False  # tasks may wait for a change of the state
    _resetting = False
    _end_reported = False
    _socket: socket.socket | None = None
    _idle: DeadlineSweep | None = None  # for this connection alone
    _seen_by_server: object = None  # of the sweeps: what they saw last
    _seen_by_itself: object = None
    _closer: StallTimer | None = None
    _closers: list[asyncio.Future[None]] | None = None

    def __init__(self) -> None:
        self._stream = SocketStream(self.codec)
        self._out: list[bytes] = []  # encoded frames that are written together

    # -- for subclasses ------------------------------------------------------------------------------------------

    def connection_opened(self) -> None:
        """Handle the new connection; sending works from here on."""

    def end_received(self) -> None:
        """Handle the peer's end of file, after its last frame. By default the connection is closed."""
        self._close(LOCAL_CLOSE)

    def connection_closed(self, disconnect: Disconnect) -> None:
        """Handle the end of the connection, called exactly once; ``disconnect`` is the reason."""

    # -- ending --------------------------------------------------------------------------------------------------

    def send_eof(self) -> Started[None]:
        """Send our end of file after everything sent so far; receiving goes on. Doing it twice is harmless.

        It is done when the call returns; the result may be awaited, and need not be.
        """
        stream, transport = self._stream, self._transport
        if stream.can_send:
            if transport.is_closing():
                return Started(nothing_to_wait_for)  # it broke, and connection_lost() is on its way
            if not transport.can_write_eof():
                raise ProtocolStateError("this transport (TLS) cannot send an end of file and go on receiving")
            self._flush()
        if stream.send_eof():
            # On a socket that the peer has just reset, shutdown() of stock transports fails. Reading gets the reason.
            with contextlib.suppress(OSError):
                transport.write_eof()
            if self._has_watchers:
                self._state_changed()
            if stream.state is ConnectionState.CLOSING:
                self._close(DisconnectReason.LOCAL_CLOSE)
        return Started(nothing_to_wait_for)

    def close(self) -> Started[None]:
        """Send the pending output, then end the connection. Doing it twice is harmless.

        Closing begins with the call; ``await`` waits until the connection has ended. That is bounded: when the system
        takes no pending output for ``close_timeout`` seconds, because the peer does not read, the rest is dropped.
        """
        self._close(DisconnectReason.LOCAL_CLOSE)
        return Started(self._until_closed)

    async def wait_closed(self) -> Disconnect:
        """Wait until the connection has ended, however it ends; return why."""
        while (disconnect := self._stream.disconnect) is None:
            if self._closers is None:
                self._closers = []
            await next_wake(self._closers)
        return disconnect

    def abort(self) -> None:
        """End the connection at once; what was not sent yet is dropped."""
        self.abort_for(DisconnectReason.ABORTED)

    def reset(self) -> None:
        """End the connection at once with a TCP reset: the peer gets an error where :meth:`abort` may look orderly."""
        if self._stream.state not in (ConnectionState.OPENING, ConnectionState.CLOSED):
            with contextlib.suppress(OSError):
                reset_on_close(self._transport.get_extra_info("socket"))
            self._resetting = True
        self.abort()

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Whether there is no pending output, and no part of a frame received."""
        transport = self._transport
        return transport is None or not (self._stream.buffered or self._out or transport.get_write_buffer_size())

    # -- for servers and clients ---------------------------------------------------------------------------------

    def attach(
        self, observer: ConnectionObserver | None, sock: socket.socket | None = None, address: Address | None = None
    ) -> None:
        """Report the connection's beginning and end to ``observer``; close ``sock`` when it has ended.

        ``address`` is the peer's as it was accepted: a socket that was reset since does not know it any more.
        """
        self._observer = observer
        self._socket = sock
        self._stream.peer = address

    def set_idle_timeout(self, seconds: float) -> None:
        """End the connection when no data passed, either way, for so many seconds."""
        check_seconds("seconds", seconds)
        if self._idle is not None:
            self._idle.cancel()
        deadlines = Deadlines(idle=seconds)
        loop = asyncio.get_running_loop()
        self._seen_by_itself = None
        self._idle = DeadlineSweep(deadlines, lambda: (self,), loop, record_name="_seen_by_itself")

    def drain(self) -> None:
        """End as if the peer had sent its end of file now, unless the connection is ending already."""
        if self._stream.can_receive and not self._end_reported:
            self._report_end()

    def end_for(self, reason: DisconnectReason) -> None:
        """Close the connection, for ``reason``; what was sent is still flushed."""
        self._close(reason)

    def abort_for(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        """End the connection at once, for ``reason``."""
        if self._stream.abort(reason, error):
            self._out.clear()
            if self._has_watchers:
                self._state_changed()
            if self._transport is not None:
                self._transport.abort()

    def handler_failed(self, error: BaseException) -> None:
        """End the connection because the code that serves it raised ``error``, with one log record."""
        if self.on_error is not None:
            self.on_error(error)
        logger.error(
            "%s: serving the connection failed; it is closed",
            self._log_name,
            exc_info=error,
            extra={"event": "handler_failed", **self._log_attributes()},
        )
        self.abort_for(DisconnectReason.HANDLER_FAILED, error)

    def without_end_errors(self, error: BaseException) -> BaseException | None:
        """Return ``error`` without what this connection raised because it has ended; None if nothing is left."""
        return self._stream.without_end_errors(error)

    # -- asyncio.Protocol: called by the transport ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection (called by the event loop)."""
        if TYPE_CHECKING:
            assert isinstance(transport, asyncio.Transport)
        stream, observer = self._stream, self._observer
        self._transport = transport
        self._opened_at = time.monotonic()
        if transport.get_extra_info("sslcontext") is not None:
            self._note_tls()
        if stream.peer is None:
            stream.peer = transport.get_extra_info("peername")
        if stream.is_closing:
            transport.abort()  # closed before it was there
            return
        if observer is not None and observer.observes_opening:
            observer.protocol_opened(self)
        try:
            self._begin()
        except BaseException as error:
            self._raised(error)

    def eof_received(self) -> bool:
        """Handle the peer's end of file once: a paused proactor transport of the standard library reports it twice."""
        stream = self._stream
        if stream.can_receive and self._asyncio_tls and self._truncated():
            self.abort_for(DisconnectReason.TRUNCATED)
        elif stream.can_receive:
            both_ended = not stream.can_send
            try:
                frames = stream.feed_eof()
            except Exception as error:
                self.handler_failed(error)
            else:
                if self._has_watchers:
                    self._state_changed()
                if frames:
                    self._handle_last(frames)
                if stream.failure is not None:
                    self._framing_failed()
                elif not self._end_reported:
                    self._report_end()
            if both_ended:
                self._close(LOCAL_CLOSE)
        # True keeps the transport open. asyncio's TLS cannot be half-closed, and asyncio warns when asked to.
        return not self._asyncio_tls

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle the end of the connection (called by the transport)."""
        if self._stream.disconnect is not None:
            return  # the handshake of start_tls() has ended it; asyncio reports that now and then
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None  # it refers to us: a cycle would be left to the garbage collector
        if self._closer is not None:
            self._closer.cancel()
            self._closer = None
        self._out.clear()
        disconnect = self._stream.lost(exc if self._securing is None else self._handshake_error(exc))
        if self._has_watchers:
            self._state_changed()
        if self._socket is not None:
            self._close_socket()
        if disconnect.reason is not END_OF_FILE or logger.isEnabledFor(logging.DEBUG):
            self._log_end(disconnect)
        try:
            self.connection_closed(disconnect)
        except BaseException as error:
            self._raised(error)
        if self._closers is not None:
            wake(self._closers)
        observer, self._observer = self._observer, None  # which refers to us too
        if observer is not None:
            observer.protocol_closed(self, disconnect)

    def pause_writing(self) -> None:
        """Stop reading from a peer that does not read (called by the transport)."""
        self._write_paused = True
        self._pause_reading()

    def resume_writing(self) -> None:
        """Resume reading (called by the transport)."""
        self._write_paused = False
        self._resume_reading()

    # -- what a subclass adds ------------------------------------------------------------------------------------

    def _holds_frames(self) -> bool:
        """Whether frames have been received that nobody has handled yet."""
        return False

    def _begin(self) -> None:
        """Open the connection; an exception in it ends the connection."""
        self._stream.codec = self.codec
        self._stream.connected()
        if self._has_watchers:
            self._state_changed()
        if self.write_limit is not None:
            self._transport.set_write_buffer_limits(*self.write_limit)
        self.connection_opened()

    def _handle_last(self, frames: list[bytes]) -> None:
        """Handle frames that are complete by the peer's end of file."""
        raise NotImplementedError

    def _framing_failed(self) -> None:
        """Handle bytes that are no frame, the stream's ``failure``. The frames before them were handled."""
        raise NotImplementedError

    def _state_changed(self) -> None:
        """Wake tasks that wait for a change of the state, in a form that ``_has_watchers``."""

    # -- below: how the pieces above do it -----------------------------------------------------------------------

    async def _until_closed(self) -> None:
        await self.wait_closed()

    def _report_end(self) -> None:
        self._end_reported = True
        try:
            self.end_received()
        except BaseException as error:
            self._raised(error)

    def _flush(self) -> None:
        """Write the frames that are to be written together."""
        out = self._out
        if out:
            data = b"".join(out)
            out.clear()  # and not a new list: a Connection refers to it too
            self._stream.bytes_out += len(data)
            self._transport.write(data)

    def _write(self, data: bytes) -> None:
        if self._transport.is_closing():
            return  # it broke, and connection_lost() is on its way; asyncio would warn if this went on and on
        self._stream.bytes_out += len(data)
        self._transport.write(data)

    def _pause_reading(self) -> None:
        if self._stream.can_receive and not self._transport.is_closing():
            self._transport.pause_reading()

    def _resume_reading(self) -> None:
        # Not after the end of file: the stock transports would find and report it once more.
        if self._stream.can_receive and not self._transport.is_closing():
            self._transport.resume_reading()

    def _close(self, reason: DisconnectReason, error: BaseException | None = None) -> None:
        transport = self._transport
        if self._out and transport is not None and not self._stream.is_closing:
            self._flush()
        if not self._stream.close(reason, error):
            return
        if self._has_watchers:
            self._state_changed()
        if transport is not None and not transport.is_closing():
            transport.close()
            # With asyncio's TLS the peer has to send its close_notify too, for which it would wait 30 seconds.
            if self._asyncio_tls or transport.get_write_buffer_size():
                self._closer = StallTimer(self.close_timeout, transport.get_write_buffer_size, self._stalled)

    def _close_socket(self) -> None:
        if self._socket is not None:
            # The stock proactor transport shuts the socket down after connection_lost(), unguarded: an error there
            # leaves the socket open and logs "Exception in callback" (gh-83191). It skips that for a closed socket.
            with contextlib.suppress(OSError):
                if not self._resetting:
                    self._socket.shutdown(socket.SHUT_RDWR)
            self._socket.close()

    def _log_end(self, disconnect: Disconnect) -> None:
        """Log why the connection ended: one line for an error of the peer, a normal end at level DEBUG only."""
        level = LEVELS.get(disconnect.reason, logging.INFO)
        if logger.isEnabledFor(level):
            attributes = {
                "event": "connection_ended",
                "reason": str(disconnect.reason),
                "number": disconnect.number,
                "bytes_in": self.received_bytes,
                "bytes_out": self.sent_bytes,
                "duration": self.age,
                **self._log_attributes(),
            }
            logger.log(level, "%s: %s", self._log_name, disconnect.text, extra=attributes)

    def _stalled(self) -> None:
        self.abort_for(DisconnectReason.TIMED_OUT)

    def _raised(self, error: BaseException) -> None:
        """End the connection because a callback raised ``error``, unless that is to end the program."""
        if isinstance(error, KeyboardInterrupt | SystemExit):
            raise error
        self.handler_failed(error)  # CancelledError too: the result of a cancelled future raises it
