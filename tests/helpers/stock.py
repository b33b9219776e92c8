"""What a program has that uses asyncio alone: a stock server around a protocol, and a protocol that writes a diary."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, TypeVar, cast

import pytest
from helpers.peers import WINE, RawClient, eventually

import proactor_echo as pe

P = TypeVar("P", bound=pe.FramedProtocol | pe.Connection)

LENGTH = pe.LengthCodec()


def wire(*frames: bytes) -> bytes:
    """Return the frames as :data:`LENGTH` sends them."""
    return LENGTH.encode_many(frames)


class Serving(Generic[P]):
    """A ``loop.create_server`` that remembers its connections."""

    def __init__(self, factory: Callable[[], P]) -> None:
        self._factory = factory
        self.address: tuple[Any, ...] = ()
        self.made: list[P] = []

    def make(self) -> asyncio.Protocol:
        made = self._factory()
        self.made.append(made)
        return made.protocol if isinstance(made, pe.Connection) else made

    @property
    def only(self) -> P:
        """The one protocol made so far."""
        (protocol,) = self.made
        return protocol

    async def opened(self) -> P:
        """Wait until the one connection is open; return its protocol."""
        await eventually(lambda: self.made and self.only.state is not pe.ConnectionState.OPENING, "opened")
        return self.only


@contextlib.asynccontextmanager
async def stock_server(factory: Callable[[], P]) -> AsyncIterator[Serving[P]]:
    """Serve ``factory()`` with the running loop's own ``create_server``; abort what is left at the end."""
    serving = Serving(factory)
    server = await asyncio.get_running_loop().create_server(serving.make, "127.0.0.1", 0)
    serving.address = server.sockets[0].getsockname()
    try:
        yield serving
    finally:
        server.close()
        for protocol in serving.made:
            protocol.abort()
        await eventually(lambda: all(protocol.disconnect for protocol in serving.made), "closed")
        async with asyncio.timeout(10):
            await server.wait_closed()


class RecordingProtocol(pe.FramedProtocol):
    """Records its callbacks, and echoes."""

    def __init__(self, codec: pe.Codec | None = None, **options: Any) -> None:
        super().__init__(codec, **options)
        self.events: list[str] = []
        self.frames: list[bytes] = []

    def connection_opened(self) -> None:
        self.events.append("opened")

    def frame_received(self, frame: bytes) -> None:
        self.events.append("frame")
        self.frames.append(frame)
        self.send_frame(frame)

    def end_received(self) -> None:
        self.events.append("end")
        self.close()

    def connection_closed(self, disconnect: pe.Disconnect) -> None:
        self.events.append(f"closed: {disconnect.reason}")


class Watched(pe.FramedProtocol):
    """Records every ``transport.write``."""

    writes: list[bytes]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.writes = []
        super().connection_made(cast("asyncio.BaseTransport", RecordingTransport(transport, self.writes)))


class RecordingTransport:
    """A transport as it is, with what is written noted."""

    def __init__(self, transport: asyncio.BaseTransport, writes: list[bytes]) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._writes = writes

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self._writes.append(bytes(data))
        self._transport.write(data)


class WatchedConnection(pe.Connection):
    """A Connection that notes every ``transport.write``, and each time that its protocol says that it has ended."""

    def __init__(self, codec: pe.Codec | None = None, **options: Any) -> None:
        super().__init__(codec, **options)
        self.writes: list[bytes] = []
        self.ends: list[pe.Disconnect] = []
        protocol: Any = self.protocol
        made, closed = protocol.connection_made, protocol.connection_closed
        protocol.connection_made = lambda transport: made(RecordingTransport(transport, self.writes))
        protocol.connection_closed = lambda disconnect: closed(self._note(disconnect))

    def _note(self, disconnect: pe.Disconnect) -> pe.Disconnect:
        self.ends.append(disconnect)
        return disconnect


@contextlib.asynccontextmanager
async def connection(
    codec: pe.Codec | None = None, *, receive_buffer: int | None = None, **options: Any
) -> AsyncIterator[tuple[WatchedConnection, RawClient]]:
    """Make a :class:`Connection` in a stock server and its peer; ``receive_buffer`` is the peer's."""

    def make() -> WatchedConnection:
        return WatchedConnection(codec, **options)

    async with stock_server(make) as serving:
        client = await RawClient.connect(serving.address, receive_buffer=receive_buffer)
        try:
            yield await serving.opened(), client
        finally:
            client.close()


async def reset_by_peer(protocol: pe.FramedProtocol | pe.Connection, client: RawClient) -> pe.Disconnect:
    """Let the peer reset the connection; return how the end was reported."""
    client.reset()
    await eventually(lambda: protocol.disconnect or (WINE and protocol.state is pe.ConnectionState.PEER_EOF))
    if protocol.disconnect is None or (WINE and protocol.disconnect.reason is pe.DisconnectReason.END_OF_FILE):
        protocol.abort()
        pytest.skip("Wine has taken the reset for an end of file")
    return protocol.disconnect
