"""The checks of an echo server over UDP.

"When a datagram is received, the data from it is sent back in an answering datagram" (RFC 862).
"""

from __future__ import annotations

import asyncio
import errno
import random
import time
from typing import Any, Final

from proactor_echo.testing.conformance.echo.case import Check, Checked, CheckFailed, Skipped
from proactor_echo.testing.conformance.echo.udp_client import UdpClient, UdpTarget
from proactor_echo.testing.conformance.payloads import EVERY_BYTE

__all__ = ["CHECKS", "UdpTarget"]

#: UDP over IPv4 carries no more: 65,535 less the headers of IPv4 (20 bytes) and UDP (8).
_LARGEST: Final = 65507

#: The sizes between: around powers of two, and the largest that fits into an Ethernet frame without fragments.
_SIZES: Final = (1, 2, 3, 64, 511, 512, 513, 1024, 1400, 1472, 1473, 4096, 8191, 8192, 8193, 9216, 16384, 32768)


async def answers(target: UdpTarget) -> Checked:
    """Send one datagram and get it back."""
    async with target.client() as client:
        await client.echo(b"echo\r\n")
    return Checked("one datagram came back")


async def every_byte_value(target: UdpTarget) -> Checked:
    """Send all byte values, and every kind of newline: none may be changed, added or left out."""
    async with target.client() as client:
        await client.echo(EVERY_BYTE)
    return Checked("all 256 values, CR and LF in every order", {"bytes": len(EVERY_BYTE)})


async def empty(target: UdpTarget) -> Checked:
    """Send a datagram without a byte in it; it is answered by another one."""
    async with target.client() as client:
        await client.echo(b"")
        await client.echo(b"after the empty one")
    return Checked("an empty datagram is answered by one")


async def sizes(target: UdpTarget) -> Checked:
    """Send datagrams of many sizes."""
    async with target.client() as client:
        for size in _SIZES:
            await _echo_of(client, size)
    return Checked(f"{len(_SIZES)} sizes from {_SIZES[0]} to {_SIZES[-1]:,} bytes", {"datagrams": len(_SIZES)})


async def largest(target: UdpTarget) -> Checked:
    """Send the largest datagram that IPv4 carries."""
    async with target.client() as client:
        await _echo_of(client, _LARGEST)
    return Checked(f"{_LARGEST:,} bytes", {"bytes": _LARGEST})


async def one_answer(target: UdpTarget) -> Checked:
    """Send different datagrams one after the other; when all is quiet, each must have had one answer and no more."""
    count = 40
    async with target.client() as client:
        started = time.perf_counter()
        for number in range(count):
            await client.echo(b"datagram %d" % number)
        each = (time.perf_counter() - started) / count
        await client.expect_silence(target.settings.quiet, f"after {count} datagrams had {count} answers")
        numbers = {"datagrams": count, "sent_again": client.sent_again, "round_trip_s": round(each, 6)}
    return Checked(f"{count} datagrams, {count} answers", numbers)


async def burst(target: UdpTarget) -> Checked:
    """Send some at once, without waiting: what comes back must have been sent, each once. UDP may lose some."""
    sent = {b"burst %d" % number for number in range(16)}
    async with target.client() as client:
        for data in sent:
            await client.send(data)
        came: list[bytes] = []
        while len(came) < len(sent) and (answer := await client.next_answer(target.settings.quiet)) is not None:
            came.append(answer)
        await client.expect_silence(target.settings.quiet, f"after {len(came)} answers to {len(sent)} datagrams")
    if strange := [data for data in came if data not in sent]:
        raise CheckFailed(f"{strange[0][:16]!r} came, which was not sent")
    if twice := len(came) - len(set(came)):
        raise CheckFailed(f"{twice} of {len(sent)} datagrams had more than one answer")
    if not came:
        raise CheckFailed(f"{len(sent)} datagrams sent at once, none came back")
    return Checked(f"{len(came)} of {len(sent)} came back", {"datagrams": len(sent), "answers": len(came)})


async def simultaneous(target: UdpTarget) -> Checked:
    """Send from many sockets at once; each must get its own datagram and no other."""
    count = target.settings.clients
    clients = [target.client() for _ in range(count)]
    try:
        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(client.echo(b"client %d" % number))
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    finally:
        for client in clients:
            client.close()
    return Checked(f"{count} sockets, each its own datagram", {"sockets": count})


async def unsolicited(target: UdpTarget) -> Checked:
    """Send one datagram, get it back, and nothing more may come."""
    async with target.client() as client:
        await client.echo(b"echo\r\n")
        await client.expect_silence(target.settings.quiet, "after the one answer")
    return Checked(f"nothing but the echo, watched for {target.settings.quiet:g} s")


CHECKS: Final[tuple[Check[UdpTarget], ...]] = (
    ("answers", answers),
    ("every byte value", every_byte_value),
    ("empty datagram", empty),
    ("sizes", sizes),
    ("largest datagram", largest),
    ("one answer", one_answer),
    ("burst", burst),
    ("simultaneous", simultaneous),
    ("nothing unsolicited", unsolicited),
)


async def _echo_of(client: UdpClient, size: int) -> None:
    data: Any = random.Random(size).randbytes(size)
    try:
        await client.echo(data)
    except OSError as exc:
        # EMSGSIZE; macOS sends no more than 9,216 bytes unless told otherwise.
        if exc.errno in (errno.EMSGSIZE, 10040):
            raise Skipped(f"this system does not send a datagram of {size:,} bytes") from None
        raise
