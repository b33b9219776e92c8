"""What the operating system knows of a TCP connection: round-trip time, retransmissions, windows, what limits sending.

Three systems have it, each by a call of its own and in a layout of its own: Linux ``TCP_INFO``, Windows
``SIO_TCP_INFO`` (from Windows 10 1703 on, with more from 1809 on), macOS ``TCP_CONNECTION_INFO``. :func:`tcp_info`
brings them into one form. A field that a system does not have is None.

Sources: ``struct tcp_info`` in Linux' ``include/uapi/linux/tcp.h``; Microsoft's pages "TCP_INFO_v0 structure
(mstcpip.h)" and "TCP_INFO_v1"; ``struct tcp_connection_info`` in XNU's ``bsd/netinet/tcp.h``.
"""

from __future__ import annotations

import dataclasses
import errno
import socket
import struct
import sys
from collections.abc import Sequence
from typing import Any, Final, Literal, Protocol

from proactor_echo.sockets import winsock

__all__ = ["TcpInfo", "tcp_info"]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class TcpInfo:
    """What the system knows of one TCP connection; the names end with the unit, and None is what it does not know.

    Counters are since the connection was made, everything else is as it is now.

    :ivar state: by RFC 9293: ``"established"``, ``"close-wait"``, …
    :ivar mss_bytes: payload of one segment that is sent, at most.
    :ivar rtt_us: the smoothed round-trip time; macOS knows milliseconds.
    :ivar rtt_variance_us: its mean deviation.
    :ivar min_rtt_us: the shortest that was seen lately.
    :ivar retransmission_timeout_us: how long an acknowledgement may take until the segment is sent again.
    :ivar congestion_window_bytes: how much may be on the way, so as not to overload the network.
    :ivar send_window_bytes: how much the peer is ready to take.
    :ivar receive_window_bytes: how much this side is ready to take.
    :ivar in_flight_bytes: sent and not yet acknowledged.
    :ivar unsent_bytes: written, and not yet sent.
    :ivar sent_bytes: payload sent, what was sent again included.
    :ivar received_bytes: payload received.
    :ivar retransmitted_bytes: payload sent again.
    :ivar delivery_rate_bytes_per_s: how fast data reached the peer lately.
    :ivar timeouts: how often everything in flight was taken for lost.
    :ivar connected_ms: the age of the connection.
    :ivar limited_by_receiver_us: how long sending had to wait for the peer's window.
    :ivar limited_by_congestion_us: how long for the congestion window.
    :ivar limited_by_sender_us: how long for this side: its program or its send buffer.
    """

    state: str
    mss_bytes: int | None = None
    rtt_us: int | None = None
    rtt_variance_us: int | None = None
    min_rtt_us: int | None = None
    retransmission_timeout_us: int | None = None
    congestion_window_bytes: int | None = None
    send_window_bytes: int | None = None
    receive_window_bytes: int | None = None
    in_flight_bytes: int | None = None
    unsent_bytes: int | None = None
    sent_bytes: int | None = None
    received_bytes: int | None = None
    retransmitted_bytes: int | None = None
    delivery_rate_bytes_per_s: int | None = None
    timeouts: int | None = None
    connected_ms: int | None = None
    limited_by_receiver_us: int | None = None
    limited_by_congestion_us: int | None = None
    limited_by_sender_us: int | None = None

    @property
    def send_limited_by(self) -> Literal["receiver", "congestion", "sender"] | None:
        """What sending has waited for the longest; None when it has not, or when the system does not tell."""
        waited: tuple[tuple[int, Literal["receiver", "congestion", "sender"]], ...] = (
            (self.limited_by_receiver_us or 0, "receiver"),
            (self.limited_by_congestion_us or 0, "congestion"),
            (self.limited_by_sender_us or 0, "sender"),
        )
        longest, limit = max(waited, key=lambda each: each[0])
        return limit if longest else None

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, ready for JSON, without what is not known."""
        row = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        if self.send_limited_by is not None:
            row["send_limited_by"] = self.send_limited_by
        return row


class _HasExtraInfo(Protocol):
    def get_extra_info(self, name: str, default: Any = None) -> Any: ...


class _HasTransport(Protocol):
    @property
    def transport(self) -> Any: ...


def tcp_info(connection: socket.socket | _HasExtraInfo | _HasTransport) -> TcpInfo | None:
    """Return what the system knows of a TCP connection; None where it tells nothing.

    :param connection: a :class:`~proactor_echo.Connection`, a protocol of this package, a transport or ``StreamWriter``
        of asyncio, or a socket.

    Raises :class:`TypeError` for anything else, :class:`ValueError` for what is no TCP socket, and
    :class:`OSError` when the connection is closed.
    """
    sock = _socket_of(connection)
    if sock.type != socket.SOCK_STREAM or sock.family not in _IP_FAMILIES:
        raise ValueError("tcp_info() is for TCP connections")
    if sock.fileno() == -1:
        raise OSError(errno.EBADF, "the connection is closed")
    if sys.platform == "win32":
        return _ask_windows(sock)
    if sys.platform == "linux":
        return _ask(sock, socket.TCP_INFO, _LINUX_SIZE, parse_linux)
    if sys.platform == "darwin":
        return _ask(sock, _TCP_CONNECTION_INFO, _MACOS_SIZE, parse_macos)
    return None


# -- Linux -----------------------------------------------------------------------------------------------------------

_LINUX_SIZE: Final = 248  # as of Linux 6.7; an older one returns less, a newer one no more than is asked for


def parse_linux(data: bytes) -> TcpInfo:
    """Read Linux' ``struct tcp_info``, or as much of it as an older kernel has (104 bytes and more)."""
    field = _Fields(data)
    mss = field.u32(16)
    unacknowledged, sacked, lost, sent_again = (field.u32(offset) or 0 for offset in (24, 28, 32, 36))
    window = field.u32(80)
    busy, receiver, buffer = field.u64(168), field.u64(176), field.u64(184)
    return TcpInfo(
        state=_name(_LINUX_STATES, data[0]),
        mss_bytes=mss,
        rtt_us=field.u32(68),
        rtt_variance_us=field.u32(72),
        min_rtt_us=None if field.u32(148) == _NO_MIN_RTT else field.u32(148),
        retransmission_timeout_us=field.u32(8),
        congestion_window_bytes=None if window is None or mss is None else window * mss,
        send_window_bytes=field.u32(228),
        receive_window_bytes=field.u32(232),
        in_flight_bytes=None if mss is None else max(unacknowledged - sacked - lost + sent_again, 0) * mss,
        unsent_bytes=field.u32(144),
        sent_bytes=field.u64(200),
        received_bytes=field.u64(128),
        retransmitted_bytes=field.u64(208),
        delivery_rate_bytes_per_s=field.u64(160),
        timeouts=field.u16(240),
        limited_by_receiver_us=receiver,
        # There was something to send all that time, and neither of the two others stopped it.
        limited_by_congestion_us=None if busy is None else max(busy - (receiver or 0) - (buffer or 0), 0),
        limited_by_sender_us=buffer,
    )


_NO_MIN_RTT: Final = 0xFFFFFFFF

_LINUX_STATES: Final = (
    "unknown",
    "established",
    "syn-sent",
    "syn-received",
    "fin-wait-1",
    "fin-wait-2",
    "time-wait",
    "closed",
    "close-wait",
    "last-ack",
    "listen",
    "closing",
    "syn-received",  # with a request socket only
)

# -- Windows ---------------------------------------------------------------------------------------------------------

_WINDOWS_SIZES: Final = {1: 136, 0: 88}


def parse_windows(data: bytes) -> TcpInfo:
    """Read ``TCP_INFO_v0`` (88 bytes) or ``TCP_INFO_v1`` (136 bytes)."""
    field = _Fields(data)
    return TcpInfo(
        state=_name(_WINDOWS_STATES, field.u32(0)),
        mss_bytes=field.u32(4),
        connected_ms=field.u64(8),
        rtt_us=field.u32(20),
        min_rtt_us=field.u32(24),
        in_flight_bytes=field.u32(28),
        congestion_window_bytes=field.u32(32),
        send_window_bytes=field.u32(36),
        receive_window_bytes=field.u32(40),
        sent_bytes=field.u64(48),
        received_bytes=field.u64(56),
        retransmitted_bytes=field.u32(68),
        timeouts=field.u32(80),
        limited_by_receiver_us=field.ms_as_us(92),
        limited_by_congestion_us=field.ms_as_us(108),
        limited_by_sender_us=field.ms_as_us(124),
    )


_WINDOWS_STATES: Final = (
    "closed",
    "listen",
    "syn-sent",
    "syn-received",
    "established",
    "fin-wait-1",
    "fin-wait-2",
    "close-wait",
    "closing",
    "last-ack",
    "time-wait",
)


def ask_windows(ask: Any) -> TcpInfo | None:
    """Ask for the newest version that the system knows: ``ask(version, size)`` returns its bytes, or raises OSError."""
    for version, size in _WINDOWS_SIZES.items():
        try:
            return parse_windows(ask(version, size))
        except OSError as error:
            if getattr(error, "winerror", None) not in _WINDOWS_REFUSALS:
                raise
    return None


_WINDOWS_REFUSALS: Final = (10022, 10045)  # WSAEINVAL: it does not know the version; WSAEOPNOTSUPP: nor the control

# -- macOS -----------------------------------------------------------------------------------------------------------

_TCP_CONNECTION_INFO: Final = 0x106
_MACOS_SIZE: Final = 112


def parse_macos(data: bytes) -> TcpInfo:
    """Read XNU's ``struct tcp_connection_info`` (112 bytes)."""
    field = _Fields(data)
    return TcpInfo(
        state=_name(_MACOS_STATES, data[0]),
        retransmission_timeout_us=field.ms_as_us(12),
        mss_bytes=field.u32(16),
        congestion_window_bytes=field.u32(24),
        send_window_bytes=field.u32(28),
        unsent_bytes=None,  # tcpi_snd_sbbytes holds what is in flight too
        receive_window_bytes=field.u32(36),
        rtt_us=field.ms_as_us(44),
        rtt_variance_us=field.ms_as_us(48),
        sent_bytes=field.u64(64),
        retransmitted_bytes=field.u64(72),
        received_bytes=field.u64(88),
    )


_MACOS_STATES: Final = (
    "closed",
    "listen",
    "syn-sent",
    "syn-received",
    "established",
    "close-wait",
    "fin-wait-1",
    "closing",
    "last-ack",
    "fin-wait-2",
    "time-wait",
)

# -- all -------------------------------------------------------------------------------------------------------------

_IP_FAMILIES: Final = (socket.AF_INET, socket.AF_INET6)


class _Fields:
    """The numbers of a structure, in the byte order of this machine; None beyond its end."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def u16(self, offset: int) -> int | None:
        return self._at("=H", offset)

    def u32(self, offset: int) -> int | None:
        return self._at("=I", offset)

    def ms_as_us(self, offset: int) -> int | None:
        """Return microseconds, of 32 bits that are milliseconds."""
        milliseconds = self.u32(offset)
        return None if milliseconds is None else milliseconds * 1000

    def u64(self, offset: int) -> int | None:
        return self._at("=Q", offset)

    def _at(self, form: str, offset: int) -> int | None:
        if offset + struct.calcsize(form) > len(self._data):
            return None
        number: int = struct.unpack_from(form, self._data, offset)[0]
        return number


def _name(names: Sequence[str], number: int | None) -> str:
    return names[number] if number is not None and number < len(names) else "unknown"


def _socket_of(connection: Any) -> Any:
    if hasattr(connection, "getsockopt"):
        return connection
    transport: Any = connection if hasattr(connection, "get_extra_info") else getattr(connection, "transport", None)
    sock = transport.get_extra_info("socket") if hasattr(transport, "get_extra_info") else None
    if sock is None:
        raise TypeError(f"tcp_info() takes a connection, a transport or a socket, not {type(connection).__name__}")
    return sock


def _ask(sock: Any, option: int, size: int, parse: Any) -> TcpInfo | None:
    try:
        data: bytes = sock.getsockopt(socket.IPPROTO_TCP, option, size)
    except OSError as error:
        if error.errno in (errno.ENOPROTOOPT, errno.EOPNOTSUPP):
            return None
        raise
    info: TcpInfo = parse(data)
    return info


def _ask_windows(sock: Any) -> TcpInfo | None:
    if sys.platform == "win32":
        code = winsock.SIO_TCP_INFO
        return ask_windows(lambda version, size: winsock.query(sock, code, version.to_bytes(4, "little"), size))
    return None
