"""Count the package's Python calls for one message, one connection, one datagram, on our event loop.

    python tests/tools/benchmarks/calls.py [-v]

With ``-v`` the functions are named that are called once for each, or more often.

Calls do not depend on how busy the machine is, so two versions can be compared by them: run the script in both
checkouts. A call is one that ``sys.setprofile`` reports for a function of the package; the client is plain sockets in
a thread, which are not counted.
"""

import asyncio
import collections
import socket
import struct
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import proactor_echo as pe  # noqa: E402  # from this checkout

PACKAGE = str(ROOT / "proactor_echo")
MESSAGES = 200
CONNECTIONS = 50

Handler = Callable[[pe.Connection], Awaitable[object]]
Client = Callable[[pe.Address, threading.Barrier], None]


def main() -> None:
    """Print one line for each trip."""
    trips: tuple[tuple[str, Callable[[], float]], ...] = (
        ("TCP message, EchoProtocol, raw", lambda: echo(protocol_factory=pe.EchoProtocol)),
        ("TCP message, FramedProtocol, LengthCodec", lambda: echo(protocol_factory=Shout, codec=pe.LengthCodec())),
        ("TCP message, coroutine handler, LengthCodec", lambda: echo(pe.echo, codec=pe.LengthCodec())),
        ("TCP connection from accept to end, EchoProtocol", lambda: connect(protocol_factory=pe.EchoProtocol)),
        ("TCP connection from accept to end, coroutine handler", lambda: connect(pe.echo)),
        ("UDP datagram, serve_udp(EchoDatagramProtocol)", datagram),
        ("UDP datagram, bind_udp endpoint", endpoint),
    )
    for name, measure in trips:
        print(f"{name:<55} {measure():6.1f} calls")


class Shout(pe.FramedProtocol):
    """Sends each frame back, without the short cut of EchoProtocol."""

    def frame_received(self, frame: bytes) -> None:
        """Send it back."""
        self.send_frame(frame)


def echo(handler: Handler | None = None, **options: Any) -> float:
    """Count for one message at a time on one connection."""

    def client(address: pe.Address, steps: threading.Barrier) -> None:
        with socket.create_connection(address) as sock:
            message = struct.pack(">I", 128) + bytes(128)
            talk(sock, message, 20)
            steps.wait()
            steps.wait()
            talk(sock, message, MESSAGES)
            steps.wait()
            steps.wait()

    return run(client, MESSAGES, handler, options)


def connect(handler: Handler | None = None, **options: Any) -> float:
    """Count for a connection that is opened, sends one message, and is closed."""

    def client(address: pe.Address, steps: threading.Barrier) -> None:
        def one() -> None:
            with socket.create_connection(address) as sock:
                talk(sock, b"hello", 1)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(64):
                    pass

        one()
        steps.wait()
        steps.wait()
        for _ in range(CONNECTIONS):
            one()
        steps.wait()
        steps.wait()

    return run(client, CONNECTIONS, handler, options)


def talk(sock: socket.socket, message: bytes, times: int) -> None:
    """Send a message and read it back, so many times."""
    for _ in range(times):
        sock.sendall(message)
        left = len(message)
        while left:
            left -= len(sock.recv(left))


def run(client: Client, times: int, handler: Handler | None, options: dict[str, Any]) -> float:
    """Serve a client in a thread and count between its two pairs of steps."""

    async def serve() -> float:
        async with await pe.serve_tcp(handler, **options) as server:
            return await counted(client, server.addresses[0], times)

    return pe.run(serve())


def datagram() -> float:
    """Count for one datagram at a time."""

    async def serve() -> float:
        async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
            return await counted(ping, server.addresses[0], MESSAGES)

    return pe.run(serve())


def endpoint() -> float:
    """Count for one datagram at a time, received and sent by a coroutine."""

    async def serve() -> float:
        async with await pe.bind_udp() as here:

            async def back() -> None:
                async for data, address in here:
                    await here.send(data, address)

            task = asyncio.create_task(back())
            try:
                return await counted(ping, here.address, MESSAGES)
            finally:
                task.cancel()

    return pe.run(serve())


def ping(address: pe.Address, steps: threading.Barrier) -> None:
    """Send datagrams, one at a time, and wait for each to come back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        for count in (20, MESSAGES):
            for _ in range(count):
                sock.send(bytes(128))
                sock.recv(256)
            steps.wait()
            steps.wait()


async def counted(client: Client, address: pe.Address, times: int) -> float:
    """Run the client in a thread; return the calls between its first and its second pair of steps, for one of many."""
    loop = asyncio.get_running_loop()
    steps = threading.Barrier(2)
    thread = threading.Thread(target=client, args=(address, steps))
    thread.start()
    calls: collections.Counter[str] = collections.Counter()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(PACKAGE):
            calls[f"{code.co_filename[len(PACKAGE) + 1 :]}:{code.co_qualname}"] += 1

    await loop.run_in_executor(None, steps.wait)
    sys.setprofile(note)
    await loop.run_in_executor(None, steps.wait)
    await loop.run_in_executor(None, steps.wait)
    sys.setprofile(None)
    await loop.run_in_executor(None, steps.wait)
    await loop.run_in_executor(None, thread.join)
    if "-v" in sys.argv:
        for name, count in calls.most_common():
            if count >= times / 2:
                print(f"    {count / times:6.2f}  {name}")
    return sum(calls.values()) / times


if __name__ == "__main__":
    main()
