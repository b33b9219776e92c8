"""What a TLS connection is made with, and how many handshakes a server has under way at once."""

from __future__ import annotations

import ssl
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

#: Seconds; asyncio's own is 60.
HANDSHAKE_TIMEOUT: Final = 10.0
#: Handshakes of a server at once, at most: each takes some 30 KiB, and a client can make it last until the timeout.
HANDSHAKES: Final = 256
#: Seconds after which a client that has sent nothing is ended while others wait.
SILENCE: Final = 1.0


@dataclass(slots=True)
class TlsSettings:
    """How connections do TLS: one for all of a server's, or for the one of a client.

    :param context: read when a connection begins, so that another one is for new connections.
    :param server_side: which end this is.
    :param server_hostname: a client's: the name to ask for, and to find in the certificate.
    :param session: a client's: to be resumed.
    :param handshake_timeout: seconds for a handshake.
    :param shutdown_timeout: seconds to wait for the peer's close_notify when closing. 0: not at all, ours is sent
        anyhow.
    :param allow_truncation: take an end of TCP without close_notify for an end of file. ``None``: as the loop says.
    :param handshakes: those of a server, counted and limited; ``None``: neither.
    """

    context: ssl.SSLContext
    server_side: bool = True
    server_hostname: str | None = None
    session: ssl.SSLSession | None = None
    handshake_timeout: float = HANDSHAKE_TIMEOUT
    shutdown_timeout: float = 0.0
    allow_truncation: bool | None = None
    handshakes: Handshakes | None = None


class _Starts(Protocol):
    """A connection that can begin its handshake."""

    def begin_handshake(self) -> None:
        """Begin it."""

    def end_silent_handshake(self) -> None:
        """End it if the peer has not sent its first message yet: others wait for its slot."""


class Handshakes:
    """The handshakes of a server: at most ``limit`` at once, and counted.

    ``full()`` is called when the last slot is taken, so that more clients wait in the backlog, and ``freed()`` when
    there is one again. Connections that were accepted in between wait here, and their time limit has not begun.

    A client begins the handshake as soon as it is connected. So while all slots are taken, those that have sent nothing
    for :data:`SILENCE` seconds are ended: else so many silent clients would keep everybody out for as long as a
    handshake may take. ``later`` is a loop's ``call_later``; without it they are not.
    """

    def __init__(
        self,
        limit: int = HANDSHAKES,
        *,
        full: Callable[[], object] = lambda: None,
        freed: Callable[[], object] = lambda: None,
        later: Callable[[float, Callable[[], None]], object] | None = None,
    ) -> None:
        #: Under way now.
        self.active: int = 0
        #: Done so far.
        self.completed: int = 0
        #: Failed so far, for whatever reason.
        self.failed: int = 0
        self._limit = limit
        self._full = full
        self._freed = freed
        self._later = later
        self._waiting: deque[Any] = deque()
        self._began: dict[Any, float] = {}  # when; the oldest comes first
        self._looking = False

    def begin(self, connection: _Starts) -> None:
        """Begin the handshake of ``connection`` as soon as there is a slot."""
        if self.active >= self._limit:
            self._waiting.append(connection)
            return
        self.active += 1
        if self.active == self._limit:
            self._full()
        self._begin_now(connection)
        if self.active == self._limit:
            self._end_silent_ones()

    def end(self, connection: _Starts, *, completed: bool) -> None:
        """Note the end of a handshake, which may not have begun, and begin the next one that waits."""
        self._began.pop(connection, None)
        if completed:
            self.completed += 1
        else:
            self.failed += 1
            if connection in self._waiting:
                self._waiting.remove(connection)
                return
        if self._waiting:
            self._begin_now(self._waiting.popleft())
            return
        self.active -= 1
        if self.active == self._limit - 1:
            self._freed()

    def _begin_now(self, connection: _Starts) -> None:
        self._began[connection] = time.monotonic()
        connection.begin_handshake()

    def _end_silent_ones(self) -> None:
        """End the silent handshakes that are old enough, and look again when the next one is."""
        if self._later is None or self._looking or self.active < self._limit:
            return
        now = time.monotonic()
        young = [began for began in self._began.values() if now - began < SILENCE]
        self._looking = True
        self._later(young[0] + SILENCE - now if young else SILENCE, self._look_again)
        for connection in [each for each, began in self._began.items() if now - began >= SILENCE]:
            connection.end_silent_handshake()

    def _look_again(self) -> None:
        self._looking = False
        self._end_silent_ones()
