"""Random calls on a stream transport and on its peer, for :mod:`loops.sequences`.

Seen are: which writes arrived at the peer, whether the protocol got all that the peer sent, the callbacks in their
order, what each call returned or raised.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import tempfile
from itertools import groupby
from typing import Any

from helpers.recording import reset, tcp_pair
from helpers.sequences import TIMEOUT, Run, Seen, Sequence, choose_steps

STEPS = {
    "write": 6,
    "write much": 2,
    "write in one iteration": 2,
    "writelines": 1,
    "write nothing": 1,
    "write text": 1,
    "sendfile": 1,
    "write_eof": 1,
    "close": 1,
    "abort": 1,
    "pause_reading": 1,
    "resume_reading": 2,
    "set_protocol": 1,
    "limits": 1,
    "ask": 1,
    "settle": 4,
    "peer sends": 3,
    "peer sends much": 1,
    "peer reads": 2,
    "peer ends": 1,
    "peer closes": 1,
    "peer resets": 1,
}
"""What may be done, and how often it is, beside the others."""

REACTIONS = ("echo", "close", "abort", "pause_reading", "write_eof", "raise")
"""What a protocol may do in ``data_received``."""

FAILING = ("connection_made", "data_received", "eof_received", "pause_writing", "connection_lost")
"""Callbacks that may raise."""


def sequence(seed: int) -> Sequence:
    """Make the sequence of this seed, the same on every system."""
    rng = random.Random(seed)
    given = {
        "unix": rng.random() < 0.4,
        "keep_open": rng.random() < 0.5,
        "reaction": rng.choice(REACTIONS) if rng.random() < 0.3 else None,
        "failing": rng.choice(FAILING) if rng.random() < 0.1 else None,
        "buffers": [rng.choice((0, 0, 1000, 70_000)) for _ in range(10)],
    }
    return Sequence(seed, given, choose_steps(rng, STEPS, argument))


def argument(name: str, rng: random.Random) -> Any:
    """Choose what a step is done with."""
    if name == "write much":
        return rng.choice((70_000, 300_000))
    if name == "peer sends much":
        return 20_000
    if name == "limits":
        return rng.choice(((0, 0), (10, 5), (1000, None), (100_000, 0)))
    return rng.choice((1, 7, 100, 5000))


class Recording:
    """The callbacks of a protocol, in words."""

    def __init__(self, run: StreamRun) -> None:
        self.run = run

    def connection_made(self, transport: Any) -> None:
        self.run.record("connection_made")

    def received(self, data: bytes) -> None:
        self.run.got += data
        self.run.record("data_received", again=False)
        self.run.react()

    def eof_received(self) -> bool:
        self.run.record("eof_received")
        return bool(self.run.given["keep_open"])

    def connection_lost(self, exc: BaseException | None) -> None:
        self.run.lost = True
        self.run.record(f"connection_lost({'an error' if exc else None})", "connection_lost")

    def pause_writing(self) -> None:
        self.run.full += 1
        self.run.record(None, "pause_writing")

    def resume_writing(self) -> None:
        self.run.full -= 1


class Plain(Recording, asyncio.Protocol):
    """Gets bytes."""

    def data_received(self, data: bytes) -> None:
        self.received(data)


class Buffered(Recording, asyncio.BufferedProtocol):
    """Has a buffer."""

    def __init__(self, run: StreamRun, size: int) -> None:
        super().__init__(run)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.received(bytes(self.buffer[:nbytes]))


class StreamRun(Run):
    """One sequence of calls on a stream transport."""

    def __init__(self, sequence: Sequence) -> None:
        super().__init__(sequence)
        self.buffers = iter(self.given["buffers"] * 2)
        self.got = bytearray()
        self.sent = bytearray()  # by the peer
        self.arrived = bytearray()  # at the peer
        self.written = 0
        self.full = 0  # calls of pause_writing, less those of resume_writing
        self.peer_read: str | None = None  # how it ended for the peer
        self.peer_gone = False

    async def open(self) -> None:
        sock, self.peer = socket.socketpair() if self.given["unix"] else tcp_pair()
        for end in (sock, self.peer):
            end.setblocking(False)
            if not self.given["unix"]:
                end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20_000)
        self.transport, _ = await self.loop.create_connection(self.protocol, sock=sock)

    def seen(self) -> Seen:
        self.peer.close()
        return {
            "arrived": self.writes_that_arrived(),
            "got": "all" if self.got == self.sent else "the start" if self.sent.startswith(self.got) else "wrong",
            "full": self.full,
            "peer": self.peer_read,
        }

    def writes_that_arrived(self) -> list[str]:
        """Which writes the peer got, and how much; of a long one that was cut off, how much is the system's choice.

        A peer that left before all of much was sent has got what there was time for: a beginning of it.
        """
        if self.peer_gone and self.written > 20_000:
            return ["a beginning" if self.arrived == bytes(sorted(self.arrived)) else "not in order"]
        runs = [(chr(letter), len(list(run))) for letter, run in groupby(self.arrived)]
        cut = len(self.arrived) < self.written
        return [f"part of {letter}" if cut and size > 20_000 else f"{letter} x {size}" for letter, size in runs]

    # -- protocol ------------------------------------------------------------------------------------------------

    def protocol(self) -> Any:
        size = next(self.buffers)
        return Buffered(self, size) if size else Plain(self)

    def react(self) -> None:
        reaction = self.given["reaction"]
        if reaction == "echo":
            self.write_now(b"e" * 100)
        elif reaction == "raise":
            raise ZeroDivisionError
        elif reaction:
            getattr(self.transport, reaction)()

    # -- steps ---------------------------------------------------------------------------------------------------

    def write_now(self, data: bytes, call: str = "write") -> None:
        closing = self.transport.is_closing()
        getattr(self.transport, call)([data[:1], b"", bytearray(data[1:])] if call == "writelines" else data)
        if not closing:
            self.written += len(data)

    async def write(self, size: int) -> None:
        self.write_now(self.some(size))

    write_much = write

    async def write_in_one_iteration(self, size: int) -> None:
        def write_twice() -> None:
            self.write_now(self.some(size))
            self.write_now(self.some(size))

        self.loop.call_soon(write_twice)
        await self.iterations(2)

    async def writelines(self, size: int) -> None:
        self.write_now(self.some(size), "writelines")

    async def write_nothing(self, _size: int) -> None:
        self.transport.write(b"")

    async def write_text(self, _size: int) -> None:
        self.transport.write("text")

    async def sendfile(self, size: int) -> int:
        with tempfile.TemporaryFile() as file:
            file.write(self.some(size))
            file.flush()
            async with asyncio.timeout(TIMEOUT / 30):
                count = await self.loop.sendfile(self.transport, file, 0, size)
            self.written += count
            return count

    async def write_eof(self, _size: int) -> None:
        self.transport.write_eof()

    async def close(self, _size: int) -> None:
        self.transport.close()

    async def abort(self, _size: int) -> None:
        self.transport.abort()

    async def pause_reading(self, _size: int) -> None:
        self.transport.pause_reading()

    async def resume_reading(self, _size: int) -> None:
        self.transport.resume_reading()

    async def set_protocol(self, _size: int) -> None:
        self.transport.set_protocol(self.protocol())

    async def limits(self, limits: tuple[int, int | None]) -> None:
        self.transport.set_write_buffer_limits(*limits)

    async def ask(self, _size: int) -> tuple[bool, bool]:
        return self.transport.is_closing(), self.transport.is_reading()

    async def peer_sends(self, size: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self.sent += self.some(self.peer.send(self.some(size)))

    peer_sends_much = peer_sends

    async def peer_reads(self, _size: int) -> None:
        await self.settle(0)
        self.drain_peer()

    async def peer_ends(self, _size: int) -> None:
        self.peer.shutdown(socket.SHUT_WR)

    async def peer_closes(self, _size: int) -> None:
        await self.settle(0)
        self.drain_peer()
        self.peer.close()
        self.peer_gone = True

    async def peer_resets(self, _size: int) -> None:
        if not self.given["unix"]:
            await self.settle(0)
            self.drain_peer()
            reset(self.peer)
            self.peer_gone = True

    # -- waiting -------------------------------------------------------------------------------------------------

    async def settle(self, _size: int) -> None:
        """Have everything received that the peer has sent, if it is going to be."""
        await self.iterations(4)
        await self.until(lambda: len(self.got) == len(self.sent) or not self.receiving())
        await self.iterations(2)

    def receiving(self) -> bool:
        return not self.lost and not self.transport.is_closing() and self.transport.is_reading()

    async def finish(self) -> None:
        """Have everything arrive that is on its way."""
        await self.settle(0)
        if not self.peer_gone:
            await self.until(self.peer_has_all)
            await self.settle(0)

    def peer_has_all(self) -> bool:
        self.drain_peer()
        return self.peer_read is not None or (len(self.arrived) >= self.written and not self.transport.is_closing())

    def drain_peer(self) -> None:
        if self.peer_gone:
            return
        try:
            while data := self.peer.recv(1 << 16):
                self.arrived += data
            self.peer_read = "end of file"
        except BlockingIOError:
            pass
        except OSError:
            self.peer_read = "reset"
