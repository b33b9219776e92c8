"""What the workers of tests/net/workers serve: each is imported in a process of its own."""

import asyncio
import os
import time
from pathlib import Path

import proactor_echo as pe


async def telling() -> pe.Server:
    """Answer each piece with the number of the process."""

    async def handler(conn: pe.Connection) -> None:
        async for _ in conn:
            await conn.send(b"%d\n" % os.getpid())

    return await pe.serve_tcp(handler, adopting=True)


async def echoing(limits: pe.Limits | None = None) -> pe.Server:
    """Echo."""
    return await pe.serve_tcp(pe.echo, adopting=True, limits=limits)


async def failing(flag: str) -> pe.Server:
    """Fail as soon as a file is there."""
    if Path(flag).exists():
        raise ValueError("the flag is there")
    return await telling()


async def ending() -> pe.Server:
    """End as soon as the supervisor knows that it has started."""
    asyncio.get_running_loop().call_later(0.05, os._exit, 7)
    return await telling()


async def sticking() -> pe.Server:
    """Block the loop for each client."""

    async def stuck_here(conn: pe.Connection) -> None:
        time.sleep(60)

    return await pe.serve_tcp(stuck_here, adopting=True)


async def telling_udp(guard: pe.UdpGuard | None = None) -> pe.UdpServer:
    """Answer each datagram with the number of the process."""

    class Telling(pe.DatagramHandler):
        def handle(self, data: bytes, addr: pe.Address) -> None:
            self.send(b"%d" % os.getpid(), addr)

    return await pe.serve_udp(Telling, adopting=True, guard=guard)
