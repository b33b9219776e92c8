"""Protocols that record, in order, the callbacks that a transport makes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

from proactor_echo.sockets.addresses import Address

__all__ = ["BufferedRecorder", "DatagramRecorder", "Recorder"]


class Recorder(asyncio.Protocol):
    """Records ``made``, ``data`` (once for several in a row), ``eof``, ``lost``, ``pause`` and ``resume``."""

    def __init__(self, on_event: Callable[[], None], *, keep_open: bool = False) -> None:
        self._on_event = on_event
        self._keep_open = keep_open  # what eof_received returns
        self.events: list[str] = []
        self.data: bytearray = bytearray()
        self.kinds: set[type] = set()
        self.exception: BaseException | None = None
        self.transport: asyncio.Transport = cast("asyncio.Transport", None)  # until there is one
        self.on_made: Callable[[], None] | None = None
        self.on_data: Callable[[], None] | None = None
        self.on_eof: Callable[[], None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._record("made")
        if self.on_made is not None:
            self.on_made()

    def data_received(self, data: bytes) -> None:
        self.kinds.add(type(data))
        self.data += data
        if self.events[-1:] != ["data"]:
            self.events.append("data")
        self._on_event()
        if self.on_data is not None:
            self.on_data()

    def eof_received(self) -> bool:
        self._record("eof")
        if self.on_eof is not None:
            self.on_eof()
        return self._keep_open

    def connection_lost(self, exc: BaseException | None) -> None:
        self.exception = exc
        self._record("lost")

    def pause_writing(self) -> None:
        self._record("pause")

    def resume_writing(self) -> None:
        self._record("resume")

    def _record(self, what: str) -> None:
        self.events.append(what)
        self._on_event()


class BufferedRecorder(asyncio.BufferedProtocol):
    """The same for a protocol that is received into: a new buffer of ``size`` bytes each time."""

    def __init__(self, on_event: Callable[[], None], *, size: int = 1 << 16) -> None:
        self._recorder = Recorder(on_event)
        self._size = size
        self._buffer = bytearray()
        self.events: list[str] = self._recorder.events
        self.data: bytearray = self._recorder.data
        self.on_made: Callable[[], None] | None = None

    @property
    def transport(self) -> asyncio.Transport:
        """The transport, once there is one."""
        return self._recorder.transport

    @property
    def exception(self) -> BaseException | None:
        """What ``connection_lost`` got."""
        return self._recorder.exception

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._recorder.connection_made(transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Hand out a buffer that was never used before."""
        self._buffer = bytearray(self._size)
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._recorder.data_received(bytes(self._buffer[:nbytes]))

    def eof_received(self) -> bool:
        return self._recorder.eof_received()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._recorder.connection_lost(exc)


class DatagramRecorder(asyncio.DatagramProtocol):
    """Records ``made``, ``datagram``, ``error``, ``lost``, ``pause`` and ``resume``."""

    def __init__(self, on_event: Callable[[], None]) -> None:
        self._on_event = on_event
        self.events: list[str] = []
        self.received: list[tuple[bytes, Address]] = []
        self.errors: list[Exception] = []
        self.exception: BaseException | None = None
        self.transport: asyncio.DatagramTransport = cast("asyncio.DatagramTransport", None)  # until there is one
        self.on_datagram: Callable[[], None] | None = None

    @property
    def datagrams(self) -> list[bytes]:
        """The datagrams without their addresses."""
        return [data for data, _ in self.received]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)
        self._record("made")

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self.received.append((data, addr))
        self._record("datagram")
        if self.on_datagram is not None:
            self.on_datagram()

    def error_received(self, exc: Exception) -> None:
        self.errors.append(exc)
        self._record("error")

    def connection_lost(self, exc: BaseException | None) -> None:
        self.exception = exc
        self._record("lost")

    def pause_writing(self) -> None:
        self._record("pause")

    def resume_writing(self) -> None:
        self._record("resume")

    def _record(self, what: str) -> None:
        self.events.append(what)
        self._on_event()
