"""TLS records in a stream, found by their headers, which are never encrypted (RFC 8446, section 5.1; RFC 5246, 6.2)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

__all__ = ["HEADER", "Part", "Record", "Records"]

#: Bytes of a header: what kind of record, the version (3 and a number), and the length of what follows.
HEADER: Final = 5

#: change_cipher_spec, alert, handshake, application_data (in TLS 1.3 everything that is encrypted), heartbeat.
KINDS: Final = range(20, 25)

#: A record carries 16 KiB, and up to 2 KiB of padding and authentication.
MOST: Final = (1 << 14) + 2048


class Record(NamedTuple):
    """The ``number``-th record of a direction, counted from 0."""

    number: int
    kind: int
    #: Bytes after the header.
    length: int


class Part(NamedTuple):
    """Some bytes of a record, ``start`` bytes after its first; of no record where the stream is not TLS."""

    data: bytes
    record: Record | None
    start: int = 0

    @property
    def last(self) -> bool:
        """Whether the record ends with these bytes."""
        return self.record is not None and self.start + len(self.data) == HEADER + self.record.length


class Records:
    """Cuts one direction of a stream where records begin. It must begin with one.

    What is no TLS record is passed on as it is, and so is everything after it.
    """

    def __init__(self) -> None:
        self._begun = 0
        self._header = b""
        self._record: Record | None = None
        self._passed = 0
        self._lost = False

    def feed(self, data: bytes) -> Iterator[Part]:
        """Yield the parts; fewer bytes than a header has wait for the rest of it."""
        while data and not self._lost:
            if self._record is None:
                missing = HEADER - len(self._header)
                self._header, data = self._header + data[:missing], data[missing:]
                if not self._possible():
                    self._lost = True
                    data, self._header = self._header + data, b""
                elif len(self._header) == HEADER:
                    length = int.from_bytes(self._header[3:5], "big")
                    self._record, self._header, data = (
                        Record(self._begun, self._header[0], length),
                        b"",
                        self._header + data,
                    )
                    self._begun += 1
                    self._passed = 0
                continue
            left = HEADER + self._record.length - self._passed
            part = Part(data[:left], self._record, self._passed)
            self._passed += len(part.data)
            data = data[left:]
            if part.last:
                self._record = None
            yield part
        if data:
            yield Part(data, None)

    def rest(self) -> bytes:
        """Return the beginning of a header that has not arrived whole, which is then no longer waited for."""
        rest, self._header, self._lost = self._header, b"", True
        return rest

    def _possible(self) -> bool:
        """Return whether what there is of a header could be one."""
        header = self._header
        return (
            header[0] in KINDS
            and header[1:2] in (b"", b"\x03")
            and (len(header) < HEADER or int.from_bytes(header[3:5], "big") <= MOST)
        )
