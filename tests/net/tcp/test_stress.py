"""Everything at once, at random, seeded: whatever happens in which order, the sums are right and nothing is left."""

import asyncio
import contextlib
import errno
import logging
import random
from typing import Any

import pytest
from helpers.peers import WINE, RawClient, eventually

import proactor_echo as pe

#: What handlers, factories and the broken loop raise, and a handler that sends after its end of file.
PROVOKED = {"a handler's", "a factory's", "strange"}
PROVOKED |= {
    "cannot send after send_eof(), which told the peer that nothing more comes",
    "cannot send: the connection is closing",
}
ROUNDS = 10 if WINE else 40


class Chaos:
    """One server's life among clients, handlers and a loop that do anything."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.max_connections = self.chance.choice([None, 1, 2, 7])
        self.calm = asyncio.Event()

    async def run(self, monkeypatch: pytest.MonkeyPatch) -> None:
        chance = self.chance
        with monkeypatch.context() as patch:
            if chance.random() < 0.5:
                self.break_the_loop(patch)
            kind: dict[str, Any] = (
                {"protocol_factory": self.protocol} if chance.random() < 0.3 else {"handler": self.serve}
            )
            server = await pe.serve_tcp(
                **kind,
                max_connections=self.max_connections,
                accepts=chance.choice([1, 4]),
                idle_timeout=chance.choice([None, 0.02]),
                close_timeout=0.05,
                drain=chance.choice([0, 0.05, 1]),
            )
            clients = [asyncio.create_task(self.client(server.addresses[0])) for _ in range(chance.randrange(25))]
            for _ in range(chance.choice([0, 1, 5, 50])):
                await asyncio.sleep(0)
            closings = [asyncio.create_task(self.close(server)) for _ in range(chance.randrange(1, 4))]
            await asyncio.wait(closings)
            await server.close(drain=0)
        self.calm.set()
        await asyncio.gather(*clients)
        stats = server.stats
        assert stats.open == 0
        assert stats.accepted == stats.refused + sum(stats.disconnects.values())
        assert not server.connections
        assert not server._serving

    def break_the_loop(self, patch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        accept, connect = loop.sock_accept, loop.connect_accepted_socket

        async def sock_accept(sock: Any) -> Any:
            if self.chance.random() < 0.2:
                raise self.chance.choice(
                    [ConnectionAbortedError(), OSError(errno.ECONNRESET, "reset"), ValueError("strange")]
                )
            return await accept(sock)

        async def connect_accepted_socket(*args: Any, **options: Any) -> Any:
            if self.chance.random() < 0.1:
                raise self.chance.choice(
                    [ConnectionResetError(), RuntimeError("strange"), OSError(errno.ENOBUFS, "none")]
                )
            if self.chance.random() < 0.3:
                await asyncio.sleep(0)
            made = await connect(*args, **options)
            if self.chance.random() < 0.3:
                await asyncio.sleep(0)
            return made

        patch.setattr(loop, "sock_accept", sock_accept)
        patch.setattr(loop, "connect_accepted_socket", connect_accepted_socket)

    async def close(self, server: pe.Server) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.chance.choice([None, 0.01])):
                await server.close(self.chance.choice([None, 0, 0.03]))

    async def serve(self, conn: pe.Connection) -> None:
        match self.chance.randrange(8):
            case 0:
                raise RuntimeError("a handler's")
            case 1:
                return
            case 2:
                conn.abort()
            case 3:
                await self.calm.wait()
            case 4:
                task = asyncio.current_task()
                assert task is not None
                task.cancel()
            case 5:
                await conn.send_eof()
            case 6:
                for _ in range(20):
                    await conn.send(b"x" * 50_000)
        await pe.echo(conn)

    def protocol(self) -> pe.FramedProtocol:
        if self.chance.random() < 0.1:
            raise RuntimeError("a factory's")
        return pe.EchoProtocol()

    async def client(self, address: tuple[Any, ...]) -> None:
        chance = self.chance
        with contextlib.suppress(OSError, AssertionError, TimeoutError):
            async with asyncio.timeout(None), await RawClient.connect(address) as client:
                for _ in range(chance.randrange(4)):
                    match chance.randrange(7):
                        case 0 | 1:
                            await client.send(chance.randbytes(chance.choice([1, 1000, 100_000])))
                        case 2:
                            client.send_eof()
                        case 3:
                            client.reset()
                            return
                        case 4:
                            await client.receive()
                        case 5:
                            await asyncio.sleep(0)
                if chance.random() < 0.5:
                    await client.receive_all()


@pytest.mark.parametrize("number", range(ROUNDS))
async def test_whatever_happens_the_sums_are_right_and_nothing_is_left(
    number: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    tasks = asyncio.all_tasks()
    async with asyncio.timeout(30):
        await Chaos(seed).run(monkeypatch)
        await eventually(lambda: asyncio.all_tasks() <= tasks)
    errors = [r.exc_info and r.exc_info[1] for r in caplog.records if r.levelno >= logging.ERROR]
    assert [error for error in errors if str(error) not in PROVOKED] == []
