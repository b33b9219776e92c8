"""The datagram transport of the readiness engine: batches where the system has them, plain calls elsewhere."""

from __future__ import annotations

import contextlib
import socket
import sys
from itertools import islice
from typing import Any, Final

from proactor_echo.loops.datagram import DatagramTransport

#: Datagrams in a call: bounds the work of an iteration; more gained nothing when measured.
BATCH: Final = 64
#: Bytes for one datagram: more than UDP can carry (65,507)
SLOT: Final = 64 * 1024
#: For families other than IP, whose datagrams may be larger.
PLAIN_SLOT: Final = 256 * 1024


def _is_udp(sock: socket.socket) -> bool:
    """Whether it is a UDP socket over IP, as the system has it: a ping socket is a datagram socket over IP too."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return False
    protocol = sock.proto
    if sys.platform == "linux":  # macOS has no such option
        with contextlib.suppress(OSError):
            protocol = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL)
    return protocol in (0, socket.IPPROTO_UDP)


class ReadinessDatagrams(DatagramTransport):
    """A datagram transport driven by readiness."""

    def __init__(self, loop: Any, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(loop, sock, *args, **kwargs)
        self._fd = sock.fileno()
        self._interest = 0
        self._family = sock.family
        self._batch = loop._batch() if _is_udp(sock) else None
        self._slot = SLOT if self._family in (socket.AF_INET, socket.AF_INET6) else PLAIN_SLOT

    def _watch(self, interest: int) -> None:
        if interest == self._interest:
            return
        poller = self._loop._selector
        if poller is None:
            pass  # the loop is closed
        elif interest:
            # `_interest` is set after this succeeded: closing must not look for what is not watched.
            poller.watch(self._fd, interest, self._readable if interest == poller.READ else self._both)
        else:
            poller.forget(self._fd)
        self._interest = interest

    def _start_receiving(self) -> None:
        """Receive until :meth:`_stop_receiving`.

        Lifetime: nothing is left with the kernel; the poller holds this transport until :meth:`_cancel_pending`.
        """
        poller = self._loop._selector
        if poller is not None:  # else the loop is closed
            self._watch(self._interest | poller.READ)

    def _stop_receiving(self) -> None:
        poller = self._loop._selector
        if poller is not None:
            self._watch(self._interest & ~poller.READ)

    def _submit_send(self) -> None:
        """Go on sending when the socket is writable.

        Lifetime: the queue holds the datagrams, the poller the transport, until the handler has reported.
        """
        poller = self._loop._selector
        if poller is not None:
            self._watch(self._interest | poller.WRITE)

    def _cancel_pending(self) -> bool:
        self._watch(0)
        return True

    def _readable(self, _mask: int) -> None:
        if self._paused or self._closing:
            return
        try:
            try:
                datagrams = self._receive_plain() if self._batch is None else self._batch.receive(self._fd)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as exc:
                self._back_off_if_many_errors()
                self._errored(exc)
                return
            self._errors = 0
            self._received(datagrams)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as exc:  # no memory for what has arrived, say
            self._fatal_error(exc, "Fatal read error on datagram transport")

    def _receive_plain(self) -> list[tuple[bytes, Any]]:
        """Receive until it would block, at most a batch; an error after data is raised in the next iteration."""
        sock: Any = self._sock
        datagrams: list[tuple[bytes, Any]] = []
        try:
            while len(datagrams) < BATCH:
                datagrams.append(sock.recvfrom(self._slot))
        except OSError:
            if not datagrams:
                raise
        return datagrams

    def _both(self, mask: int) -> None:
        """Receive first: if receiving raises the error of an earlier datagram, no datagram being sent is lost."""
        read, write = self._loop._selector.READ, self._loop._selector.WRITE
        if mask & ~write:
            self._readable(mask)
        if mask & ~read and self._sending and not self._conn_lost:
            self._sent(0)
            if not (self._sending or self._conn_lost):
                self._watch(self._interest & ~write)

    def _offer(self) -> int:
        queue = self._queue
        if self._batch is None or len(queue) == 1 or self._size > SLOT * BATCH:
            return super()._offer()
        some = list(islice(queue, BATCH))
        addresses = None if self._connected else [address for _, address in some]
        try:
            sent: int = self._batch.send(self._sock, self._family, [data for data, _ in some], addresses)
        except LookupError:
            return super()._offer()
        return sent
