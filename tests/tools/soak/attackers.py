"""The process of the attackers on stream servers.

    python tests/tools/soak/attackers.py '{"port": 9000, "staying": 1000, "passing": 40, "hog": 200, "seed": 1, ...}'

It prints `ready` when the connections that stay have been tried once, and a line of JSON with what was done when its
standard input ends. `rate` is how many connections come and go in a second, or null for as many as go. With `flood`, a
number of connections a second, it only connects and resets.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import functools
import json
import random
import socket
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there

from tools.soak.attacks import PASSING, STAYING, Kind, never_sends
from tools.soak.sources import SHARED_BY, new_socket, reset, source, when_input_ends

#: Seconds before a connection that was refused or ended is opened again.
AGAIN = 1.0

#: Connections that are being opened at the same time.
OPENING = 200


class Attackers:
    """Workers, each with one connection at a time."""

    def __init__(self, port: int, seed: int, rate: float | None) -> None:
        self.port = port
        self.rng = random.Random(seed)
        self.rate = rate
        self.next_passing = 0.0
        self.done: collections.Counter[str] = collections.Counter()
        self.opening = asyncio.Semaphore(OPENING)
        self.open = 0
        self.peak = 0

    async def once(self, name: str, kind: Kind, address: str, tried: asyncio.Event) -> None:
        """Connect and attack."""
        with contextlib.closing(new_socket(address)) as sock:
            if name == "never reads":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            try:
                async with self.opening, asyncio.timeout(10):
                    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
            except (OSError, TimeoutError) as why:
                self.done[f"not connected: {type(why).__name__}"] += 1
                return
            finally:
                tried.set()
            self.done[name] += 1
            self.open += 1
            self.peak = max(self.peak, self.open)
            try:
                await kind.attack(sock, self.rng)
            except (OSError, TimeoutError):
                self.done["ended by the server"] += 1
            finally:
                self.open -= 1

    async def stay(self, name: str, kind: Kind, address: str, tried: asyncio.Event) -> None:
        """Do one of the attacks that stay, again and again."""
        while True:
            await self.once(name, kind, address, tried)
            await asyncio.sleep(AGAIN * (0.5 + self.rng.random()))

    async def pass_by(self, number: int) -> None:
        """Do attacks that come and go, one after the other, at the rate that was asked for."""
        names = list(PASSING)
        shares = [PASSING[name].share for name in names]
        clock = asyncio.get_running_loop().time
        while True:
            if self.rate is not None:
                self.next_passing = max(self.next_passing, clock() - 0.1) + 1 / self.rate
                await asyncio.sleep(self.next_passing - clock())
            (name,) = self.rng.choices(names, shares)
            await self.once(name, PASSING[name], source(self.rng.randrange(1000)), asyncio.Event())
            await asyncio.sleep(0)

    async def run(self, staying: int, passing: int, hog: int, stopped: asyncio.Event) -> None:
        """Attack until it is stopped."""
        plan = [(name, kind) for name, kind in STAYING.items() for _ in range(round(kind.share * staying))]
        self.rng.shuffle(plan)
        workers, tried = [], []
        for number, (name, kind) in enumerate(plan):
            tried.append(asyncio.Event())
            work = self.stay(name, kind, source(2000 + number // SHARED_BY), tried[-1])
            workers.append(asyncio.create_task(work))
        for event in tried:
            await event.wait()
        one = Kind(never_sends, 1.0)
        for _ in range(hog):
            workers.append(asyncio.create_task(self.stay("one source", one, source(1999), asyncio.Event())))
        workers += [asyncio.create_task(self.pass_by(number)) for number in range(passing)]
        print("ready", flush=True)
        await stopped.wait()
        running = set(workers)
        while running:  # until the last: a task may lose its cancellation to what it waits for
            for worker in running:
                worker.cancel()
            _, running = await asyncio.wait(running, timeout=1)
        for worker in workers:
            if not worker.cancelled() and (error := worker.exception()):
                self.done[f"failed: {error!r}"] += 1


async def flood(port: int, rate: float, stopped: asyncio.Event) -> None:
    """Connect and reset, in bursts, from many addresses."""
    done = 0
    clock = asyncio.get_running_loop().time
    started = clock()
    print("ready", flush=True)
    while not stopped.is_set():
        with contextlib.suppress(OSError):  # nothing may be free for a moment
            socks = [new_socket(source(1000 + (done + n) % 250)) for n in range(50)]
            for sock in socks:
                with contextlib.suppress(BlockingIOError):
                    sock.connect(("127.0.0.1", port))
            for sock in socks:
                reset(sock)
            done += len(socks)
        await asyncio.sleep(min(0.1, started + done / rate - clock()))
    print(json.dumps({"done": {"connected and reset": done}, "peak": 0}), flush=True)


async def main() -> None:
    """Do what the argument says."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    stopped = asyncio.Event()
    stop = functools.partial(asyncio.get_running_loop().call_soon_threadsafe, stopped.set)
    threading.Thread(target=when_input_ends, args=(stop,), daemon=True).start()
    if asked["flood"]:
        await flood(asked["port"], asked["flood"], stopped)
        return
    attackers = Attackers(asked["port"], asked["seed"], asked["rate"])
    await attackers.run(asked["staying"], asked["passing"], asked["hog"], stopped)
    print(json.dumps({"done": dict(attackers.done), "peak": attackers.peak}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
