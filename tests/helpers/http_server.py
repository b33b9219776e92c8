"""An HTTP/1.1 server as a program of its own, with keep-alive, pipelining and a graceful end, on our loop.

It prints where it listens, answers each request with its body, and ends by SIGTERM or SIGINT: it accepts no more,
closes the connections that are idle, finishes the requests that have begun, and says how many it has answered.
"""

import asyncio
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import proactor_echo as pe


class Site:
    """What all connections share."""

    def __init__(self) -> None:
        self.connections: set[Connection] = set()
        self.answered = 0
        self.stopping = asyncio.Event()
        self.empty = asyncio.Event()

    def stop(self) -> None:
        self.stopping.set()
        for connection in list(self.connections):
            if not connection.unread:
                connection.transport.close()
        self.see_who_is_left()

    def see_who_is_left(self) -> None:
        if self.stopping.is_set() and not self.connections:
            self.empty.set()


class Connection(asyncio.Protocol):
    """One client; ``unread`` is empty between requests."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.unread = bytearray()
        self.told_to_continue = False
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.site.connections.add(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        self.site.connections.discard(self)
        self.site.see_who_is_left()

    def data_received(self, data: bytes) -> None:
        self.unread += data
        while self.answer_one():
            pass
        if self.site.stopping.is_set() and not self.unread:
            self.transport.close()

    def answer_one(self) -> bool:
        head, found, rest = self.unread.partition(b"\r\n\r\n")
        if not found:
            return False
        fields = dict(line.split(b": ", 1) for line in bytes(head).lower().split(b"\r\n")[1:])
        length = int(fields.get(b"content-length", b"0"))
        if len(rest) < length:
            if b"expect" in fields and not self.told_to_continue:
                self.told_to_continue = True
                self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            return False
        self.told_to_continue = False
        last = self.site.stopping.is_set() and len(rest) == length
        status = [b"HTTP/1.1 200 OK", b"Content-Length: %d" % length, b"Connection: close" if last else b"Server: own"]
        self.transport.writelines([b"\r\n".join(status), b"\r\n\r\n", rest[:length]])
        self.unread = rest[length:]
        self.site.answered += 1
        return True


async def main() -> None:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, pe.EventLoop)
    site = Site()
    server = await loop.create_server(lambda: Connection(site), "127.0.0.1", 0)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, site.stop)
    host, port = server.sockets[0].getsockname()
    print(f"listening http {host}:{port}", flush=True)
    await site.stopping.wait()
    server.close()
    print("stopping", flush=True)
    await site.empty.wait()
    print(f"answered {site.answered}", flush=True)


def obey() -> None:
    """Raise the signals that standard input tells of: on Windows nobody can send one to a process."""
    while number := os.read(0, 1):
        signal.raise_signal(signal.Signals(number[0]))


if __name__ == "__main__":
    if sys.platform == "win32":
        threading.Thread(target=obey, daemon=True).start()
    pe.run(main())
