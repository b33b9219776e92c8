"""The ssl module as the peer of what is tested: in memory, and on a socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from typing import Any

from helpers.recording import tcp_pair
from helpers.tls import client_context, server_context


class SslPeer:
    """One end of a TLS stream, by ``ssl.SSLObject`` as its documentation has it."""

    def __init__(self, context: ssl.SSLContext, **how: Any) -> None:
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = context.wrap_bio(self._incoming, self._outgoing, **how)
        self.closed = False  # the other end has said so

    def shake(self) -> bool:
        """Do what can be done of the handshake; whether it is over."""
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def give(self, data: bytes) -> None:
        self._incoming.write(data)

    def taken(self) -> bytes:
        return self._outgoing.read()

    def read(self) -> bytes:
        """Everything that has arrived."""
        data = bytearray()
        while True:
            try:
                chunk = self.ssl_object.read(65536)
            except ssl.SSLWantReadError:
                return bytes(data)
            except ssl.SSLZeroReturnError:
                chunk = b""
            if not chunk:
                self.closed = True
                return bytes(data)
            data += chunk

    def close(self) -> None:
        """Send close_notify."""
        with contextlib.suppress(ssl.SSLWantReadError):
            self.ssl_object.unwrap()


def shake_hands(ours: Any, peer: SslPeer) -> None:
    """Do the handshake of a filter and its peer."""
    ours.start()
    done = False
    for _ in range(10):
        peer.give(ours.take_output())
        done = done or peer.shake()
        if data := peer.taken():
            ours.receive(data)
    ours.changed = False
    assert done
    assert ours.state.value == "open", ours.error


class TlsPeer:
    """The same on a socket of the running loop: a peer that does what it is told to, and nothing else."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext | None = None, **how: Any) -> None:
        self.sock = sock
        how = how or {"server_hostname": "localhost"}
        self.tls = SslPeer(client_context() if context is None else context, **how)
        self.ended = False  # TCP has
        self._loop = asyncio.get_running_loop()

    async def shake(self) -> None:
        """Do the handshake."""
        done = False
        while not done:
            done = self.tls.shake()
            await self.flush()
            if not done:
                await self._receive()

    async def flush(self) -> None:
        if data := self.tls.taken():
            await self._loop.sock_sendall(self.sock, data)

    async def write(self, data: bytes) -> None:
        self.tls.ssl_object.write(data)
        await self.flush()

    async def read(self, count: int) -> bytes:
        """Wait for so many bytes, or for the end of the stream or of TCP."""
        data = self.tls.read()
        while len(data) < count and not (self.tls.closed or self.ended):
            await self._receive()
            data += self.tls.read()
        return data

    async def read_to_end(self) -> bytes:
        """Wait for close_notify or the end of TCP; ``closed`` says which."""
        return await self.read(1 << 60)

    async def close_notify(self) -> None:
        self.tls.close()
        await self.flush()

    def end_tcp(self) -> None:
        """End our direction of TCP without a word."""
        self.sock.shutdown(socket.SHUT_WR)

    async def _receive(self) -> None:
        data = await self._loop.sock_recv(self.sock, 65536)
        self.ended = not data
        self.tls.give(data)


@contextlib.asynccontextmanager
async def tls_connection(
    protocol: Any, *, context: ssl.SSLContext | None = None, shake: bool = True, **how: Any
) -> AsyncIterator[TlsPeer]:
    """A client that is connected to a server's transport with `protocol`, after the handshake if `shake`."""
    loop = asyncio.get_running_loop()
    sock, there = tcp_pair()
    peer = TlsPeer(sock, context)
    accepting = asyncio.create_task(loop.connect_accepted_socket(lambda: protocol, there, ssl=server_context(), **how))
    try:
        if shake:
            await peer.shake()
            await accepting
        yield peer
    finally:
        accepting.cancel()
        await asyncio.wait([accepting])
        if protocol.transport is not None:
            protocol.transport.abort()
            await protocol.lost
        sock.close()


async def connected(address: Any) -> socket.socket:
    """A socket of the running loop that is connected to `address`."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    return sock


async def listen(make: Callable[[], Any], **how: Any) -> tuple[asyncio.Server, Any]:
    """A TLS server of the running loop, and its address."""
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0, ssl=server_context(), **how)
    return server, server.sockets[0].getsockname()
