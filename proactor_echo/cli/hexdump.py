"""Show what passes over the wire, in the format of ``hexdump -C``.

::

    <- 127.0.0.1:50001 7 bytes
    00000000  68 65 6c 6c 6f 0d 0a                              |hello..|

``<-`` came from the peer, ``->`` goes to it. On a TCP connection the offsets count on from one piece to the next, in
each direction; a datagram starts at 0. As ``hexdump`` does, a row that repeats the one before is one ``*``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final, cast

from proactor_echo.net.udp.handler import Oversize
from proactor_echo.rfc862 import EchoDatagramProtocol, EchoProtocol
from proactor_echo.sockets.addresses import Address, format_address
from proactor_echo.wire.codec import BytesLike

__all__ = ["DumpingEchoDatagramProtocol", "DumpingEchoProtocol", "hex_rows"]

Write = Callable[[str], None]

IN: Final = "<-"
OUT: Final = "->"

_WIDTH: Final = 16
_PRINTABLE: Final = bytes(code if 0x20 <= code < 0x7F else ord(".") for code in range(256))


def hex_rows(data: BytesLike, offset: int = 0) -> Iterator[str]:
    """Yield the rows for ``data``, 16 bytes each, the first with ``offset``."""
    data = bytes(data)
    before, repeating = b"", False
    for start in range(0, len(data), _WIDTH):
        row = data[start : start + _WIDTH]
        if row == before and start + _WIDTH < len(data):  # the last row is always shown: it says where the data ends
            if not repeating:
                yield "*"
            repeating = True
            continue
        before, repeating = row, False
        text = row.translate(_PRINTABLE).decode("ascii")
        yield f"{offset + start:08x}  {row[:8].hex(' '):<23}  {row[8:].hex(' '):<23}  |{text}|"


class DumpingEchoProtocol(EchoProtocol):
    """An :class:`EchoProtocol` that gives ``write`` a text for everything that comes and goes."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._dump = _StreamDump(write)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the connection, over a transport whose writes are shown."""
        self._dump.peer = format_address(transport.get_extra_info("peername"))
        # It forwards everything, but is no subclass of asyncio.Transport, whose methods would all raise.
        super().connection_made(cast("asyncio.Transport", _DumpingTransport(transport, self._dump)))

    def data_received(self, data: bytes) -> None:
        """Show the bytes of one read, then handle them."""
        self._dump.piece(IN, data)
        super().data_received(data)

    def eof_received(self) -> bool:
        """Show the end of file, then handle it."""
        self._dump.end(IN)
        return super().eof_received()


class DumpingEchoDatagramProtocol(EchoDatagramProtocol):
    """An :class:`EchoDatagramProtocol` that gives ``write`` a text for every datagram that comes and goes."""

    def __init__(self, write: Write, *, max_datagram: int, oversize: Oversize) -> None:
        super().__init__(max_datagram=max_datagram, oversize=oversize)
        self._write = write

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, with its sending shown."""
        super().connection_made(cast("asyncio.DatagramTransport", _DumpingDatagramTransport(transport, self._write)))

    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Show a datagram, then handle it."""
        self._write(_piece(IN, format_address(addr), data))
        super().datagram_received(data, addr)


class _StreamDump:
    """The two streams of one connection."""

    def __init__(self, write: Write) -> None:
        self.peer = ""
        self._write = write
        self._offsets = {IN: 0, OUT: 0}

    def piece(self, direction: str, data: BytesLike) -> None:
        self._write(_piece(direction, self.peer, data, self._offsets[direction]))
        self._offsets[direction] += len(data)

    def end(self, direction: str) -> None:
        self._write(f"{direction} {self.peer} end of file")


class _DumpingTransport:
    """A stream transport as it is, with what is sent shown."""

    def __init__(self, transport: asyncio.BaseTransport, dump: _StreamDump) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._dump = dump

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: BytesLike) -> None:
        self._dump.piece(OUT, data)
        self._transport.write(data)

    def write_eof(self) -> None:
        self._dump.end(OUT)
        self._transport.write_eof()

    def close(self) -> None:
        if not self._transport.is_closing():
            self._dump.end(OUT)
        self._transport.close()


class _DumpingDatagramTransport:
    """A datagram transport as it is, with what is sent shown."""

    def __init__(self, transport: asyncio.BaseTransport, write: Write) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)
        self._write = write

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def sendto(self, data: BytesLike, addr: Address | None = None) -> None:
        self._write(_piece(OUT, format_address(addr), data))
        self._transport.sendto(data, addr)


def _piece(direction: str, peer: str, data: BytesLike, offset: int = 0) -> str:
    unit = "byte" if len(data) == 1 else "bytes"
    return "\n".join([f"{direction} {peer} {len(data)} {unit}", *hex_rows(data, offset)])
