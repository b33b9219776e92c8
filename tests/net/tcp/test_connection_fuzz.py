"""Anything in any order: random calls on our side, random deeds of the peer, and promises that hold all the same."""

import asyncio
import random

import pytest
from helpers.peers import WINE, RawClient, iterations
from helpers.stock import WatchedConnection, stock_server

import proactor_echo as pe

LENGTH = pe.LengthCodec()
ALLOWED = (pe.EndOfStream, pe.Disconnected, pe.ProtocolStateError, pe.FramingError)


def wire(frames: list[bytes]) -> bytes:
    return LENGTH.encode_many(frames)


class Peer:
    """Does what a random number generator says with a plain socket."""

    def __init__(self, client: RawClient, rng: random.Random) -> None:
        self.client, self.rng = client, rng
        self.sent: list[bytes] = []
        self.received = bytearray()
        self.said_eof = self.saw_eof = self.rude = False

    async def act(self) -> None:
        often = [self.send, self.send, self.read, self.read, self.wait]
        deeds = [*often, *often, self.eof, self.garbage, self.leave, self.reset]
        try:
            for _ in range(self.rng.randrange(12)):
                await self.rng.choice(deeds)()
        except (OSError, ValueError):
            self.rude = True  # what it did to its socket does not go together, or we ended first

    async def send(self) -> None:
        frames = [self.rng.randbytes(self.rng.choice([0, 1, 100, 5000, 40_000])) for _ in range(self.rng.randrange(8))]
        if not self.said_eof:
            self.sent += frames
            await asyncio.wait_for(self.client.send(wire(frames)), 0.05)

    async def read(self) -> None:
        part = await asyncio.wait_for(self.client.receive(self.rng.choice([10, 1000, 100_000])), 0.05)
        self.received += part
        self.saw_eof = self.saw_eof or not part

    async def wait(self) -> None:
        await iterations(self.rng.randrange(10))

    async def eof(self) -> None:
        self.client.send_eof()
        self.said_eof = True

    async def garbage(self) -> None:
        self.rude = True
        await asyncio.wait_for(self.client.send(b"\xff" * 9), 0.05)

    async def leave(self) -> None:
        self.rude = True
        self.client.close()

    async def reset(self) -> None:
        self.rude = True
        self.client.reset()

    async def read_to_the_end(self) -> None:
        while not self.saw_eof:
            await self.read()


class Ours:
    """Calls what a random number generator says on the connection, in two tasks."""

    def __init__(self, conn: WatchedConnection, rng: random.Random) -> None:
        self.conn, self.rng = conn, rng
        self.sent: list[bytes] = []
        self.received: list[bytes] = []
        self.orderly = True

    async def receive(self) -> pe.ProactorEchoError | None:
        try:
            while True:
                if self.rng.random() < 0.1:
                    await iterations(self.rng.randrange(5))
                self.received.append(await self.conn.receive())
        except ALLOWED as error:
            return error

    async def act(self) -> None:
        often = [self.send, self.send, self.send, self.send, self.wait]
        calls = [*often, *often, self.eof, self.close, self.abort]
        try:
            for _ in range(self.rng.randrange(16)):
                await self.rng.choice(calls)()
        except (*ALLOWED, TimeoutError):
            pass

    async def send(self) -> None:
        frame = self.rng.randbytes(self.rng.choice([0, 1, 100, 5000, 40_000]))
        async with asyncio.timeout(0.05):
            await self.conn.send(frame)
        self.sent.append(frame)

    async def wait(self) -> None:
        await iterations(self.rng.randrange(10))

    async def eof(self) -> None:
        await self.conn.send_eof()

    async def close(self) -> None:
        async with asyncio.timeout(self.rng.choice([0, 0.05])):
            await self.conn.close()

    async def abort(self) -> None:
        self.orderly = False
        self.conn.abort()


async def play(seed: int) -> None:
    rng = random.Random(seed)

    def make() -> WatchedConnection:
        limits = rng.choice([(0, 0), (1000, 100), (65536, 16384)])
        return WatchedConnection(
            LENGTH, write_limit=limits, read_limit=rng.choice([0, 1000, 262144]), close_timeout=0.2
        )

    async with stock_server(make) as serving:
        client = await RawClient.connect(serving.address, receive_buffer=rng.choice([None, 4096]))
        conn = await serving.opened()
        peer, ours = Peer(client, rng), Ours(conn, rng)
        receiving = asyncio.create_task(ours.receive())
        await asyncio.gather(peer.act(), ours.act())
        try:
            closing = asyncio.create_task(conn.close())
            if not peer.rude:
                await peer.read_to_the_end()
        except (OSError, ValueError):
            peer.rude = True
        finally:
            client.close()
        async with asyncio.timeout(10):
            await closing
            ended = await receiving
        assert len(conn.ends) == 1
        assert conn.ends[0] is conn.disconnect
        assert conn.state is pe.ConnectionState.CLOSED
        assert ours.received == peer.sent[: len(ours.received)]
        whole = wire(ours.sent)
        assert whole.startswith(peer.received)
        if peer.saw_eof and ours.orderly and not WINE:
            assert peer.received == whole
        if isinstance(ended, pe.EndOfStream) and peer.said_eof and not peer.rude and conn.stats.bytes_in:
            assert len(ours.received) == conn.stats.frames_in
        with pytest.raises(ALLOWED):
            await conn.send(b"more")
        with pytest.raises(ALLOWED):
            await conn.receive()


@pytest.mark.parametrize("part", range(4))
async def test_random_calls_and_a_random_peer(part: int) -> None:
    for _ in range(25):
        seed = random.randrange(1 << 32)
        try:
            async with asyncio.timeout(30):
                await play(seed)
        except BaseException:
            print(f"seed {seed}")
            raise
