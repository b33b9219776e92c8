"""Peers to test against: plain non-blocking sockets driven by the loop, independent of the code under test."""

import asyncio
import ctypes
import random
import socket
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Self

from helpers.recording import reset


def _wine_version() -> int:
    if sys.platform != "win32":
        return 0
    version = getattr(ctypes.WinDLL("ntdll"), "wine_get_version", None)
    if version is None:
        return 0
    version.restype = ctypes.c_char_p
    return int(version().partition(b".")[0])


#: Wine's major version, 0 where this is no Wine. Wine 8 answers as Windows 7 does, Wine 10 as Windows 11.
WINE_VERSION = _wine_version()

#: Windows as Wine shows it, which some facts of Windows are different from.
WINE = WINE_VERSION > 0

#: Seconds by which a timer of a loop may be early: whatever is due within one tick of its clock is run.
TICK = time.get_clock_info("monotonic").resolution


class RawClient:
    """A TCP client made of nothing but a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    @classmethod
    async def connect(
        cls, address: tuple[Any, ...], *, receive_buffer: int | None = None, source: str | None = None
    ) -> Self:
        sock = socket.socket(socket.AF_INET6 if ":" in address[0] else socket.AF_INET)
        sock.setblocking(False)
        try:
            if receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if source is not None:
                sock.bind((source, 0))
            await asyncio.get_running_loop().sock_connect(sock, address)
        except BaseException:
            sock.close()
            raise
        return cls(sock)

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self.sock, data)

    async def receive(self, size: int = 65536) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self.sock, size)

    async def receive_exactly(self, size: int) -> bytes:
        parts = []
        while size:
            part = await self.receive(min(size, 262144))
            assert part, f"end of file with {size} bytes missing"
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    async def receive_all(self) -> bytes:
        parts = []
        while part := await self.receive():
            parts.append(part)
        return b"".join(parts)

    def send_eof(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Close with a TCP reset."""
        reset(self.sock)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()


class Pattern:
    """Endless bytes in which every position within 1 MiB looks different; cheap to make and to compare."""

    _PERIOD = (1 << 20) + 7
    _TWICE = random.Random(20).randbytes(_PERIOD) * 2

    def __init__(self, start: int = 0) -> None:
        self.position = start

    def take(self, size: int) -> bytes:
        """Return the next ``size`` bytes, at most 1 MiB."""
        at = self.position % self._PERIOD
        self.position += size
        return self._TWICE[at : at + size]


@asynccontextmanager
async def connected(server: Any, count: int = 1, **options: Any) -> AsyncIterator[list[RawClient]]:
    """Connect clients to a server and see them served."""
    before = len(server.connections)
    clients = [await RawClient.connect(server.addresses[0], **options) for _ in range(count)]
    try:
        await eventually(lambda: len(server.connections) == before + count)
        yield clients
    finally:
        for client in clients:
            client.close()


def lowest_free_handle() -> int:
    """Return the number that a new socket gets, which leaks push up. On Windows they go by fours; here by ones."""
    with socket.socket() as sock:
        return sock.fileno() // (4 if sys.platform == "win32" else 1)


async def eventually(condition: Callable[[], object], what: str = "", *, within: float = 20.0) -> None:
    """Wait until ``condition()`` is true, for things that have no event to wait for."""
    try:
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"not within {within:g} s: {what or condition}") from None


async def iterations(count: int = 3) -> None:
    """Run so many iterations of the loop: until tasks wait, or to show that something does not happen."""
    for _ in range(count):
        await asyncio.sleep(0)


async def settled(value: Callable[[], object], *, looks: int = 10, within: float = 20.0) -> None:
    """Wait until ``value()`` has been the same for ``looks`` looks, 10 ms or more apart."""
    async with asyncio.timeout(within):
        last, same = value(), 0
        while same < looks:
            await asyncio.sleep(0.01)
            same = same + 1 if value() == last else 0
            last = value()


async def soon(endpoint: Any) -> tuple[bytes, Any]:
    """Receive a datagram that is sure to come."""
    async with asyncio.timeout(10):
        received: tuple[bytes, Any] = await endpoint.receive()
        return received


async def echoes(address: tuple[Any, ...], message: bytes = b"ping") -> bool:
    """Tell whether a new client gets its message back."""
    async with await RawClient.connect(address) as client:
        await client.send(message)
        return await client.receive_exactly(len(message)) == message


async def never_ends(conn: object) -> None:
    """Handle a connection for ever."""
    await asyncio.get_running_loop().create_future()
