"""ICMP errors of datagram sockets: they are about a datagram sent earlier, not about the call that meets them.

A datagram that nobody listens for comes back as an error on a later, unrelated call: ECONNREFUSED on Linux, 10054 or
1234 on Windows. The system tells each once, so the call is worth another try.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from proactor_echo.errors import DisconnectReason, classify
from proactor_echo.sockets.addresses import Address

__all__ = ["send_again", "tells_of_another"]

#: How often a send is tried that meets errors of other datagrams.
TRIES = 3

_ICMP = (
    DisconnectReason.REFUSED,
    DisconnectReason.PEER_RESET,
    DisconnectReason.PEER_GONE,
    DisconnectReason.UNREACHABLE,
    DisconnectReason.TIMED_OUT,  # WSAENETRESET (10052): the time to live was exceeded on the way
)


def tells_of_another(error: OSError) -> bool:
    """Whether an error may be the answer of ICMP to a datagram sent earlier, and not about the call that met it."""
    return classify(error).reason in _ICMP


def send_again(
    sock: socket.socket, data: bytes, addr: Address | None, error: OSError, report: Callable[[OSError], None]
) -> bool:
    """Send once more what met ``error``, if that is about another datagram; ``False`` when it would block.

    ``report`` is given the errors of others. Raises what the system says about *this* datagram.
    """
    others: list[OSError] = []
    try:
        while tells_of_another(error) and len(others) + 1 < TRIES:
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
