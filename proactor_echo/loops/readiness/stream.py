"""The stream transport of the readiness engine: the poller says that a call would not block, and it is made here."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Final

from proactor_echo.loops.engine import Handler
from proactor_echo.loops.stream import StreamTransport
from proactor_echo.loops.stream_writing import contained

if TYPE_CHECKING:
    import asyncio


# Bytes asked for in a receive. The interpreter allocates so much, frees at once what was not needed, and holds nothing
# between receives: so there is nothing to adapt. From 128 KiB on glibc maps and unmaps memory, which costs more than a
# second receive. 64 KiB in TLS come in four records, whose headers and tags are to fit too.
RECEIVE_SIZE: Final = 64 * 1024 + 512


class ReadinessStream(StreamTransport):
    """A stream transport driven by readiness."""

    __slots__ = ("_fd", "_interest", "_receiving")

    def _init_engine(self, sock: socket.socket) -> None:
        self._fd = sock.fileno()
        self._interest = 0  # what the poller watches for
        self._receiving = False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        """Deliver what arrives from now on to ``protocol``."""
        super().set_protocol(protocol)
        self._redirect()

    def _watch(self, interest: int) -> None:
        """Have the poller watch for ``interest``, and call the handler that fits it and the state of the transport."""
        poller = self._loop._selector
        if poller is None:
            self._interest = interest  # the loop is closed
        elif interest == self._interest:
            self._redirect()
        else:
            before, self._interest = self._interest, interest
            if not interest:
                poller.forget(self._fd)
                return
            try:
                poller.watch(self._fd, interest, self._handler())
            except BaseException:
                self._interest = before  # closing, which follows, must not look for what is not watched
                raise

    def _redirect(self) -> None:
        """Have the poller call the handler that fits from now on, if it watches at all."""
        if self._interest and self._loop._selector is not None:
            self._loop._selector.redirect(self._fd, self._handler())

    def _handler(self) -> Handler:
        return self._receiver() if self._interest == self._loop._selector.READ else self._both

    def _receiver(self) -> Handler:
        if not self._receiving:
            return self._unwanted
        return self._readable_into if self._buffered else self._readable

    def _start_receiving(self) -> None:
        """Receive until :meth:`_stop_receiving`.

        Lifetime: nothing is left with the kernel; the poller holds this transport, by its handler, until
        :meth:`_cancel_pending` or until an event finds that nothing is wanted.
        """
        self._receiving = True
        poller = self._loop._selector
        if self._interest:
            self._watch(self._interest | poller.READ)
        else:  # the first time, as in every connection
            poller.watch(self._fd, poller.READ, self._readable_into if self._buffered else self._readable)
            self._interest = poller.READ

    def _stop_receiving(self) -> None:
        """Pausing and resuming cost no system call unless something arrives in between: see :meth:`_unwanted`."""
        if self._receiving:
            self._receiving = False
            self._redirect()

    def _submit_send(self) -> None:
        """Send ``_head`` when the socket is writable.

        Lifetime: the transport holds the bytes, the poller the transport, until the handler has reported.
        """
        self._watch(self._interest | self._loop._selector.WRITE)

    def _has_more_to_receive(self) -> bool:
        more = b""
        if self._receiving and self._sock is not None:
            with contained:  # what fails here has nothing more
                more = self._sock.recv(1, socket.MSG_PEEK)
        return bool(more)

    def _cancel_pending(self) -> bool:
        self._receiving = False
        if self._interest:
            self._watch(0)
        return True

    def _readable(self, _mask: int) -> None:
        try:
            data = self._sock.recv(RECEIVE_SIZE)  # type: ignore[union-attr]  # there is one while it is watched
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:
            self._receive_failed(exc)
            return
        if not data:
            self._end_of_file()
            return
        self._received(data)

    def _readable_into(self, _mask: int) -> None:
        buffer = self._get_buffer()
        if buffer is None or self._sock is None:
            return
        try:
            count = self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # a buffer that is read-only, or none, among others
            self._receive_failed(exc)
            return
        if count:
            self._buffer_updated(count)
        else:
            self._end_of_file()

    def _unwanted(self, _mask: int) -> None:
        """Something arrived while nothing is wanted: do not watch for it until it is."""
        self._watch(self._interest & ~self._loop._selector.READ)
        if not self._interest:
            self._loop._transports[self._fd] = self  # so that add_reader still refuses the descriptor

    def _writable(self, _mask: int) -> None:
        self._sent(0)
        if not self._sending:
            self._watch(self._interest & ~self._loop._selector.WRITE)

    def _both(self, mask: int) -> None:
        read, write = self._loop._selector.READ, self._loop._selector.WRITE
        if mask & ~write and self._interest & read:  # first: a send that fails ends the connection
            self._receiver()(mask)
        if mask & ~read and self._interest & write:  # writable, or an error that sending raises
            self._writable(mask)
