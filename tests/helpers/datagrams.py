"""Datagram endpoints of the running loop that keep what they are told, and a socket that has no room."""

from __future__ import annotations

import asyncio
import socket
from typing import Any


class Endpoint(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.received: asyncio.Queue[tuple[bytes, Any]] = asyncio.Queue()
        self.errors: asyncio.Queue[Exception] = asyncio.Queue()
        self.calls: list[str] = []
        self.lost: asyncio.Future[Exception | None] = asyncio.get_running_loop().create_future()
        self.transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.received.put_nowait((data, addr))

    def error_received(self, exc: Exception) -> None:
        self.errors.put_nowait(exc)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.set_result(exc)

    @property
    def address(self) -> Any:
        return self.transport.get_extra_info("sockname")


class EchoEndpoint(Endpoint):
    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def bind(factory: Any = Endpoint, host: str = "127.0.0.1", **options: Any) -> Any:
    if not options:
        options["local_addr"] = (host, 0)
    _, protocol = await asyncio.get_running_loop().create_datagram_endpoint(factory, **options)
    return protocol


async def close(*endpoints: Any) -> None:
    for endpoint in endpoints:
        endpoint.transport.close()
        assert await endpoint.lost is None


class Full:
    """A socket whose system has no room for datagrams until it is told so; everything else is the socket's own."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.writable = False

    def send(self, data: bytes) -> int:
        if not self.writable:
            raise BlockingIOError
        return self.sock.send(data)

    def sendto(self, data: bytes, address: Any) -> int:
        if not self.writable:
            raise BlockingIOError
        return self.sock.sendto(data, address)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)
