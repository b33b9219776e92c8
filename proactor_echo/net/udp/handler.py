"""DatagramHandler: a datagram protocol that counts, applies the size policy, and goes on after ICMP errors."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Literal, cast

from proactor_echo.arguments import check_address, check_choice, check_whole
from proactor_echo.errors import ProtocolStateError, classify
from proactor_echo.net.stats import DatagramStats
from proactor_echo.net.stock.datagram import MAX_DATAGRAM, as_datagram
from proactor_echo.net.udp.guard import Guard, UdpGuard
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.icmp import is_about_earlier_datagram
from proactor_echo.wire.codec import BytesLike

__all__ = ["DatagramHandler", "Oversize"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

Oversize = Literal["truncate", "drop"]


def check_datagram_policy(max_datagram: int, oversize: Oversize) -> None:
    """Check ``max_datagram`` and ``oversize``."""
    check_whole("max_datagram", max_datagram, least=1, most=MAX_DATAGRAM, unit="bytes")
    check_choice("oversize", oversize, ("truncate", "drop"))


class _NotOpenYet(asyncio.DatagramTransport):
    """Stands for the transport until there is one."""

    def is_closing(self) -> bool:
        raise ProtocolStateError("cannot send: this protocol has no endpoint yet; send from connection_made on")


class DatagramHandler(asyncio.DatagramProtocol):
    """Override :meth:`handle`; answer with :meth:`send`. Works with ``loop.create_datagram_endpoint`` as well.

    :param max_datagram: the longest datagram, in bytes, that :meth:`handle` gets: 1 to 65,507.
    :param oversize: ``"truncate"`` cuts a longer one to that length, ``"drop"`` drops it; both count it.
    """

    #: What a server of this protocol does not answer, unless ``serve_udp`` is given something else.
    guard: UdpGuard | None = None

    _guard: Guard | None = None
    _unwrap: Callable[[bytes, Address], tuple[bytes, Address] | None] | None = None  # takes off a PROXY header
    _asked: tuple[Address, int] | None = None  # whom a guarded handler answers, and how many bytes are left for that

    def __init__(self, *, max_datagram: int = MAX_DATAGRAM, oversize: Oversize = "truncate") -> None:
        check_datagram_policy(max_datagram, oversize)
        self.max_datagram = max_datagram
        self.oversize = oversize
        self.stats: DatagramStats = DatagramStats()
        self._transport: asyncio.DatagramTransport = _NOT_OPEN_YET
        self._refused = [0, 0]  # datagrams, and their bytes, that the system would not send
        self._blocked = False
        self._logged = False

    def handle(self, data: bytes, addr: Address) -> None:
        """Handle one datagram, which may be empty."""

    def send(self, data: BytesLike, addr: Address | None = None) -> None:
        """Send one datagram; dropped and counted while too many wait to be sent, and when the endpoint is closing.

        Raises :class:`DatagramTooLong` over 65,507 bytes, :class:`ProtocolStateError` before ``connection_made``.
        """
        data = as_datagram(data)
        if self._blocked or self._transport.is_closing():
            self.stats.dropped += 1
            return
        if self._asked is not None and not self._is_no_longer(data, addr):
            return
        refused = self._refused[0]
        try:
            self._transport.sendto(data, addr)
        except (TypeError, OverflowError):
            if addr is not None:
                check_address("addr", addr)
            raise
        if self._refused[0] == refused:
            self.count_out(len(data))

    def count_out(self, size: int) -> None:
        """Count one datagram sent."""
        self.stats.datagrams_out += 1
        self.stats.bytes_out += size

    # -- asyncio.DatagramProtocol: called by the transport -------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Count, apply the size policy, and call :meth:`handle`."""
        stats = self.stats
        stats.datagrams_in += 1
        stats.bytes_in += len(data)
        client = addr
        if self._unwrap is not None:
            unwrapped = self._unwrap(data, addr)
            if unwrapped is None:
                return
            data, addr = unwrapped
            client = getattr(addr, "client", addr)
        if self._guard is not None:
            if not self._guard.filter([(data, client)], self._time()):
                return
            self._asked = addr, len(data)
        if len(data) > self.max_datagram:
            stats.oversize += 1
            if self.oversize == "drop":
                return
            data = data[: self.max_datagram]
        try:
            self.handle(data, addr)
        finally:
            self._asked = None

    def set_guard(self, guard: Guard | None, time: Callable[[], float]) -> None:
        """Answer nothing that ``guard`` refuses; ``time`` is the loop's (called by the server)."""
        self._guard = guard
        self._time = time

    def set_unwrap(self, unwrap: Callable[[bytes, Address], tuple[bytes, Address] | None]) -> None:
        """Handle what ``unwrap`` returns of each datagram, and nothing of those for which that is None."""
        self._unwrap = unwrap

    def _is_no_longer(self, data: bytes, addr: Address | None) -> bool:
        """Whether an answer, and what was sent before it, is no longer than the datagram that is being handled."""
        asked = self._asked
        if asked is None or self._guard is None or addr != asked[0]:
            return True
        left = asked[1] - len(data)
        if left < 0:
            return not self._guard.count_longer(asked[0])
        self._asked = asked[0], left
        return True

    def datagram_not_sent(self, data: bytes, addr: Address) -> None:
        """Take a refused datagram out of the counters; our transports call it before ``error_received``."""
        self._refused[0] += 1
        self._refused[1] += len(data)

    def error_received(self, exc: Exception) -> None:
        """Count errors of ICMP and of the system; log the first at level INFO, the others at DEBUG."""
        reason = classify(exc)
        if isinstance(exc, OSError) and is_about_earlier_datagram(exc):
            self.stats.unreachable += 1
        else:
            self.stats.errors += 1
        level = logging.DEBUG if self._logged else logging.INFO
        extra = {"event": "datagram_not_delivered", "reason": str(reason.reason), "number": reason.number}
        logger.log(level, "a datagram was not delivered: %s", reason.text, extra=extra)
        self._logged = True

    def pause_writing(self) -> None:
        """Drop answers while the system's buffer and ours are full."""
        self._blocked = True

    def resume_writing(self) -> None:
        """Stop dropping answers."""
        self._blocked = False


_NOT_OPEN_YET: Final = _NotOpenYet()
