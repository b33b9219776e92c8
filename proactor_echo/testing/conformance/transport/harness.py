"""What a requirement of transports is tried with: recording protocols, and peers that are independent of the loop.

A peer is a blocking socket used from a thread, so that it cannot share a mistake with the loop under test. Every wait
says what it waits for; the report of a timeout says it too.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from typing import Any, Final, TypeVar, cast, overload

from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.options import reset_on_close
from proactor_echo.testing.conformance.transport.recorders import DatagramRecorder, Recorder

__all__ = ["Harness", "NotObservable", "Peer", "RequirementFailed", "bytes_to_send", "reset", "resets_are_shown"]

R = TypeVar("R")
T = TypeVar("T")

#: Bytes after which no system should take more from a peer that does not read.
_MOST: Final = 16 << 20


class RequirementFailed(Exception):  # noqa: N818 (it says what happened)
    """A requirement was not met; the text says what was expected and what happened."""


class NotObservable(Exception):  # noqa: N818 (it is no error)
    """The system does not show what the requirement is about; the text says so."""


class Harness:
    """One event loop, one requirement, and everything that must be closed at its end."""

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self.loop: asyncio.AbstractEventLoop = asyncio.get_running_loop()
        self.loop.set_exception_handler(self._report)
        #: What the requirement waits for now.
        self.waiting_for: str = "its own end"
        #: The calls of the loop's exception handler. One that is left here at the end fails the requirement.
        self.reports: list[str] = []
        self.recorders: list[Any] = []
        self._event = asyncio.Event()
        self._transports: list[asyncio.BaseTransport] = []
        self._peers: list[Peer] = []
        self._servers: list[asyncio.Server] = []

    # -- actors --------------------------------------------------------------------------------------------------------

    @overload
    def recorder(self, *, keep_open: bool = False) -> Recorder: ...

    @overload
    def recorder(self, kind: Callable[..., R], **options: object) -> R: ...

    def recorder(self, kind: Callable[..., object] = Recorder, **options: object) -> object:
        """Make a protocol that records its callbacks."""
        recorder = kind(self._event.set, **options)
        self.recorders.append(recorder)
        return recorder

    def datagram_recorder(self) -> DatagramRecorder:
        """Make a datagram protocol that records its callbacks."""
        recorder = DatagramRecorder(self._event.set)
        self.recorders.append(recorder)
        return recorder

    async def open(
        self, protocol: asyncio.BaseProtocol, *, first: bytes = b"", small: bool = False
    ) -> tuple[asyncio.Transport, Peer]:
        """Connect a transport of the loop to a peer.

        ``first`` is sent by the peer before the transport exists. ``small`` makes the system's buffers small, so that
        a peer that does not read is felt soon.
        """
        with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
            sock = socket.socket()
            if small:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)  # which the accepted one inherits
            sock.connect(listener.getsockname())
            peer = self._peer(listener.accept()[0])
        if first:
            await peer.send(first)
        sock.setblocking(False)
        self.waiting_for = "create_connection(sock=...) to return"
        transport, _ = await self.loop.create_connection(lambda: protocol, sock=sock)
        self._transports.append(transport)
        return transport, peer

    async def serve(self, factory: Callable[[], asyncio.BaseProtocol]) -> tuple[asyncio.Server, tuple[str, int]]:
        """Start a server of the loop on a free port."""
        self.waiting_for = "create_server to return"
        server = await self.loop.create_server(factory, "127.0.0.1", 0)
        self._servers.append(server)
        return server, server.sockets[0].getsockname()

    async def call(self, address: tuple[str, int]) -> Peer:
        """Connect a peer to a server."""
        self.waiting_for = "the server to take a connection"
        return self._peer(
            await self.in_thread(lambda: socket.create_connection(address, timeout=self.timeout), "connecting")
        )

    async def open_datagrams(
        self, protocol: DatagramRecorder, *, remote: tuple[str, int] | None = None
    ) -> asyncio.DatagramTransport:
        """Open a datagram endpoint of the loop, connected if ``remote`` is given."""
        self.waiting_for = "create_datagram_endpoint to return"
        local = None if remote else ("127.0.0.1", 0)
        transport, _ = await self.loop.create_datagram_endpoint(lambda: protocol, local_addr=local, remote_addr=remote)
        self._transports.append(transport)
        return transport

    def datagram_peer(self, port: int = 0) -> Peer:
        """Make a peer that sends and receives datagrams."""
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("127.0.0.1", port))
        return self._peer(sock)

    # -- time ----------------------------------------------------------------------------------------------------------

    async def wait(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a callback of a recorder, or a report of the loop, makes the condition true."""
        self.waiting_for = what
        while not condition():
            self._event.clear()
            await self._event.wait()

    async def settle(self) -> None:
        """Give the loop time to deliver what it is going to deliver: five round trips on another connection."""
        probe = self.recorder()
        transport, peer = await self.open(probe)
        for count in range(1, 6):
            await peer.send(b"?")
            await self.wait(lambda count=count: len(probe.data) == count, "a probe on another connection")  # type: ignore[misc]
            transport.write(b"!")
            await peer.receive(1)
        transport.abort()
        await self.wait(lambda: "lost" in probe.events, "the end of a probe on another connection")
        self.recorders.remove(probe)

    async def fill(self, transport: asyncio.WriteTransport) -> int:
        """Write to a peer that does not read until the system takes no more; return how many bytes were written.

        Windows takes any one write whole while its buffer is not full, so it takes many of them.
        """
        piece = bytes_to_send(1 << 16)
        written, left, before = 0, 0, -1
        while (left == 0 or left != before) and written < _MOST:
            for _ in range(16):
                transport.write(piece)
                written += len(piece)
            before = transport.get_write_buffer_size()
            await self.settle()
            left = transport.get_write_buffer_size()
        return written

    async def in_thread(self, work: Callable[[], T], what: str) -> T:
        """Run blocking work in a thread. Raises RequirementFailed when a socket in it says so."""
        try:
            return await self.loop.run_in_executor(None, work)
        except OSError as exc:
            raise RequirementFailed(f"{what}: {type(exc).__name__}: {exc}") from exc

    async def take_report(self, naming: str) -> None:
        """Wait for an expected call of the loop's exception handler, and drop its report."""
        await self.wait(lambda: any(naming in report for report in self.reports), f"a report that names {naming!r}")
        self.drop_reports(naming)

    def drop_reports(self, naming: str) -> None:
        """Drop reports that name this, so that they do not fail the requirement."""
        self.reports = [report for report in self.reports if naming not in report]

    def so_far(self) -> str:
        """Return the events of all recorders, for a message."""
        return "; ".join(", ".join(recorder.events) or "nothing" for recorder in self.recorders) or "nothing"

    def close(self) -> None:
        """End everything."""
        for peer in self._peers:
            peer.close()
        for server in self._servers:
            server.close()
        for transport in self._transports + [t for r in self.recorders if (t := r.transport) is not None]:
            with contextlib.suppress(Exception):  # one that is broken enough to raise here has been reported
                cast("asyncio.WriteTransport", transport).abort()

    def _peer(self, sock: socket.socket) -> Peer:
        sock.settimeout(self.timeout)
        peer = Peer(self, sock)
        self._peers.append(peer)
        return peer

    def _report(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        exception = context.get("exception")
        detail = f": {type(exception).__name__}: {exception}" if exception is not None else ""
        self.reports.append(f"{context.get('message')}{detail}")
        self._event.set()


class Peer:
    """The other end: a blocking socket, each call in a thread."""

    def __init__(self, harness: Harness, sock: socket.socket) -> None:
        self._harness = harness
        self.sock = sock
        self.address: tuple[str, int] = sock.getsockname()

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        self._harness.waiting_for = f"the transport to take {len(data):,} bytes"
        await self._harness.in_thread(lambda: self.sock.sendall(data), "the peer could not send")

    async def receive(self, size: int) -> bytes:
        """Receive so many bytes."""
        data = await self._receive(size)
        if len(data) < size:
            raise RequirementFailed(
                f"the peer should receive {size:,} bytes; {len(data):,} came, then the end of the stream"
            )
        return data

    async def receive_all(self) -> bytes:
        """Receive until the end of the stream."""
        return await self._receive(None)

    async def receive_rest(self) -> int:
        """Receive until the end of the stream or a reset; return how many bytes came."""

        def work() -> int:
            count = 0
            with contextlib.suppress(ConnectionError):
                while data := self.sock.recv(1 << 18):
                    count += len(data)
            return count

        self._harness.waiting_for = "the peer to see the connection's end"
        return await self._harness.in_thread(work, "the peer should see the connection's end")

    async def datagram(self) -> tuple[bytes, Address]:
        """Receive a datagram and where it came from."""
        self._harness.waiting_for = "a datagram to reach the peer"
        return await self._harness.in_thread(lambda: self.sock.recvfrom(1 << 16), "the peer should receive a datagram")

    def send_datagram(self, data: bytes, address: Address) -> None:
        """Send a datagram, which does not block."""
        self.sock.sendto(data, address)

    def end(self) -> None:
        """End this side of the stream."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a TCP reset."""
        reset(self.sock)

    def close(self) -> None:
        """Close the socket; a thread that waits on it wakes."""
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()

    async def _receive(self, size: int | None) -> bytes:
        received = bytearray()

        def work() -> None:
            while size is None or len(received) < size:
                data = self.sock.recv(1 << 18 if size is None else min(1 << 18, size - len(received)))
                if not data:
                    return
                received.extend(data)

        wanted = "the end of the stream" if size is None else f"{size:,} bytes"
        self._harness.waiting_for = f"the peer to receive {wanted}"
        await self._harness.in_thread(work, f"the peer should receive {wanted}, {len(received):,} bytes came")
        return bytes(received)


def reset(sock: socket.socket) -> None:
    """End a connection with a TCP reset: closing with a linger time of 0 sends one."""
    reset_on_close(sock)
    sock.close()


def resets_are_shown() -> bool:
    """Return whether receiving from a plain socket fails after a reset. Under Wine 8 it may be an end of file."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listener:
        bad = socket.create_connection(listener.getsockname())
        sock, _ = listener.accept()
    with sock:
        reset(bad)
        try:
            sock.recv(1)
        except OSError:
            return True
    return False


def bytes_to_send(size: int) -> bytes:
    """Return bytes of every kind, the same in every run."""
    return random.Random(size).randbytes(size)
