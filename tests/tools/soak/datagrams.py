"""The processes of honest clients and of attackers of a UDP server.

    python tests/tools/soak/datagrams.py honest '{"port": 9000, "clients": 20, "rate": 20, "seconds": 5, "seed": 1}'
    python tests/tools/soak/datagrams.py flood '{"port": 9000, "rate": 5000, "loops": [9001], "seed": 1}'

The flood ends when its standard input does. It comes from 200 addresses, in sizes from nothing to the longest,
and nobody reads the answers. For each port of `loops`, another UDP echo, it sends one datagram a second in its name,
which takes the right to open raw sockets; without it this is left out and said.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import json
import random
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # the tests' folder, as pytest puts it there

from tools.soak.honest import percentile
from tools.soak.sources import new_socket, source, when_input_ends

#: Seconds after the last one was sent in which the answers may come.
LATE = 2.0

#: Of the flood's datagrams.
SIZES = (0, 1, 12, 100, 1400, 1400, 9000, 65507)


class Client(asyncio.DatagramProtocol):
    """An honest client: it sends at planned times, whether or not the answers have come."""

    transport: asyncio.DatagramTransport

    def __init__(self, honest: Honest) -> None:
        self.honest = honest
        self.waiting: dict[bytes, tuple[float, bytes]] = {}  # by their first bytes: the planned time, the datagram

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def send(self, planned: float, data: bytes) -> None:
        self.waiting[data[:8]] = min(planned, time.perf_counter()), data
        self.honest.sent += 1
        self.transport.sendto(data)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        planned, expected = self.waiting.pop(data[:8], (0.0, b""))
        if data != expected:
            self.honest.wrong["other bytes than were sent, or sent twice"] += 1
        self.honest.times.append(time.perf_counter() - planned)

    def error_received(self, exc: Exception) -> None:
        self.honest.wrong[type(exc).__name__] += 1


class Honest:
    """The clients, and what happened to them."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.rng = random.Random(asked["seed"])
        self.times: list[float] = []
        self.sent = self.lost = 0
        self.wrong: collections.Counter[str] = collections.Counter()

    async def client(self, number: int) -> None:
        """Send datagrams at planned times from a port of its own."""
        loop, clock, server = asyncio.get_running_loop(), time.perf_counter, ("127.0.0.1", self.asked["port"])
        transport, client = await loop.create_datagram_endpoint(lambda: Client(self), remote_addr=server)
        planned = clock() + self.rng.random() / self.asked["rate"]
        end = planned + self.asked["seconds"]
        for serial in itertools.count():
            if planned >= end:
                break
            await asyncio.sleep(planned - clock())
            data = self.rng.randbytes(self.rng.randrange(1400))
            client.send(planned, struct.pack(">II", number, serial) + data)
            planned += 1 / self.asked["rate"]
        while client.waiting and clock() < end + LATE:
            await asyncio.sleep(0.01)
        self.lost += len(client.waiting)
        transport.close()

    async def run(self) -> None:
        await asyncio.gather(*(self.client(number) for number in range(self.asked["clients"])))
        result = {"messages": len(self.times), "sent": self.sent, "lost": self.lost, "wrong": dict(self.wrong)}
        for name, share in (("p50", 0.5), ("p99", 0.99), ("longest", 1.0)):
            result[name] = percentile(self.times, share)
        print(json.dumps(result), flush=True)


def flood(asked: dict[str, Any]) -> None:
    """Send at the rate that was asked for until standard input ends."""
    stopped = threading.Event()
    threading.Thread(target=when_input_ends, args=(stopped.set,), daemon=True).start()
    rng = random.Random(asked["seed"])
    done: collections.Counter[str] = collections.Counter()
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(contextlib.closing(udp_socket(source(n), asked["port"]))) for n in range(200)]
        forger = forge(stack) if asked["loops"] else None
        print("ready", flush=True)
        started = forged = time.monotonic()
        while not stopped.wait(0.005):
            now = time.monotonic()
            for _ in range(int(asked["rate"] * (now - started)) - sum(done[str(size)] for size in SIZES)):
                size = rng.choice(SIZES)
                done[str(size)] += 1
                with contextlib.suppress(OSError):
                    rng.choice(socks).send(bytes(size))
            if forger is not None and now > forged:
                forged = now + 1.0
                for port in asked["loops"]:
                    data = struct.pack(">HHHH", port, asked["port"], 8 + 4, 0) + rng.randbytes(4)
                    forger.sendto(data, ("127.0.0.1", 0))
                    done["forged"] += 1
    if asked["loops"] and forger is None:
        done["not forged: no right to open raw sockets"] = 1
    print(json.dumps({"done": dict(done), "peak": len(socks)}), flush=True)


def udp_socket(address: str, port: int) -> socket.socket:
    """Return a socket for the flood. What comes back fills its buffer and is dropped by the system."""
    sock = new_socket(address, socket.SOCK_DGRAM)
    sock.connect(("127.0.0.1", port))
    return sock


def forge(stack: contextlib.ExitStack) -> socket.socket | None:
    """Return a socket that sends datagrams with a header of our own, or None without the right to it."""
    try:
        return stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP))
    except OSError:
        return None


def main() -> None:
    """Do what the arguments say."""
    role, asked = sys.argv[1], json.loads(sys.argv[2])
    if role == "honest":
        asyncio.run(Honest(asked).run())
    else:
        flood(asked)


if __name__ == "__main__":
    main()
