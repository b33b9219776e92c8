"""The checks of an echo server over TCP.

"Any data received is sent back. This continues until the calling user terminates the connection" (RFC 862).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from typing import Any, Final

from proactor_echo.testing.conformance.echo.case import Check, Checked, CheckFailed
from proactor_echo.testing.conformance.echo.tcp_client import TcpClient, TcpTarget
from proactor_echo.testing.conformance.payloads import EVERY_BYTE

__all__ = ["CHECKS", "TcpTarget"]

_PIECE: Final = 1 << 16


async def answers(target: TcpTarget) -> Checked:
    """Send one line, ended as a terminal would end it, and get it back."""
    async with await target.connect() as client:
        await client.echo([b"echo\r\n"])
    return Checked("one line came back")


async def every_byte_value(target: TcpTarget) -> Checked:
    """Send all byte values, and every kind of newline: none may be changed, added or left out."""
    data = EVERY_BYTE + bytes(reversed(range(256))) + EVERY_BYTE
    async with await target.connect() as client:
        await client.echo([data])
    return Checked("all 256 values, CR and LF in every order", {"bytes": len(data)})


async def byte_by_byte(target: TcpTarget) -> Checked:
    """Send single bytes, each after the last came back: a server must not wait for a line or for more."""
    data = bytes(random.Random(862).sample(range(256), 100))
    async with await target.connect() as client:
        started = time.perf_counter()
        for place in range(len(data)):
            await client.send(data[place : place + 1])
            await client.expect(data[place : place + 1])
        each = (time.perf_counter() - started) / len(data)
    return Checked(f"{len(data)} bytes, each on its own", {"bytes": len(data), "round_trip_s": round(each, 6)})


async def order(target: TcpTarget) -> Checked:
    """Send small numbered pieces without waiting; they must come back in this order."""
    pieces = [b"%d," % number for number in range(2000)]
    async with await target.connect() as client:
        await client.echo(pieces)
    return Checked(f"{len(pieces):,} small writes in their order", {"writes": len(pieces)})


async def large(target: TcpTarget) -> Checked:
    """Send a lot, reading at the same time."""
    data = random.Random(862).randbytes(target.settings.size)
    async with await target.connect() as client:
        started = time.perf_counter()
        await client.echo([data[start : start + _PIECE] for start in range(0, len(data), _PIECE)])
        seconds = time.perf_counter() - started
    return Checked(f"{len(data):,} bytes", {"bytes": len(data), "bytes_per_second": round(len(data) / seconds)})


async def half_close(target: TcpTarget) -> Checked:
    """Send, end our side at once (half-close); every byte must still come back, then the server's end."""
    data = random.Random(7).randbytes(min(100_000, target.settings.size))
    async with await target.connect() as client:
        await client.echo([data], then_end=True)
    return Checked(f"{len(data):,} bytes after our end, then its end", {"bytes": len(data)})


async def nothing_sent(target: TcpTarget) -> Checked:
    """Connect and end our side; the server must end its side, having sent nothing."""
    async with await target.connect() as client:
        await client.end()
        await client.expect_end()
    return Checked("no data, and a clean end")


async def slow_reading(target: TcpTarget) -> Checked:
    """Send without reading until the server takes no more, or has taken all; then read all of it."""
    data = random.Random(9).randbytes(target.settings.size * 4)  # more than the systems between us hold
    async with await target.connect(receive_buffer=_PIECE) as client:
        sending = asyncio.create_task(
            client.send_pieces([data[start : start + _PIECE] for start in range(0, len(data), _PIECE)])
        )
        try:
            seen = -1
            while not sending.done() and client.sent != seen:
                seen = client.sent
                await asyncio.wait({sending}, timeout=target.settings.quiet)
            taken = client.sent
            await client.expect(data)
            await sending
        finally:
            await _ended(sending)
    took = "took all" if taken == len(data) else f"took {taken:,}"
    return Checked(f"{took} unread, then {len(data):,} came back", {"bytes": len(data), "unread": taken})


async def simultaneous(target: TcpTarget) -> Checked:
    """Hold connections open together; each must get its own bytes, none may wait for another to end."""
    count = target.settings.clients
    clients: list[TcpClient] = []
    try:
        for number in range(count):
            try:
                clients.append(await target.connect())
            except (CheckFailed, OSError) as exc:
                raise CheckFailed(f"{number} of {count} connections were open, then {exc}") from exc
        for turn in range(3):
            works = []
            for number, client in enumerate(clients):
                data = b"client %d turn %d\r\n" % (number, turn) * 50
                works.append(client.echo([data], then_end=turn == 2, name=f"connection {number + 1} of {count}"))
            await _together(works)
    finally:
        for client in clients:
            client.close()
    return Checked(f"{count} connections, each its own bytes", {"connections": count})


async def after_resets(target: TcpTarget) -> Checked:
    """Reset connections in the middle of the traffic; one that was open, and a new one, must be served on."""
    count = 5
    async with await target.connect() as honest:
        for _ in range(count):
            async with await target.connect() as bad:
                await bad.send(b"x")
                bad.reset()
        await honest.echo([b"still here\r\n"], name="a connection that was open")
    async with await target.connect() as late:
        await late.echo([b"me too\r\n"], name="a new connection")
    return Checked(f"others are served after {count} clients reset", {"connections": count + 2})


async def unsolicited(target: TcpTarget) -> Checked:
    """Send nothing, then one line: nothing may come before it, and nothing but it."""
    async with await target.connect() as client:
        await client.expect_silence(target.settings.quiet, "before anything was sent")
        await client.echo([b"echo\r\n"])
        await client.expect_silence(target.settings.quiet, "after everything had come back")
    return Checked(f"nothing but the echo, watched for {2 * target.settings.quiet:g} s")


CHECKS: Final[tuple[Check[TcpTarget], ...]] = (
    ("answers", answers),
    ("every byte value", every_byte_value),
    ("byte by byte", byte_by_byte),
    ("order", order),
    ("large", large),
    ("half-close", half_close),
    ("nothing sent", nothing_sent),
    ("slow reading", slow_reading),
    ("simultaneous", simultaneous),
    ("after resets", after_resets),
    ("nothing unsolicited", unsolicited),
)


async def _together(works: list[Coroutine[Any, Any, None]]) -> None:
    """Wait for all; the first that fails cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})
