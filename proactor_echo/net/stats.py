"""Counters: what a connection, a server and a datagram endpoint have seen so far.

Counters only grow. Bytes are payload as it stood on the wire above TCP or UDP (headers of the framing included,
headers of TCP and IP not); frames are what the codec calls a frame, and for a raw stream each piece received.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from proactor_echo.errors import DisconnectReason
from proactor_echo.net.guard_rule import GuardRule
from proactor_echo.net.histogram import Histogram
from proactor_echo.net.tcp.admission import RefusalReason
from proactor_echo.wire.connection import ConnectionStats

__all__ = ["ConnectionStats", "DatagramStats", "DrainReport", "ServerStats"]


@dataclasses.dataclass(slots=True)
class ServerStats(ConnectionStats):
    """The counters of a server since it started, with the traffic of connections that are still open.

    :ivar accepted: connections taken from the listeners.
    :ivar open: connections being served now.
    :ivar refused: connections accepted but never served: the server was closing, setting them up failed, or a limit of
        their source was reached.
    :ivar refusals: those refused by a limit, by :class:`~proactor_echo.RefusalReason`.
    :ivar failed: connections ended by an exception in the handler or protocol.
    :ivar accept_errors: times that accepting itself failed (and went on).
    :ivar disconnects: ended connections by :class:`~proactor_echo.DisconnectReason`; TLS handshakes that failed too.

    Of a server with ``ssl``:

    :ivar handshaking: TLS handshakes that are going on now.
    :ivar handshakes: those that were completed.
    :ivar handshakes_resumed: of them, the short ones, which took up an earlier session.
    :ivar handshakes_failed: those that were not completed, for whatever reason.
    :ivar not_tls: of them, those of clients that do not speak TLS.
    :ivar certificate_expires: when the first of its certificates ends to be valid, in seconds since 1970 (as
        ``time.time()``); None when that is not known, since ``ssl`` is no :class:`Tls`.

    Once they are measured (:meth:`Server.measure`):

    :ivar durations: how long connections lasted, in seconds; not in :meth:`as_dict`.
    """

    accepted: int = 0
    open: int = 0
    refused: int = 0
    failed: int = 0
    accept_errors: int = 0
    refusals: Counter[RefusalReason] = dataclasses.field(default_factory=Counter)
    disconnects: Counter[DisconnectReason] = dataclasses.field(default_factory=Counter)
    handshaking: int = 0
    handshakes: int = 0
    handshakes_resumed: int = 0
    handshakes_failed: int = 0
    not_tls: int = 0
    certificate_expires: float | None = None
    durations: Histogram | None = dataclasses.field(default=None, repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers and strings, ready for JSON."""
        row = self._as_row()
        row["refusals"] = {str(reason): count for reason, count in sorted(self.refusals.items())}
        row["disconnects"] = {str(reason): count for reason, count in sorted(self.disconnects.items())}
        return row

    def as_names(self) -> dict[str, Any]:
        """Return what :meth:`of_names` makes the same counters of: plain numbers, with reasons by their names."""
        row = self._as_row()
        row["refusals"] = {reason.name: count for reason, count in self.refusals.items()}
        row["disconnects"] = {reason.name: count for reason, count in self.disconnects.items()}
        row["durations"] = None if self.durations is None else self.durations.as_row()
        return row

    @classmethod
    def of_names(cls, row: dict[str, Any]) -> ServerStats:
        """Return the counters that :meth:`as_names` told of."""
        durations = row["durations"]
        stats = cls(**row | {"durations": None if durations is None else Histogram.of_row(durations)})
        stats.refusals = Counter({RefusalReason[name]: count for name, count in row["refusals"].items()})
        stats.disconnects = Counter({DisconnectReason[name]: count for name, count in row["disconnects"].items()})
        return stats

    def add_server(self, other: ServerStats) -> None:
        """Add the counters of another server, such as another worker's."""
        for field in dataclasses.fields(self):
            if field.name not in ("certificate_expires", "durations"):
                setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        ends = [each.certificate_expires for each in (self, other) if each.certificate_expires is not None]
        self.certificate_expires = min(ends, default=None)
        if other.durations is not None:
            self.durations = self.durations or Histogram(other.durations.bounds)
            self.durations.add(other.durations)

    def _as_row(self) -> dict[str, Any]:
        row = dataclasses.asdict(dataclasses.replace(self, durations=None))
        del row["durations"]
        return row


@dataclasses.dataclass(slots=True)
class DatagramStats:
    """The counters of a datagram endpoint.

    :ivar dropped: datagrams dropped because the receive queue was full, or, for answers, the send buffer.
    :ivar oversize: datagrams longer than ``max_datagram``: truncated or dropped, as ``oversize`` says.
    :ivar unreachable: ICMP errors about datagrams sent earlier.
    :ivar errors: other errors of the socket; the endpoint went on.
    :ivar guarded: datagrams that the guard of a server had not answered, by :class:`~proactor_echo.GuardRule`; those
        that were answered all the same with ``UdpGuard(mode="log")`` too.
    """

    datagrams_in: int = 0
    datagrams_out: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    dropped: int = 0
    oversize: int = 0
    unreachable: int = 0
    errors: int = 0
    guarded: Counter[GuardRule] = dataclasses.field(default_factory=Counter)

    def add(self, other: DatagramStats) -> None:
        """Add the counters of another socket."""
        for name in self.__slots__:
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def add_server(self, other: DatagramStats) -> None:
        """Add the counters of another server, such as another worker's."""
        self.add(other)

    def as_names(self) -> dict[str, Any]:
        """Return what :meth:`of_names` makes the same counters of: plain numbers, with rules by their names."""
        return dataclasses.asdict(self) | {"guarded": {rule.name: count for rule, count in self.guarded.items()}}

    @classmethod
    def of_names(cls, row: dict[str, Any]) -> DatagramStats:
        """Return the counters that :meth:`as_names` told of."""
        return cls(**row | {"guarded": Counter({GuardRule[name]: count for name, count in row["guarded"].items()})})

    def as_dict(self) -> dict[str, Any]:
        """Return plain numbers, ready for JSON."""
        row = dataclasses.asdict(self)
        row["guarded"] = {str(rule): count for rule, count in sorted(self.guarded.items())}
        return row


@dataclasses.dataclass(frozen=True, slots=True)
class DrainReport:
    """How a server's connections ended when it closed, and how long that took in seconds.

    ``finished`` ended by themselves, with all output sent; ``aborted`` were aborted at the deadline.
    """

    finished: int
    aborted: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.finished} finished, {self.aborted} aborted in {self.seconds:.2f} s"
