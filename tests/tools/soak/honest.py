"""The process of the honest clients: every byte is compared, every message has a planned time.

    python tests/tools/soak/honest.py '{"port": 9000, "framed": true, "clients": 20, "rate": 20, "seconds": 5, ...}'

A client sends a message when its time has come, or, if the answer to the last one is late, as soon as that has come;
the time it takes is counted from the planned time in both cases. So a server that stands still for a second has as many
late messages as there would have been in it. After `late` seconds an answer is lost. Beside them visitors connect,
send, end their side, and read to the end (over TLS they read
what they sent). Some clients go through a proxy with faults that lose nothing (pieces,
delays); their times are not counted.

The result is a line of JSON.
"""

from __future__ import annotations

import asyncio
import collections
import gc
import json
import random
import struct
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there
sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from proactor_echo.testing.certificates import client_context
from proactor_echo.testing.faults import Coalesce, Latency, Slice, StreamFault, fault_proxy

SIZES = (1, 64, 64, 512, 512, 1024, 4000, 30000)

FAULTS: tuple[StreamFault, ...] = (Slice((1, 700), 0.001), Latency(0.02, 0.01), Coalesce(0.02))


class Honest:
    """The clients, and what happened to them."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.framed: bool = asked["framed"]
        self.rate: float = asked["rate"]
        self.late: float = asked["late"]
        self.tls = client_context() if asked["tls"] else None
        self.rng = random.Random(asked["seed"])
        self.times: list[float] = []
        self.visits: list[float] = []
        self.wrong: collections.Counter[str] = collections.Counter()
        self.lost = 0
        self.not_connected = 0
        self.sent = 0
        clock = time.perf_counter  # that of a loop is too coarse on Windows
        self.end = clock() + asked["seconds"]

    def message(self) -> bytes:
        """Return random bytes, in a frame if there are frames."""
        data = self.rng.randbytes(self.rng.choice(SIZES))
        return struct.pack(">I", len(data)) + data if self.framed else data

    async def client(self, address: tuple[str, int], times: list[float]) -> None:
        """Send messages at planned times over one connection, and end it in order."""
        clock = time.perf_counter
        expected = b""
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection(*address, ssl=self.tls), self.late)
            planned = clock() + self.rng.random() / self.rate
            try:
                while planned < self.end:
                    await asyncio.sleep(planned - clock())
                    begun = min(planned, clock())  # timers may be early
                    expected = self.message()
                    self.sent += len(expected)
                    writer.write(expected)
                    answer = await asyncio.wait_for(reader.readexactly(len(expected)), self.late)
                    times.append(clock() - begun)
                    self.compare(expected, answer)
                    expected = b""
                    planned += 1 / self.rate
                if self.tls is None:
                    writer.write_eof()
                    if await asyncio.wait_for(reader.read(), self.late):
                        self.wrong["bytes that were not sent"] += 1
            finally:
                writer.close()
        except asyncio.IncompleteReadError as why:
            self.lost += len(expected) - len(why.partial)
            self.wrong["ended early"] += 1
        except (OSError, TimeoutError) as why:
            self.lost += len(expected)
            self.wrong[type(why).__name__] += 1

    async def visitors(self, address: tuple[str, int]) -> None:
        """Visit a few times a second, at planned times."""
        clock = time.perf_counter
        planned = clock()
        visits = []
        while planned < self.end:
            await asyncio.sleep(planned - clock())
            visits.append(asyncio.create_task(self.visit(address, min(planned, clock()))))
            planned += 2 / self.rate
        await asyncio.gather(*visits)

    async def visit(self, address: tuple[str, int], planned: float) -> None:
        """Connect, send, end our side, read to the end."""
        expected, answer = b"".join(self.message() for _ in range(3)), b""
        try:
            async with asyncio.timeout(self.late):
                reader, writer = await asyncio.open_connection(*address, ssl=self.tls)
        except (OSError, TimeoutError):
            self.not_connected += 1
            return
        try:
            async with asyncio.timeout(self.late):
                try:
                    self.sent += len(expected)
                    writer.write(expected)
                    if self.tls is None:
                        writer.write_eof()
                        answer = await reader.read()
                    else:  # asyncio's TLS has no end of our side alone
                        answer = await reader.readexactly(len(expected))
                finally:
                    writer.close()
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as why:
            self.wrong[f"visit: {type(why).__name__}"] += 1
        self.visits.append(time.perf_counter() - planned)
        self.compare(expected, answer)

    def compare(self, expected: bytes, answer: bytes) -> None:
        """Count what is missing, and whether it is what was sent."""
        self.lost += max(0, len(expected) - len(answer))
        if not expected.startswith(answer):
            self.wrong["other bytes than were sent"] += 1

    def result(self) -> dict[str, Any]:
        """Return everything that happened."""
        return {
            "messages": len(self.times),
            "bytes": self.sent,
            "lost": self.lost,
            "wrong": dict(self.wrong),
            "p50": percentile(self.times, 0.5),
            "p99": percentile(self.times, 0.99),
            "longest": max(self.times, default=0.0),
            "visits": len(self.visits),
            "not connected": self.not_connected,
            "visit_p50": percentile(self.visits, 0.5),
            "visit_p99": percentile(self.visits, 0.99),
        }


def percentile(values: list[float], share: float) -> float:
    """Return the least value that so large a share of them does not exceed; 0 if there are none."""
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))] if values else 0.0


async def main() -> None:
    """Do what the argument says."""
    asked: dict[str, Any] = json.loads(sys.argv[1])
    address = ("127.0.0.1", asked["port"])
    honest = Honest(asked)
    not_counted: list[float] = []
    gc.freeze()
    async with await fault_proxy(address, seed=asked["seed"]) as proxy:
        for fault in FAULTS:
            proxy.fault(fault)
        through = [honest.client(proxy.address, not_counted) for _ in range(asked["through_faults"])]
        clients = [honest.client(address, honest.times) for _ in range(asked["clients"])]
        await asyncio.gather(*clients, *through, honest.visitors(address))
    print(json.dumps({**honest.result(), "through_faults": len(not_counted)}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
