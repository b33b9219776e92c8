"""Happy Eyeballs (RFC 8305): connect to the first of several addresses that answers, without waiting long for any.

Each address has a head start of some milliseconds over the next; one that fails gives the rest of its head start away.
The first that answers wins. The others are cancelled, and their sockets are closed before the race is over.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence

from proactor_echo.errors import DisconnectReason, classify
from proactor_echo.sockets.addresses import Address, AddressInfo, format_address
from proactor_echo.sockets.binding import open_socket
from proactor_echo.sockets.options import SocketOptions

__all__ = ["Attempt", "Race", "interleave"]


class Attempt:
    """One address that is tried: what it answered, ``None`` while it is silent."""

    __slots__ = ("address", "error", "said")

    def __init__(self, address: Address) -> None:
        self.address: str = format_address(address)
        self.error: OSError | None = None
        self.said: str = ""

    def failed(self, error: OSError, prefix: str = "") -> None:
        """Note the answer and put it into words."""
        reason = classify(error)
        known = reason.reason is not DisconnectReason.OTHER
        self.error = error
        self.said = prefix + (reason.text if known else error.strerror or str(error))


class Race:
    """One race; :attr:`attempts` are the addresses tried so far, in order."""

    def __init__(self, options: SocketOptions, delay: float | None, local: dict[int, Address]) -> None:
        self.attempts: list[Attempt] = []
        self._options = options
        self._delay = delay
        self._local = local
        self._winner: socket.socket | None = None

    async def run(self, addresses: Sequence[AddressInfo]) -> socket.socket | None:
        """Return the first socket that is connected, ``None`` when all failed."""
        waiting = list(addresses)
        running: set[asyncio.Task[None]] = set()
        try:
            try:
                while self._winner is None and (waiting or running):
                    if waiting:
                        running.add(asyncio.create_task(self._try(waiting.pop(0))))
                    done, running = await asyncio.wait(
                        running, timeout=self._delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
                    )
                    for task in done:
                        task.result()
            finally:
                await _dismiss(running)
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        return self._winner

    async def _try(self, info: AddressInfo) -> None:
        family, kind, _, _, address = info
        attempt = Attempt(address)
        self.attempts.append(attempt)
        sock: socket.socket | None = None
        try:
            sock = open_socket(family, kind, self._options)
            if self._local and not _bound(sock, self._local[family], attempt):
                return
            await asyncio.get_running_loop().sock_connect(sock, address)
            if self._winner is None:
                self._winner, sock = sock, None
        except OSError as error:
            attempt.failed(error)
        finally:
            if sock is not None:
                sock.close()


def _bound(sock: socket.socket, local: Address, attempt: Attempt) -> bool:
    try:
        sock.bind(local)
    except OSError as error:
        attempt.failed(error, f"from {format_address(local)}: ")
        return False
    return True


async def _dismiss(tasks: set[asyncio.Task[None]]) -> None:
    """Cancel the losers and wait until their sockets are closed."""
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks)


def interleave(addresses: Iterable[AddressInfo]) -> list[AddressInfo]:
    """Alternate the families, keeping the system's order within each and its first choice first (RFC 8305, 4)."""
    families: dict[int, list[AddressInfo]] = {}
    for info in addresses:
        families.setdefault(info[0], []).append(info)
    mixed = []
    while families:
        for family in list(families):
            mixed.append(families[family].pop(0))
            if not families[family]:
                del families[family]
    return mixed
