"""Protocols that write down, in order, what a transport tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["BufferedRecorder", "DatagramRecorder", "Recorder"]


class Recorder(asyncio.Protocol):
    """Writes down ``made``, ``data`` (once for several in a row), ``eof``, ``lost``, ``pause`` and ``resume``."""

    def __init__(self, news: Callable[[], None], *, keep_open: bool = False) -> None:
        self._news = news
        self._keep_open = keep_open  # what eof_received returns
        self.told: list[str] = []
        self.data: bytearray = bytearray()
        self.kinds: set[type] = set()
        self.exception: BaseException | None = None
        self.transport: Any = None
        self.on_made: Callable[[], None] | None = None
        self.on_data: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        self.transport = transport
        self._tell("made")
        if self.on_made is not None:
            self.on_made()

    def data_received(self, data: bytes) -> None:
        """Note it."""
        self.kinds.add(type(data))
        self.data += data
        if self.told[-1:] != ["data"]:
            self.told.append("data")
        self._news()
        if self.on_data is not None:
            self.on_data()

    def eof_received(self) -> bool:
        """Note it."""
        self._tell("eof")
        return self._keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it."""
        self.exception = exc
        self._tell("lost")

    def pause_writing(self) -> None:
        """Note it."""
        self._tell("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self._tell("resume")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self._news()


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same for a protocol that is received into: a new buffer of ``size`` bytes each time."""

    def __init__(self, news: Callable[[], None], *, size: int = 1 << 16) -> None:
        self._record = Recorder(news)
        self._size = size
        self._buffer = bytearray()
        self.told: list[str] = self._record.told
        self.data: bytearray = self._record.data
        self.on_made: Callable[[], None] | None = None

    @property
    def transport(self) -> Any:
        """The transport, once there is one."""
        return self._record.transport

    @property
    def exception(self) -> BaseException | None:
        """What ``connection_lost`` got."""
        return self._record.exception

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        self._record.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Hand out a buffer that was never used before."""
        self._buffer = bytearray(self._size)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Note what is in the buffer."""
        self._record.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        """Note it."""
        return self._record.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it."""
        self._record.connection_lost(exc)


class DatagramRecorder(asyncio.DatagramProtocol):
    """Writes down ``made``, ``datagram``, ``error``, ``lost``, ``pause`` and ``resume``."""

    def __init__(self, news: Callable[[], None]) -> None:
        self._news = news
        self.told: list[str] = []
        self.received: list[tuple[bytes, Any]] = []
        self.errors: list[Exception] = []
        self.exception: BaseException | None = None
        self.transport: Any = None
        self.on_datagram: Callable[[], None] | None = None

    @property
    def datagrams(self) -> list[bytes]:
        """The datagrams without their addresses."""
        return [data for data, _ in self.received]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Note it."""
        self.transport = transport
        self._tell("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Note it."""
        self.received.append((data, addr))
        self._tell("datagram")
        if self.on_datagram is not None:
            self.on_datagram()

    def error_received(self, exc: Exception) -> None:
        """Note it."""
        self.errors.append(exc)
        self._tell("error")

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note it."""
        self.exception = exc
        self._tell("lost")

    def pause_writing(self) -> None:
        """Note it."""
        self._tell("pause")

    def resume_writing(self) -> None:
        """Note it."""
        self._tell("resume")

    def _tell(self, what: str) -> None:
        self.told.append(what)
        self._news()
