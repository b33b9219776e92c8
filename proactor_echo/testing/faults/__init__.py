"""What a network does to a connection or a datagram: descriptions of faults, to be given to ``server.fault()``.

::

    with server.fault(Latency(0.1, jitter=0.02)), server.fault(Slice(1)):
        ...

A fault works in one direction: ``towards="client"`` (the default), ``"server"``, or ``"both"``. Its ``probability`` is
the share of connections it hits, or of datagrams. Everything that is left to chance comes from its ``seed``, from the
connection's number and from the place in the stream (or the datagram's number), never from the clock or from how the
bytes happen to arrive: the same seed gives the same schedule. Without a seed the fault gets one from its server; it is
shown when a test fails.

Nothing here does any I/O or looks at a clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proactor_echo._lazy import lazy_names
from proactor_echo.testing.faults.base import DatagramFault, Fault, StreamFault, Towards
from proactor_echo.testing.faults.both import Corrupt, Latency
from proactor_echo.testing.faults.tcp import (
    Bandwidth,
    Coalesce,
    HalfClose,
    Limit,
    Refuse,
    Reset,
    Silent,
    Slice,
    SlowClose,
    Stall,
)
from proactor_echo.testing.faults.tls import CorruptRecord, CutHandshake, StallHandshake, WithholdCloseNotify
from proactor_echo.testing.faults.udp import Duplicate, Loss, Reorder, Truncate

if TYPE_CHECKING:
    from proactor_echo.sockets.addresses import Address
    from proactor_echo.testing.proxy import fault_proxy, udp_fault_proxy

__all__ = [
    "Address",
    "Bandwidth",
    "Coalesce",
    "Corrupt",
    "CorruptRecord",
    "CutHandshake",
    "DatagramFault",
    "Duplicate",
    "Fault",
    "HalfClose",
    "Latency",
    "Limit",
    "Loss",
    "Refuse",
    "Reorder",
    "Reset",
    "Silent",
    "Slice",
    "SlowClose",
    "Stall",
    "StallHandshake",
    "StreamFault",
    "Towards",
    "Truncate",
    "WithholdCloseNotify",
    "fault_proxy",
    "udp_fault_proxy",
]

_HOMES: Final = {
    "proactor_echo.sockets.addresses": "Address",  # imports asyncio
    "proactor_echo.testing.proxy": "fault_proxy udp_fault_proxy",  # the proxies import the faults
}

if not TYPE_CHECKING:  # a type checker would take every name for there
    __getattr__, __dir__ = lazy_names(globals(), _HOMES)
