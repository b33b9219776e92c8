"""The TLS filter: ciphertext in, plaintext out, and the other way; no socket, no loop, no clock.

::

    what was received --receive()--> [incoming BIO] --> OpenSSL --> plaintext
    plaintext ------send()---------> OpenSSL --> [outgoing BIO] --> what is to be sent

It avoids what costs most in ``asyncio.sslproto``. OpenSSL reports that it has no more data by an exception, which takes
longer than a small record. So the length in the header of each record is read here, OpenSSL gets whole records, one by
one, and each is read once. The bytes of an incomplete record wait outside.

A memory BIO never frees memory. So it is filled by :data:`PIECE` at first, and by whole records once a connection has
had :data:`MANY` large ones: a connection with little traffic stays small, one with much is not slowed down.

The states, and what ends each::

    HANDSHAKING --> OPEN --our close_notify----> CLOSING --------+
         |           |                                           v
         |           +-----the peer's----------> PEER_CLOSED --> CLOSED
         +----------------------------------------------------> FAILED      (whatever OpenSSL refuses, at any time)

Each close_notify ends one direction, as RFC 8446 has it and as TLS 1.2 peers do in practice. After the peer's nothing
is received any more, and sending goes on; after ours it is the other way round. Renegotiation (TLS 1.2) is refused.
"""

from __future__ import annotations

import enum
import ssl
from contextlib import suppress
from typing import Any, Final

from proactor_echo.loops.tls_causes import not_tls, tls_error
from proactor_echo.loops.tls_records import APPLICATION_DATA, HANDSHAKE, MOST, RECORD, TYPES, end_of_record

#: Bytes that a BIO gets at a time, at most, on a connection that is not busy.
PIECE: Final = 4096
#: Records longer than that after which a connection is busy.
MANY: Final = 8


class TlsState(enum.Enum):
    """Where the stream is; see the module."""

    HANDSHAKING = "handshaking"
    OPEN = "open"
    PEER_CLOSED = "peer closed"
    CLOSING = "closing"
    CLOSED = "closed"
    FAILED = "failed"


_OPEN = TlsState.OPEN  # found faster so, where each record passes


class TlsFilter:
    """One end of a TLS stream.

    Call :meth:`start`, then :meth:`receive` with what arrives and :meth:`send` with what is to be sent. When
    :attr:`changed` is true after that, set it to False, send what :meth:`take_output` has, and look at :attr:`state`.
    """

    __slots__ = (
        "_arguments",
        "_context",
        "_early",
        "_fill",
        "_incoming",
        "_large_in",
        "_large_out",
        "_most_in",
        "_most_out",
        "_out",
        "_outgoing",
        "_pending",
        "_plain",
        "_read",
        "_remaining",
        "_take",
        "_write",
        "began",
        "changed",
        "early_size",
        "error",
        "ssl_object",
        "state",
    )

    def __init__(
        self,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
        session: ssl.SSLSession | None = None,
    ) -> None:
        self.state: TlsState = TlsState.HANDSHAKING
        #: Whether something has changed besides data.
        self.changed: bool = False
        #: Why the state is FAILED.
        self.error: BaseException | None = None
        #: What the ssl module calls SSLObject; a server has it from the first message of the peer on.
        self.ssl_object: ssl.SSLObject | None = None
        #: Bytes of plaintext that wait for the end of the handshake.
        self.early_size: int = 0
        self._context = context
        self._arguments = (server_side, server_hostname, session)
        self.began: bool = False  # the first byte of the peer has been checked
        self._early: list[bytes] = []
        self._out: list[bytes] = []
        self._remaining = b""  # received and not decrypted: complete records at first, then an incomplete one
        self._plain = b""  # decrypted, and did not fit the buffer
        self._large_in = self._large_out = 0
        self._most_in = self._most_out = PIECE
        if not server_side:
            self._wrap()

    # -- the handshake -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin the handshake: a client has something to send then, a server waits for it."""
        if not self._arguments[0]:
            self._handshake()

    def _wrap(self) -> None:
        """Make the SSL object. Not before there is a peer who talks TLS: it takes 10 KiB and more."""
        server_side, server_hostname, session = self._arguments
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.ssl_object = made = self._context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname, session=session
        )
        inner = _inner_object(made)
        self._fill, self._take = self._incoming.write, self._outgoing.read
        self._read, self._write, self._pending = inner.read, inner.write, inner.pending

    def _handshake(self) -> None:
        assert self.ssl_object is not None
        try:
            self.ssl_object.do_handshake()
        except ssl.SSLWantReadError:
            self.changed = self.changed or self._outgoing.pending > 0
        except Exception as exc:  # besides OpenSSL's, what a callback for the server name raises, and ssl itself
            self._fail(exc)
        else:
            self.state = TlsState.OPEN
            self.changed = True
            if self._early:
                early, self._early, self.early_size = b"".join(self._early), [], 0
                self._out += [self._take(), self.send(early)]

    def _begin(self, data: memoryview) -> None:
        """Look at the peer's first bytes: when it does not talk TLS no handshake is spent on it."""
        self.began = True
        expected = b"\x16" if self._arguments[0] else b"\x16\x15"  # a server may begin with an alert
        if data[0] not in expected:
            self._fail(not_tls(bytes(data)))
        elif self.ssl_object is None:
            try:
                self._wrap()
            except Exception as exc:  # a context that is not for servers, say
                self._fail(exc)

    # -- receiving -----------------------------------------------------------------------------------------------

    def receive(self, data: bytes) -> bytes:
        """Take what arrived; return the data of all records that are complete, empty when there is none.

        What follows the last message of the handshake is left for the next call, which may be with empty data:
        connection_made comes first.
        """
        size = len(data)
        if (
            4 < size <= self._most_in
            and data[0] == APPLICATION_DATA
            and data[3] << 8 | data[4] == size - 5
            and self.state is _OPEN
            and not (self._remaining or self._plain)
        ):  # one record and nothing else, as most often
            self._fill(data)
            try:
                plain = self._read(size)
            except Exception as exc:
                self._not_data(exc)
                return b""
            if not plain:
                self._peer_closed()
            return plain  # type: ignore[no-any-return]
        if self._remaining:
            data = self._remaining + data
            self._remaining = b""
        chunks: list[bytes] = []
        if self._plain:
            chunks.append(self._plain)
            self._plain = b""
        at = 0
        view = memoryview(data)
        while self.can_receive and (end := end_of_record(data, at)):
            handshaking = self.state is TlsState.HANDSHAKING
            if chunk := self._take_record(view[at:end]):
                chunks.append(chunk)
            at = end
            if handshaking and self.state is TlsState.OPEN:
                break
        self._remaining = data[at:] if self.can_receive else b""
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def receive_into(self, data: bytes, buffer: memoryview) -> int:
        """Take what arrived; put the data into ``buffer`` and return how much. The rest stays here: see has_input.

        ``buffer`` is one of bytes, and not empty.
        """
        if self._remaining:
            data = self._remaining + data
            self._remaining = b""
        count, free = 0, len(buffer)
        if self._plain:
            count = min(free, len(self._plain))
            buffer[:count] = self._plain[:count]
            self._plain = self._plain[count:]
        at = 0
        view = memoryview(data)
        while count < free and self.can_receive and (end := end_of_record(data, at)):
            handshaking = self.state is TlsState.HANDSHAKING
            count += self._take_record(view[at:end], buffer[count:]) or 0
            at = end
            if handshaking and self.state is TlsState.OPEN:
                break
        if count == free and not self._plain and self.state is not TlsState.FAILED and self._pending():
            self._plain = self._read(RECORD)
        self._remaining = data[at:] if self.can_receive else b""
        return count

    @property
    def has_input(self) -> bool:
        """Whether there is something to take from what was received before."""
        return bool(self._plain) or (self.can_receive and bool(end_of_record(self._remaining, 0)))

    @property
    def can_receive(self) -> bool:
        """Whether more may come from the peer."""
        return self.state in (TlsState.OPEN, TlsState.HANDSHAKING, TlsState.CLOSING)

    def _take_record(self, record: memoryview, *into: memoryview) -> Any:
        """Give OpenSSL one record; return the data in it, or how much is in the buffer now; nothing, or 0, if none."""
        if not self.began:
            self._begin(record)
        elif record[0] not in TYPES:
            self._fail(tls_error("the peer sent something that is no TLS record", "WRONG_VERSION_NUMBER"))
        if self.state is TlsState.HANDSHAKING:
            self._fill(record)
            self._handshake()
            return 0 if into else b""
        if record[0] == HANDSHAKE and self._is_renegotiation():
            self._fail(tls_error("the peer asked for a renegotiation, which is refused", "NO_RENEGOTIATION"))
        if self.state is TlsState.FAILED:
            return 0 if into else b""
        try:
            if len(record) > self._most_in:
                record = self._fill_in_pieces(record)
            self._fill(record)
            taken = self._read(RECORD, *into)
        except Exception as exc:
            self._not_data(exc)
            return 0 if into else b""
        if not taken:
            self._peer_closed()
        return taken

    def _is_renegotiation(self) -> bool:
        """Whether a handshake record, of a handshake that is over, begins another. TLS 1.3 has none."""
        return self.ssl_object is not None and self.ssl_object.version() != "TLSv1.3"

    def _fill_in_pieces(self, record: memoryview) -> memoryview:
        """Have OpenSSL take all of ``record`` out of the BIO but the last piece, which is returned."""
        self._large_in += 1
        if self._large_in == MANY:
            self._most_in = MOST + 5
        while len(record) > PIECE:
            self._fill(record[:PIECE])
            record = record[PIECE:]
            with suppress(ssl.SSLWantReadError):
                self._read(1)  # takes no data: the record is not complete
        return record

    def _not_data(self, exc: Exception) -> None:
        """Judge a record without data: a session ticket, a new key, an alert, or nothing that OpenSSL takes."""
        if isinstance(exc, ssl.SSLWantReadError):
            if self._outgoing.pending:
                self.changed = True
        elif isinstance(exc, ssl.SSLZeroReturnError):  # instead of no data, when our close_notify was sent before
            self._peer_closed()
        else:
            self._fail(exc)

    def _peer_closed(self) -> None:
        self.changed = True
        self.state = TlsState.PEER_CLOSED if self.state is TlsState.OPEN else TlsState.CLOSED

    # -- sending -------------------------------------------------------------------------------------------------

    @property
    def can_send(self) -> bool:
        """Whether :meth:`send` takes anything."""
        return self.state in (TlsState.OPEN, TlsState.HANDSHAKING, TlsState.PEER_CLOSED)

    def send(self, data: bytes | bytearray) -> bytes:
        """Take data, never empty; return the ciphertext that carries it. During the handshake it is kept."""
        if len(data) <= self._most_out and self.state is _OPEN:
            try:
                self._write(data)
            except Exception as exc:
                self._fail(exc)
                return b""
            return self._take()
        if self.state is TlsState.HANDSHAKING:
            self._early.append(bytes(data))
            self.early_size += len(data)
            return b""
        ciphertext: list[bytes] = []
        if self.can_send:
            if len(data) > self._most_out == PIECE:
                self._large_out += 1
                if self._large_out == MANY:
                    self._most_out = RECORD
            view = memoryview(data)
            try:
                for at in range(0, len(data), self._most_out):
                    self._write(view[at : at + self._most_out])
                    ciphertext.append(self._take())
            except Exception as exc:
                self._fail(exc)
        return b"".join(ciphertext)

    def close(self) -> bytes:
        """Return our close_notify, which ends our direction; empty when there is none to be sent any more, or yet."""
        if self.state is TlsState.OPEN:
            self.state = TlsState.CLOSING
        elif self.state is TlsState.PEER_CLOSED:
            self.state = TlsState.CLOSED
        else:
            return b""
        return self._close_notify()

    def _close_notify(self) -> bytes:
        assert self.ssl_object is not None
        with suppress(OSError, ValueError):  # it would wait for the peer's, or meets an error from before
            self.ssl_object.unwrap()
        return self._take()

    def take_output(self) -> bytes:
        """Return what is to be sent besides data: messages of the handshake, answers and alerts."""
        out, self._out = self._out, []
        if self.ssl_object is not None:
            if self.state is TlsState.CLOSING or self.state is TlsState.CLOSED:
                self._take()  # an answer, for which it is too late
            else:
                out.append(self._take())
        return b"".join(out)

    def _fail(self, exc: BaseException) -> None:
        before, self.state = self.state, TlsState.FAILED
        self.error = exc
        self.changed = True
        self._early = []
        self.early_size = 0
        if before is TlsState.CLOSING:
            self._take()  # an alert, for which it is too late
        elif before is not TlsState.HANDSHAKING and not self._outgoing.pending:
            self._out.append(self._close_notify())


def _inner_object(made: ssl.SSLObject) -> Any:
    """Return what ``made`` hands each call on to, to spare a call in Python; ``made`` itself where that is missing.

    ``_sslobj`` of CPython 3.11 to 3.15.
    """
    return getattr(made, "_sslobj", made)
