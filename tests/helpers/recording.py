"""A bench to run a loop on, protocols that record their callbacks, and peers that cause them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Bench:
    """Runs coroutines on a new loop each, and keeps what reached the loop's exception handler."""

    def __init__(self, factory: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.factory = factory
        self.errors: list[dict[str, Any]] = []
        self.debug: bool | None = None

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        async def watched() -> T:
            asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.errors.append(context))
            return await asyncio.wait_for(main, 30)

        with asyncio.Runner(loop_factory=self.factory, debug=self.debug) as runner:
            return runner.run(watched())


class Recorder(asyncio.Protocol):
    """Keeps every callback in ``calls``; ``lost`` is done when the connection is."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.received = bytearray()
        self.chunks: list[bytes] = []
        self.transport: Any = None
        self.keep_open = False
        self.made: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.got: asyncio.Event = asyncio.Event()
        self.ended: asyncio.Event = asyncio.Event()
        self.resumed: asyncio.Event = asyncio.Event()
        self.lost: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.calls.append("made")
        self.transport = transport
        self.made.set_result(None)

    def data_received(self, data: bytes) -> None:
        self.calls.append("data")
        self.chunks.append(data)
        self.received += data
        self.got.set()

    def eof_received(self) -> bool:
        self.calls.append("eof")
        self.ended.set()
        return self.keep_open

    def pause_writing(self) -> None:
        self.calls.append("pause")
        self.resumed.clear()

    def resume_writing(self) -> None:
        self.calls.append("resume")
        self.resumed.set()

    def connection_lost(self, exc: BaseException | None) -> None:
        self.calls.append("lost")
        self.lost.set_result(exc)

    async def until(self, count: int) -> bytes:
        """Wait for `count` bytes in all."""
        while len(self.received) < count:
            self.got.clear()
            await self.got.wait()
        return bytes(self.received)


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    """The same with a buffer of its own."""

    def __init__(self, size: int = 4096) -> None:
        super().__init__()
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(self.buffer[:nbytes]))


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


async def listen(factory: Any = Echo, **options: Any) -> tuple[asyncio.Server, Any]:
    """Serve with the running loop's create_server; return the address too."""
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, **options)
    return server, server.sockets[0].getsockname()


async def until(condition: Callable[[], object]) -> None:
    """Run the loop until something is true that no event tells of."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends of one TCP connection, both non-blocking."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        here = socket.create_connection(listener.getsockname())
        there, peer = listener.accept()
        while peer != here.getsockname():  # somebody else tries ports, as the tests of refusals do
            there.close()
            there, peer = listener.accept()
    here.setblocking(False)
    there.setblocking(False)
    return here, there


@contextlib.asynccontextmanager
async def connection(protocol: Any = None) -> AsyncIterator[tuple[Any, socket.socket]]:
    """The protocol of a transport of the running loop, and its peer, a plain socket."""
    loop = asyncio.get_running_loop()
    peer, sock = tcp_pair()
    recorder = Recorder() if protocol is None else protocol
    transport, _ = await loop.connect_accepted_socket(lambda: recorder, sock)
    try:
        yield recorder, peer
    finally:
        transport.abort()
        peer.close()
        await recorder.lost


class CountingSocket:
    """Stands in for a transport's socket to see what it sends; everything else is the socket's own."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sends: list[int] = []

    def send(self, data: Any) -> int:
        count = self.sock.send(data)
        self.sends.append(count)
        return count

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)


async def read_exactly(peer: socket.socket, size: int) -> bytes:
    """Receive so many bytes."""
    data = b""
    while len(data) < size:
        data += await asyncio.get_running_loop().sock_recv(peer, size - len(data))
    return data


async def read_all(sock: socket.socket) -> bytes:
    """What `sock` receives until the end of file."""
    data = bytearray()
    while chunk := await asyncio.get_running_loop().sock_recv(sock, 1 << 16):
        data += chunk
    return bytes(data)


def reset(sock: socket.socket) -> None:
    """Close `sock` so that its peer sees a reset and not an end of file."""
    linger = struct.pack("hh" if sys.platform == "win32" else "ii", 1, 0)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    sock.close()


def let_go(held: list[Any]) -> None:
    """Give up the last references to what is held, and have it freed: PyPy frees nothing before it collects."""
    held.clear()
    for _ in range(2):  # what refers to another is freed first
        gc.collect()
