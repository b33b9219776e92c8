"""connect_tcp: a connection to the first address of a name that answers (Happy Eyeballs, RFC 8305)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Sequence
from typing import Any

from ..addresses import format_address, resolve
from ..binding import open_socket
from ..errors import ConnectFailed, classify
from ..sockopts import SocketOptions
from ..wire.framing import Codec
from .connection import Connection
from .protocol import is_proactor

__all__ = ["connect_tcp"]

AddressInfo = tuple[int, int, int, str, Any]


async def connect_tcp(
    host: str,
    port: int,
    *,
    codec: Codec | None = None,
    options: SocketOptions | None = None,
    open_timeout: float | None = 10.0,
    happy_eyeballs_delay: float = 0.25,
    local_address: tuple[str, int] | None = None,
    write_limit: tuple[int, int] | None = None,
    read_limit: int = 262144,
    close_timeout: float = 10.0,
) -> Connection:
    """Connect to ``host`` and ``port`` and return the open :class:`Connection`.

    Addresses are tried in turn, IPv6 and IPv4 alternating; the next one starts when one has failed, or has not
    answered for ``happy_eyeballs_delay`` seconds. The first that answers wins and the others are dropped.

    ``open_timeout``   seconds for all of it, names included; ``None`` waits for the system's own limit.
    ``local_address``  ``(host, port)`` to connect from.
    The rest is as for :func:`serve_tcp`.

    Raises :class:`ConnectFailed` with one sentence; its ``errors`` has what each address answered.
    """
    options = options or SocketOptions()
    where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        async with asyncio.timeout(open_timeout):
            sock = await _connect_socket(host, port, where, options, happy_eyeballs_delay, local_address)
    except TimeoutError:
        raise ConnectFailed(f"cannot connect to {where}: no answer within {open_timeout:g} s") from None
    try:
        options.apply_stream(sock)
        loop = asyncio.get_running_loop()
        conn = Connection(codec, write_limit=write_limit, read_limit=read_limit, close_timeout=close_timeout)
        conn.own(None, sock if is_proactor(loop) else None)
        await loop.create_connection(lambda: conn, sock=sock)
    except BaseException:
        sock.close()
        raise
    return conn


async def _connect_socket(
    host: str,
    port: int,
    where: str,
    options: SocketOptions,
    delay: float,
    local_address: tuple[str, int] | None,
) -> socket.socket:
    """Resolve and race; return the connected socket."""
    addresses = await resolve(host, port)
    local = await resolve(*local_address, passive=True) if local_address else []
    race = _Race(options, {info[0]: info[4] for info in local}, delay)
    sock = await race.run(list(_interleave(addresses)))
    if sock is not None:
        return sock
    last = race.errors[-1]
    said = dict.fromkeys(f"{name}: {classify(error).text}" for name, error in zip(race.names, race.errors, strict=True))
    raise ConnectFailed(
        f"cannot connect to {where}: {'; '.join(said)}", errors=race.errors, errno=getattr(last, "errno", None)
    ) from last


class _Race:
    """Try addresses one after the other, each with a head start of ``delay`` seconds."""

    def __init__(self, options: SocketOptions, local: dict[int, Any], delay: float) -> None:
        self._options = options
        self._local = local
        self._delay = delay
        self._winner: socket.socket | None = None
        self.names: list[str] = []
        self.errors: list[OSError] = []

    async def run(self, addresses: Sequence[AddressInfo]) -> socket.socket | None:
        """Return the first socket that is connected, ``None`` when all failed."""
        waiting = list(addresses)
        running: set[asyncio.Task[None]] = set()
        try:
            while self._winner is None and (waiting or running):
                if waiting:
                    running.add(asyncio.create_task(self._try(waiting.pop(0))))
                done, running = await asyncio.wait(
                    running, timeout=self._delay if waiting else None, return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
        except BaseException:
            if self._winner is not None:
                self._winner.close()
            raise
        finally:
            for task in running:
                task.cancel()
            if running:
                await asyncio.wait(running)
        return self._winner

    async def _try(self, info: AddressInfo) -> None:
        family, kind, _, _, address = info
        sock: socket.socket | None = None
        try:
            sock = open_socket(family, kind, self._options)
            if self._local:
                sock.bind(self._local[family])
            await asyncio.get_running_loop().sock_connect(sock, address)
        except (OSError, KeyError) as error:
            if sock is not None:
                sock.close()
            self.names.append(format_address(address))
            self.errors.append(error if isinstance(error, OSError) else OSError(f"no local address of family {family}"))
            return
        except BaseException:
            if sock is not None:
                sock.close()
            raise
        if self._winner is None:
            self._winner = sock
        else:
            sock.close()


def _interleave(addresses: Iterable[AddressInfo]) -> Iterable[AddressInfo]:
    """Alternate the families, keeping the system's order within each and its first choice first (RFC 8305, 4)."""
    families: dict[int, list[AddressInfo]] = {}
    for info in addresses:
        families.setdefault(info[0], []).append(info)
    while families:
        for family in list(families):
            yield families[family].pop(0)
            if not families[family]:
                del families[family]
