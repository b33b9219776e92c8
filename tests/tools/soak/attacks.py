"""What is done to a stream server: each attack is one connection, opened again when it has ended.

An attack gets the connected socket and a random generator, and returns when it is over; the socket is closed then. What
the server does against it (an end, a reset, a refusal) is what it may do.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tools.soak.sources import reset

Attack = Callable[[socket.socket, random.Random], Awaitable[object]]


def loop() -> asyncio.AbstractEventLoop:
    """Return the running loop."""
    return asyncio.get_running_loop()


async def until_ended(sock: socket.socket) -> None:
    """Wait until the server ends the connection; what it sends is dropped."""
    while await loop().sock_recv(sock, 65536):
        pass


async def send(sock: socket.socket, data: bytes) -> None:
    """Send bytes."""
    await loop().sock_sendall(sock, data)


# -- connections that stay -------------------------------------------------------------------------------------------


async def never_sends(sock: socket.socket, rng: random.Random) -> None:
    await until_ended(sock)


async def idle_after_an_echo(sock: socket.socket, rng: random.Random) -> None:
    await send(sock, struct.pack(">I", 5) + b"hello")
    await until_ended(sock)


async def a_byte_a_second(sock: socket.socket, rng: random.Random) -> None:
    data = struct.pack(">I", 100_000) + b"a" * 100_000
    await asyncio.sleep(rng.random())
    for place in range(len(data)):
        await send(sock, data[place : place + 1])
        await asyncio.sleep(1.0)


async def huge_length(sock: socket.socket, rng: random.Random) -> None:
    """Announce the longest frame there may be, send a little of it."""
    await send(sock, struct.pack(">I", 1 << 20) + bytes(2048))
    await until_ended(sock)


async def half_closed(sock: socket.socket, rng: random.Random) -> None:
    """End with the middle of a frame, stay."""
    await send(sock, struct.pack(">I", 50) + b"x" * 20)
    sock.shutdown(socket.SHUT_WR)
    await until_ended(sock)
    await asyncio.sleep(rng.random())


async def never_reads(sock: socket.socket, rng: random.Random) -> None:
    """Send until nothing more is taken, read nothing: a window of zero."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(5):
            for _ in range(64):
                await send(sock, (struct.pack(">I", 16384) + b"y" * 16384))
    await asyncio.sleep(60)


# -- connections that come and go ------------------------------------------------------------------------------------


async def reset_at_once(sock: socket.socket, rng: random.Random) -> None:
    reset(sock)


async def reset_in_a_frame(sock: socket.socket, rng: random.Random) -> None:
    await send(sock, struct.pack(">I", 1000) + b"half")
    await asyncio.sleep(rng.random() / 10)
    reset(sock)


async def reset_with_output(sock: socket.socket, rng: random.Random) -> None:
    await send(sock, (struct.pack(">I", 30000) + b"z" * 30000) * 4)
    reset(sock)


async def bad_framing(sock: socket.socket, rng: random.Random) -> None:
    await send(sock, b"GET / HTTP/1.1\r\n\r\n")
    async with asyncio.timeout(0.3):
        await until_ended(sock)


async def fuzz(sock: socket.socket, rng: random.Random) -> None:
    await send(sock, rng.randbytes(rng.randrange(1, 3000)))
    await asyncio.sleep(rng.random() / 10)


async def tiny_frames(sock: socket.socket, rng: random.Random) -> None:
    await send(sock, bytes(4) * 5000)
    await asyncio.sleep(0.05)


async def looks_like_tls(sock: socket.socket, rng: random.Random) -> None:
    """Send the beginning of a TLS record, and nonsense in it."""
    await send(sock, b"\x16\x03\x01\x02\x00" + rng.randbytes(512))
    async with asyncio.timeout(0.3):
        await until_ended(sock)


@dataclass(frozen=True)
class Kind:
    """An attack, and its share of the connections that stay, or of those that come and go."""

    attack: Attack
    share: float


STAYING = {
    "idle": Kind(idle_after_an_echo, 0.30),
    "never sends": Kind(never_sends, 0.28),
    "a byte a second": Kind(a_byte_a_second, 0.15),
    "huge length": Kind(huge_length, 0.15),
    "half closed": Kind(half_closed, 0.10),
    "never reads": Kind(never_reads, 0.02),
}

PASSING = {
    "reset at once": Kind(reset_at_once, 0.30),
    "reset in a frame": Kind(reset_in_a_frame, 0.15),
    "reset with output": Kind(reset_with_output, 0.10),
    "bad framing": Kind(bad_framing, 0.15),
    "fuzz": Kind(fuzz, 0.10),
    "tiny frames": Kind(tiny_frames, 0.05),
    "looks like TLS": Kind(looks_like_tls, 0.15),
}
