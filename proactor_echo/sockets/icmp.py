"""ICMP errors of datagram sockets: they are about a datagram sent earlier, not about the call that fails.

When nobody listens for a datagram, a later and unrelated call fails: with ECONNREFUSED on Linux, 10054 or 1234 on
Windows. The system reports each such error once, so the call is tried again.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Final

from proactor_echo.errors import DisconnectReason, classify
from proactor_echo.sockets.addresses import Address

__all__ = ["is_about_earlier_datagram", "send_again"]

#: How often a send is tried while it fails with errors about earlier datagrams.
TRIES: Final = 3

_ICMP: Final = (
    DisconnectReason.REFUSED,
    DisconnectReason.PEER_RESET,
    DisconnectReason.PEER_GONE,
    DisconnectReason.UNREACHABLE,
    DisconnectReason.TIMED_OUT,  # WSAENETRESET (10052): the time to live was exceeded on the way
)


def is_about_earlier_datagram(error: OSError) -> bool:
    """Return whether an error may be ICMP's answer to a datagram sent earlier, and not about the call that failed."""
    return classify(error).reason in _ICMP


def send_again(
    sock: socket.socket, data: bytes, addr: Address | None, error: OSError, report: Callable[[OSError], None]
) -> bool:
    """Send again after ``error``, if that is about an earlier datagram; return ``False`` when it would block.

    ``report`` gets the errors about earlier datagrams. Raises the system's error about *this* datagram.
    """
    others: list[OSError] = []
    try:
        while is_about_earlier_datagram(error) and len(others) + 1 < TRIES:
            others.append(error)
            sent = False
            try:
                if addr is None:
                    sock.send(data)
                else:
                    sock.sendto(data, addr)
                sent = True
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as another:
                error = another
                continue
            for other in others:
                report(other)
            return sent
        raise error
    finally:
        del error, others  # their tracebacks know this frame: a cycle would be left to the garbage collector
