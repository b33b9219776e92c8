"""Listeners that the workers accept on themselves, where the system lets several processes do so (POSIX).

The supervisor keeps each listener open for its whole life: what waits in its backlog waits for the next worker when one
has ended, and nobody is refused.
"""

from __future__ import annotations

import contextlib
import dataclasses
import socket
from collections.abc import Sequence
from typing import Literal, Protocol

from proactor_echo.net.workers.control_pipe import Message
from proactor_echo.sockets.addresses import port_of
from proactor_echo.sockets.binding import bind_udp_sockets, listen_tcp
from proactor_echo.sockets.options import SocketOptions

__all__ = ["Balance", "WorkersListeners", "listen_for_each"]

Balance = Literal["inherit", "reuseport", "handoff"]


class Listening(Protocol):
    """A worker that accepts by itself."""

    number: int

    def say(self, message: Message, handed: socket.socket | None = None) -> bool:
        """Send it a message, and a socket with it."""


class WorkersListeners:
    """Give each worker the listeners of its number; with one set of them, all workers have the same."""

    def __init__(self, sets: Sequence[Sequence[socket.socket]]) -> None:
        self._sets = sets

    def add(self, worker: Listening) -> None:
        """Have a worker accept."""
        for sock in self._sets[worker.number % len(self._sets)]:
            worker.say({"do": "listen", "shared": len(self._sets) == 1}, sock)

    def remove(self, worker: Listening) -> None:
        """Do nothing: a worker stops accepting when it is told to drain."""

    def taken(self, worker: Listening, count: int, open_now: int) -> None:
        """Do nothing: a worker is handed no connections."""

    def stop(self) -> None:
        """Close the listeners here."""
        for sockets in self._sets:
            for sock in sockets:
                sock.close()


async def listen_for_each(
    count: int,
    host: str | Sequence[str] | None,
    port: int,
    *,
    options: SocketOptions,
    backlog: int | None,
) -> list[list[socket.socket]]:
    """Return ``count`` sets of listeners on one port, which the system shares out among them.

    Without a ``backlog`` they are datagram sockets. Raises BindError, and ValueError where the system shares nothing
    out.
    """
    options = dataclasses.replace(options, reuse_port=True)
    with contextlib.ExitStack() as opened:
        sets: list[list[socket.socket]] = []
        for _ in range(count):
            if backlog is None:
                sets.append(await bind_udp_sockets(host, port, options=options))
            else:
                sets.append(await listen_tcp(host, port, options=options, backlog=backlog))
            for sock in sets[-1]:
                opened.enter_context(sock)
            port = port_of(sets[0][0].getsockname())
        opened.pop_all()
    return sets
