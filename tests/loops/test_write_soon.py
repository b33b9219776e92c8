"""``write_soon``, which a stream transport of ours has beyond asyncio's: one send for what an iteration writes."""

from __future__ import annotations

import asyncio

from helpers.recording import Bench, CountingSocket, connection, read_all, read_exactly


def test_write_soon_waits_for_the_end_of_the_iteration_or_the_next_write(ours: Bench) -> None:
    async def main() -> list[int]:
        async with connection() as (peer, protocol):
            protocol.transport._sock = counting = CountingSocket(protocol.transport._sock)
            protocol.transport.write_soon(b"one")
            assert counting.sends == []
            await asyncio.sleep(0)
            assert counting.sends == [3]
            protocol.transport.write_soon(b"first")
            protocol.transport.write(b"second")
            assert await read_exactly(peer, 14) == b"onefirstsecond"
            return counting.sends

    assert ours.run(main()) == [3, 11]


def test_what_is_written_soon_in_one_iteration_leaves_in_one_send(ours: Bench) -> None:
    async def main() -> list[int]:
        async with connection() as (peer, protocol):
            protocol.transport._sock = counting = CountingSocket(protocol.transport._sock)
            for word in (b"one", b"", b"two", b"three"):
                protocol.transport.write_soon(word)
            assert await read_exactly(peer, 11) == b"onetwothree"
            return counting.sends

    assert ours.run(main()) == [11]


def test_what_is_written_soon_is_dropped_by_an_abort_in_the_same_iteration(ours: Bench) -> None:
    async def main() -> bytes:
        async with connection() as (peer, protocol):
            protocol.transport.write_soon(b"half an answer")
            protocol.transport.abort()
            protocol.transport.write_soon(b"more")
            return await read_all(peer)

    assert ours.run(main()) == b""
