"""Random calls on a datagram transport and on its peer, for :mod:`loops.sequences`.

Seen are: which datagrams arrived on either side, the callbacks in their order, what each call returned or raised.
"""

from __future__ import annotations

import asyncio
import random
import socket
from typing import Any

from helpers.sequences import Run, Seen, Sequence, choose_steps

STEPS = {
    "send": 8,
    "send to the peer": 2,
    "send to another": 1,
    "send in one iteration": 3,
    "send nothing": 1,
    "send too much": 1,
    "send text": 1,
    "close": 1,
    "abort": 1,
    "set_protocol": 1,
    "limits": 1,
    "ask": 1,
    "settle": 4,
    "peer sends": 5,
    "peer closes": 1,
}
"""What may be done, and how often it is, beside the others."""

REACTIONS = ("answer", "close", "abort", "raise")
"""What a protocol may do in ``datagram_received``."""

FAILING = ("connection_made", "datagram_received", "error_received", "connection_lost")
"""Callbacks that may raise."""


def sequence(seed: int) -> Sequence:
    """Make the sequence of this seed, the same on every system."""
    rng = random.Random(seed)
    given = {
        "connected": rng.random() < 0.6,
        "reaction": rng.choice(REACTIONS) if rng.random() < 0.3 else None,
        "failing": rng.choice(FAILING) if rng.random() < 0.15 else None,
    }
    return Sequence(seed, given, choose_steps(rng, STEPS, argument))


def argument(name: str, rng: random.Random) -> Any:
    """Choose what a step is done with."""
    if name == "limits":
        return rng.choice(((0, 0), (10, 5), (1000, None), (100_000, 0)))
    return rng.choice((1, 7, 100, 5000))


class Recording(asyncio.DatagramProtocol):
    """The callbacks, in words."""

    def __init__(self, run: DatagramRun) -> None:
        self.run = run

    def connection_made(self, transport: Any) -> None:
        self.run.record("connection_made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.run.got.append(data)
        self.run.record("datagram_received", again=False)
        self.run.react()

    def error_received(self, exc: Exception) -> None:
        self.run.record(f"error_received({type(exc).__name__})", "error_received", again=False)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.run.lost = True
        self.run.record(f"connection_lost({'an error' if exc else None})", "connection_lost")


class DatagramRun(Run):
    """One sequence of calls on a datagram transport."""

    def __init__(self, sequence: Sequence) -> None:
        super().__init__(sequence)
        self.got: list[bytes] = []
        self.sent: list[bytes] = []  # by the peer
        self.arrived: list[bytes] = []  # at the peer
        self.offered = 0  # datagrams that the peer should get, but for empty ones
        self.peer_gone = False

    async def open(self) -> None:
        sock, self.peer = (bound() for _ in range(2))
        self.address, self.peer_address = sock.getsockname(), self.peer.getsockname()
        if self.given["connected"]:
            sock.connect(self.peer_address)
        self.transport, _ = await self.loop.create_datagram_endpoint(lambda: Recording(self), sock=sock)

    def seen(self) -> Seen:
        self.peer.close()
        return {"arrived": [words(data) for data in self.arrived], "got": [words(data) for data in self.got]}

    def react(self) -> None:
        reaction = self.given["reaction"]
        if reaction == "answer":
            self.send_now(b"a")
        elif reaction == "raise":
            raise ZeroDivisionError
        elif reaction:
            getattr(self.transport, reaction)()

    # -- steps ---------------------------------------------------------------------------------------------------

    def send_now(self, data: bytes) -> None:
        closing = self.transport.is_closing()
        self.transport.sendto(data, None if self.given["connected"] else self.peer_address)
        self.offered += not closing

    async def send(self, size: int) -> None:
        self.send_now(self.some(size))

    async def send_nothing(self, _size: int) -> None:
        self.transport.sendto(b"", None if self.given["connected"] else self.peer_address)

    async def send_to_the_peer(self, size: int) -> None:
        closing = self.transport.is_closing()
        self.transport.sendto(self.some(size), self.peer_address)
        self.offered += not closing

    async def send_to_another(self, size: int) -> None:
        if not self.given["connected"]:
            self.transport.sendto(self.some(size), self.address)

    async def send_in_one_iteration(self, size: int) -> None:
        def send_twice() -> None:
            self.send_now(self.some(size))
            self.send_now(self.some(size))

        self.loop.call_soon(send_twice)
        await self.iterations(2)

    async def send_too_much(self, _size: int) -> None:
        self.transport.sendto(self.some(70_000), None if self.given["connected"] else self.peer_address)

    async def send_text(self, _size: int) -> None:
        self.transport.sendto("text", None if self.given["connected"] else self.peer_address)

    async def close(self, _size: int) -> None:
        self.transport.close()

    async def abort(self, _size: int) -> None:
        self.transport.abort()

    async def set_protocol(self, _size: int) -> None:
        self.transport.set_protocol(Recording(self))

    async def limits(self, limits: tuple[int, int | None]) -> None:
        self.transport.set_write_buffer_limits(*limits)

    async def ask(self, _size: int) -> tuple[bool, int]:
        return self.transport.is_closing(), self.transport.get_write_buffer_size()

    async def peer_sends(self, size: int) -> None:
        data = self.some(size)
        self.peer.sendto(data, self.address)
        self.sent.append(data)

    async def peer_closes(self, _size: int) -> None:
        await self.settle(0)
        self.drain_peer()
        self.peer.close()
        self.peer_gone = True

    # -- waiting -------------------------------------------------------------------------------------------------

    async def settle(self, _size: int) -> None:
        """Have everything received that the peer has sent, if it is going to be."""
        await self.iterations(4)
        await self.until(lambda: len(self.got) >= len(self.sent) or self.lost or self.transport.is_closing())
        await self.iterations(2)

    async def finish(self) -> None:
        await self.settle(0)
        if not self.peer_gone:
            await self.until(lambda: self.drain_peer() >= self.offered or self.lost)
            await self.settle(0)
            self.drain_peer()

    def drain_peer(self) -> int:
        """Take what has arrived; return how much that is in all."""
        while not self.peer_gone:
            try:
                self.arrived.append(self.peer.recv(1 << 17))
            except BlockingIOError:
                break
            except OSError:  # an unreachable port, on Windows
                continue
        return sum(map(bool, self.arrived))


def bound() -> socket.socket:
    """A datagram socket with a port of its own."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    return sock


def words(data: bytes) -> str:
    """Say which datagram it is."""
    return f"{chr(data[0])} x {len(data)}" if data else "empty"
