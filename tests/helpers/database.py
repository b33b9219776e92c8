"""A database with a binary protocol in the style of PostgreSQL's: what the tests of heavy protocol use are made of.

A message is a type byte, a length that counts itself, and a body; the first one has no type byte. A client may send any
number of queries before it has an answer. Queries: ``rows COUNT SIZE``, ``sleep`` (until it is cancelled), ``copy``
(what the client then sends) and anything else, which is an error. A query is cancelled over a connection of its own.
"""

from __future__ import annotations

import asyncio
import itertools
import ssl
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

HEADER = struct.Struct("!cI")
STARTUP = struct.Struct("!IIII")  # its own length, what is wanted, and whom to cancel
HELLO, CANCEL, USE_TLS = 196608, 80877102, 80877103

MOST_QUERIES = 64
"""Queries that may wait in a session before it reads no more."""

PATTERN = bytes(range(251)) * 600


def message(kind: bytes, body: bytes = b"") -> bytes:
    return HEADER.pack(kind, len(body) + 4) + body


def row(number: int, size: int) -> bytes:
    """Return row `number` of every result: rows differ from their neighbours."""
    return PATTERN[number % 251 : number % 251 + size]


class Database:
    """The server: its sessions, and what they have done."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.tls = tls
        self.sessions: dict[int, Session] = {}
        self.numbers = itertools.count(1)
        self.ended: list[BaseException | None] = []  # how sessions ended

    def session(self) -> Session:
        return Session(self)


class Session(asyncio.Protocol):
    """One client's connection. Answers as fast as the client takes it, and no faster."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.number = next(database.numbers)
        self.transport: Any = None
        self.unread = bytearray()
        self.started = self.upgrading = False
        self.queries: deque[bytes] = deque()
        self.running: Iterator[bytes | None] | None = None
        self.copied: list[bytes] | None = None
        self.may_write = True
        self.cancelled = False
        self.held = False  # has stopped reading
        self.holds = self.pauses = self.rows = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: BaseException | None) -> None:
        if self.database.sessions.pop(self.number, None):
            self.database.ended.append(exc)

    def pause_writing(self) -> None:
        self.may_write = False
        self.pauses += 1

    def resume_writing(self) -> None:
        self.may_write = True
        self.work()

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if self.upgrading:
            return  # the first bytes in TLS can be here before start_tls() has returned
        if not self.started and len(self.unread) >= STARTUP.size:
            self.start(*STARTUP.unpack_from(self.unread))
        if self.started:
            for kind, body in self.messages():
                self.take(kind, body)
            self.work()

    def start(self, length: int, wanted: int, number: int, _secret: int) -> None:
        del self.unread[:length]
        if wanted == CANCEL:
            victim = self.database.sessions.get(number)
            if victim is not None:
                victim.cancelled = True
                victim.work()
            self.transport.close()
        elif wanted == USE_TLS:
            assert not self.unread, "the client did not wait"
            self.transport.write(b"S")
            self.transport.pause_reading()
            self.upgrading = True
            self.upgrade = asyncio.ensure_future(self.start_tls())
        else:
            self.started = True
            self.database.sessions[self.number] = self
            self.transport.write(message(b"K", struct.pack("!I", self.number)))

    async def start_tls(self) -> None:
        loop = asyncio.get_running_loop()
        assert self.database.tls is not None
        self.transport = await loop.start_tls(self.transport, self, self.database.tls, server_side=True)
        self.upgrading = False
        self.data_received(b"")

    def messages(self) -> Iterator[tuple[bytes, bytes]]:
        at = 0
        while len(self.unread) - at >= HEADER.size:
            kind, length = HEADER.unpack_from(self.unread, at)
            if len(self.unread) - at <= length:
                break
            yield kind, bytes(self.unread[at + HEADER.size : at + 1 + length])
            at += 1 + length
        del self.unread[:at]

    def take(self, kind: bytes, body: bytes) -> None:
        if kind == b"Q":
            self.queries.append(body)
        elif kind == b"d":
            assert self.copied is not None
            self.copied.append(body)
        elif kind == b"c":
            self.queries.appendleft(b"copied")
            self.running = None
        if len(self.queries) > MOST_QUERIES or (self.copied and len(self.copied) % 16 == 0):
            self.hold()

    def hold(self) -> None:
        """Read no more before the queue is short again, or for some iterations of the loop if it is."""
        if not self.held:
            self.held = True
            self.holds += 1
            self.transport.pause_reading()
            if len(self.queries) <= MOST_QUERIES:
                asyncio.get_running_loop().call_later(0.002, self.go_on)

    def go_on(self) -> None:
        self.held = False
        self.transport.resume_reading()

    def work(self) -> None:
        """Answer until the client is slow, the query waits for something, or nothing is left to do."""
        while self.may_write and not self.transport.is_closing():
            if self.running is None:
                if self.held and len(self.queries) <= MOST_QUERIES // 2 and self.copied is None:
                    self.go_on()
                if not self.queries:
                    return
                self.running = self.answer(self.queries.popleft())
            piece = next(self.running, b"")
            if piece is None:
                return
            if piece:
                self.transport.write(piece)
            else:
                self.running = None

    def answer(self, query: bytes) -> Iterator[bytes | None]:
        """Yield the messages of an answer; None is to wait."""
        self.cancelled = False
        name, *numbers = query.split()
        if name == b"rows":
            count, size = map(int, numbers)
            for number in range(count):
                if self.cancelled:
                    break
                self.rows += 1
                yield message(b"D", row(number, size))
        elif name == b"sleep":
            while not self.cancelled:
                yield None
        elif name == b"copy":
            self.copied = []
            yield message(b"G")
            while True:
                yield None  # until "copied" takes its place
        elif name == b"copied":
            assert self.copied is not None
            body, self.copied = b"".join(self.copied), None
            yield message(b"D", b"%d %d" % (len(body), zlib.crc32(body)))
        else:
            yield message(b"E", b"no such query: " + query)
            return
        yield message(b"E", b"cancelled") if self.cancelled else message(b"C", query)


class QueryError(Exception):
    """The database says that a query failed."""


class Result(NamedTuple):
    """Rows, and what they answer."""

    rows: list[bytes]
    query: bytes


class Client(asyncio.BufferedProtocol):
    """A connection to the database that receives into a buffer of its own and may send ahead of the answers."""

    SIZE = 16 * 1024

    def __init__(self) -> None:
        self.buffer = bytearray(self.SIZE)
        self.end = 0  # of what is in it
        self.transport: Any = None
        self.number = 0
        self.waiting: deque[asyncio.Future[Result]] = deque()
        self.rows: list[bytes] = []
        self.pause_after = 0  # rows of a result
        loop = asyncio.get_running_loop()
        self.ready: asyncio.Future[None] = loop.create_future()
        self.lost: asyncio.Future[BaseException | None] = loop.create_future()
        self.copying = asyncio.Event()
        self.writable = asyncio.Event()
        self.writable.set()
        self.pauses = 0

    @classmethod
    async def connect(cls, address: Any, tls: ssl.SSLContext | None = None) -> Client:
        loop = asyncio.get_running_loop()
        transport, client = await loop.create_connection(cls, *address)
        if tls is not None:
            transport.write(STARTUP.pack(STARTUP.size, USE_TLS, 0, 0))
            await client.ready
            client.ready = loop.create_future()
            client.transport = await loop.start_tls(transport, client, tls, server_hostname="localhost")
        client.transport.write(STARTUP.pack(STARTUP.size, HELLO, 0, 0))
        await client.ready
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def connection_lost(self, exc: BaseException | None) -> None:
        unanswered: list[asyncio.Future[Any]] = [self.ready, *self.waiting]
        for future in unanswered:
            if not future.done():
                future.set_exception(ConnectionResetError("the database is gone"))
        self.writable.set()
        self.lost.set_result(exc)

    def pause_writing(self) -> None:
        self.pauses += 1
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()

    def get_buffer(self, sizehint: int) -> memoryview:
        return memoryview(self.buffer)[self.end :]

    def buffer_updated(self, nbytes: int) -> None:
        self.end += nbytes
        at, needed = 0, 0
        if self.buffer[: self.end] == b"S" and not self.number:
            self.ready.set_result(None)
            at = 1
        while self.end - at >= HEADER.size:
            kind, length = HEADER.unpack_from(self.buffer, at)
            needed = 1 + length
            if self.end - at < needed:
                break
            self.take(kind, bytes(self.buffer[at + HEADER.size : at + needed]))
            at += needed
        rest = self.buffer[at : self.end]
        if needed > len(self.buffer):
            self.buffer = bytearray(needed)  # another one: the old may still be lent
        self.buffer[: len(rest)] = rest
        self.end = len(rest)

    def take(self, kind: bytes, body: bytes) -> None:
        if kind == b"D":
            self.rows.append(body)
            if len(self.rows) == self.pause_after:
                self.transport.pause_reading()
        elif kind == b"K":
            (self.number,) = struct.unpack("!I", body)
            self.ready.set_result(None)
        elif kind == b"G":
            self.copying.set()
        else:
            rows, self.rows = self.rows, []
            future = self.waiting.popleft()
            if future.done():
                pass
            elif kind == b"C":
                future.set_result(Result(rows, body))
            else:
                future.set_exception(QueryError(body.decode()))

    def query(self, text: str) -> asyncio.Future[Result]:
        """Send a query now; the future has its result, in the order of sending."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        body = text.encode()
        self.waiting.append(future)
        if len(self.waiting) % 2:
            self.transport.write(message(b"Q", body))
        else:
            self.transport.writelines([HEADER.pack(b"Q", len(body) + 4), memoryview(body), bytearray()])
        return future

    async def copy(self, chunks: Iterable[bytes]) -> bytes:
        """Send chunks, no faster than they are taken; return what the database made of them."""
        self.query("copy")
        await self.copying.wait()
        for number, chunk in enumerate(chunks):
            if number % 2:
                self.transport.write(message(b"d", chunk))
            else:
                self.transport.writelines([HEADER.pack(b"d", len(chunk) + 4), chunk])
            await self.writable.wait()
        self.transport.write(message(b"c"))
        (summary,) = (await self.waiting[0]).rows
        return summary

    async def cancel(self) -> None:
        """Have the query that runs cancelled, over another connection."""
        reader, writer = await asyncio.open_connection(*self.transport.get_extra_info("peername"))
        writer.write(STARTUP.pack(STARTUP.size, CANCEL, self.number, 0))
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()

    async def close(self) -> None:
        self.transport.close()
        await self.lost
