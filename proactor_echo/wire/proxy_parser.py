"""Reading a PROXY protocol header from a stream, or from the beginning of a datagram.

A header is refused at the first byte that cannot be right. A parser that is fed no more than :attr:`ProxyParser.needed`
bytes at a time takes nothing of what comes behind the header.

Source: as :mod:`proactor_echo.wire.proxy_header`. Rules that other programs have got wrong: a health check (LOCAL) may
have addresses, which are skipped; numbers have no sign, no spaces and no leading zeros; a field may be empty; the
fields fill their space; an address family that is not known is refused; a pair of family and protocol of which one says
nothing has no addresses.
"""

from __future__ import annotations

import ipaddress
import os
import re
import struct
from collections.abc import Collection
from typing import Any, Final, Literal

from proactor_echo.errors import ProxyHeaderError
from proactor_echo.wire.crc32c import crc32c
from proactor_echo.wire.proxy_header import (
    CRC32C,
    SIGNATURE,
    UNIX_PATH,
    ProxyHeader,
    Tlv,
    check_tlv,
    walk_tlvs,
)

__all__ = ["ProxyParser"]

_LONGEST_TEXT: Final = 107  # with its CR LF
_SHORTEST_TEXT: Final = len(b"PROXY UNKNOWN\r\n")
_FIXED: Final = 16  # bytes of every header of version 2


class ProxyParser:
    """Read one header.

    ::

        parser = ProxyParser()
        while parser.header is None:
            parser.feed(sock.recv(parser.needed))

    :param versions: which of 1 and 2 are taken.
    :param max_header: bytes that a header of version 2 may have.
    """

    def __init__(self, versions: Collection[int] = (1, 2), max_header: int = 4096) -> None:
        self._text = 1 in versions
        self._binary = 2 in versions
        self._most = max_header
        self._data = b""
        #: What the header says, once it is complete.
        self.header: ProxyHeader | None = None
        #: What was fed behind the header.
        self.rest: bytes = b""

    @property
    def needed(self) -> int:
        """How many bytes more the header has at least: to receive no more of them leaves what is behind it alone."""
        if self.header is not None:
            return 0
        data = self._data
        if data.startswith(b"P"):
            return max(_SHORTEST_TEXT - len(data), _text_needs(data))
        if len(data) >= _FIXED:
            return _FIXED + _body_length(data) - len(data)
        if data or not self._text:
            return _FIXED - len(data)
        return _SHORTEST_TEXT

    def feed(self, data: bytes) -> ProxyHeader | None:
        """Take the next bytes; return the header once it is complete. Those behind it are in ``rest``.

        Raises :class:`ProxyHeaderError` at the first byte that cannot be right.
        """
        if self.header is not None:
            self.rest += data
            return self.header
        self._data += data
        data = self._data
        if not data:
            return None
        length = 0
        if data[0] == SIGNATURE[0] and self._binary:
            length = self._read_binary(data)
        elif data[0] == b"P"[0] and self._text:
            length = self._read_text(data)
        else:
            raise _error(f"no PROXY header: it began with {data[:16]!r}")
        if self.header is not None:
            self._data, self.rest = b"", data[length:]
        return self.header

    # -- version 1 -----------------------------------------------------------------------------------------------

    def _read_text(self, data: bytes) -> int:
        end = data.find(b"\r\n")
        line = data[:_LONGEST_TEXT] if end < 0 else data[:end]
        if end > _LONGEST_TEXT - 2 or (end < 0 and len(data) > _LONGEST_TEXT - 1):
            raise _error(f"the line of its PROXY header is longer than {_LONGEST_TEXT} bytes")
        complete = end >= 0
        partial = line.removesuffix(b"\r") if not complete else line
        if b"\r" in partial or b"\n" in partial:
            raise _error(f"no PROXY header: its line has a CR or an LF in it: {line[:40]!r}")
        for beginning in (b"PROXY TCP4 ", b"PROXY TCP6 ", b"PROXY UNKNOWN"):
            if beginning.startswith(partial) and not complete and partial == line:
                return 0
            if line.startswith(beginning):
                break
        else:
            raise _error(f"no PROXY header: it began with {line[:16]!r}")
        if beginning.endswith(b"UNKNOWN"):
            if len(partial) > len(beginning) and partial[len(beginning)] != b" "[0]:
                raise _error(f"no PROXY header: it began with {line[:16]!r}")
            if complete:
                self.header = ProxyHeader(version=1, protocol="")
            return end + 2
        version = 4 if b"4" in beginning else 6
        fields = partial.removeprefix(beginning).split(b" ")
        ended = complete or partial != line  # by the CR that has come
        _check_fields(fields, version, ended)
        if complete:
            self.header = _text_header(fields, version)
        return end + 2

    # -- version 2 -----------------------------------------------------------------------------------------------

    def _read_binary(self, data: bytes) -> int:
        if not SIGNATURE.startswith(data[: len(SIGNATURE)]):
            raise _error(f"no PROXY header: it began with {data[:16]!r}")
        local = False
        if len(data) > 12:
            if data[12] not in (0x20, 0x21):
                raise _error(f"version and command of its PROXY header are {data[12]:#04x}, which is neither")
            local = data[12] == 0x20
        if len(data) > 13 and not local and (data[13] >> 4 > 3 or data[13] & 0x0F > 2):
            raise _error(f"family and protocol of its PROXY header are {data[13]:#04x}, which is none")
        if len(data) < _FIXED:
            return 0
        length = _FIXED + _body_length(data)
        if length > self._most:
            raise _error(f"its PROXY header has {length} bytes, and may have {self._most}")
        addresses = _ADDRESS_LENGTHS[data[13] >> 4] if data[13] >> 4 <= 3 else 0
        exact = not local and data[13] >> 4 != 0 and data[13] & 0x0F != 0
        if exact and length < _FIXED + addresses:
            raise _error(f"its PROXY header has {length - _FIXED} bytes for addresses of {addresses}")
        if exact:
            _check_started(data, _FIXED + addresses, length)
        if len(data) >= length:
            self.header = _binary_header(data[:length], local, exact, _FIXED + addresses)
        return length


_ADDRESS_LENGTHS: Final = (0, 12, 36, 2 * UNIX_PATH)


def _error(message: str) -> ProxyHeaderError:
    return ProxyHeaderError(message)


def _body_length(data: bytes) -> int:
    length: int = struct.unpack_from("!H", data, 14)[0]
    return length


def _check_started(data: bytes, start: int, end: int) -> None:
    """Refuse fields of which so much has come that they cannot be right."""
    while start < end:
        if start + 3 > end:
            raise _error("the fields of its PROXY header do not fill its length")
        if start + 3 > len(data):
            return
        kind, length = struct.unpack_from("!BH", data, start)
        start += 3 + length
        if start > end:
            raise _error(f"a field of type {kind:#04x} is longer than the rest of its PROXY header")
        if start <= len(data):
            try:
                check_tlv(kind, data[start - length : start])
            except ValueError as error:
                raise _error(f"a wrong PROXY header: {error}") from None


def _binary_header(data: bytes, local: bool, exact: bool, start: int) -> ProxyHeader:
    tlvs: tuple[Tlv, ...] = ()
    try:
        tlvs = tuple(walk_tlvs(data, start))
        for kind, value in tlvs:
            check_tlv(kind, value)
    except ValueError:
        tlvs = ()  # of a health check, or of an unknown family: what follows may be anything
    _check_checksum(data, start, tlvs)
    if not exact:
        return ProxyHeader(tlvs=tlvs, local=local, protocol="")
    source, destination = _ADDRESSES[(data[13] >> 4) - 1](data)
    protocol: Literal["stream", "datagram"] = "stream" if data[13] & 0x0F == 1 else "datagram"
    return ProxyHeader(source, destination, tlvs=tlvs, protocol=protocol)


def _check_checksum(data: bytes, start: int, tlvs: tuple[Tlv, ...]) -> None:
    for kind, value in tlvs:
        if kind == CRC32C:
            place = start + 3
            zeroed = data[:place] + bytes(4) + data[place + 4 :]
            if crc32c(zeroed) != int.from_bytes(value, "big"):
                raise _error("the checksum of its PROXY header is wrong")
            return
        start += 3 + len(value)


def _ipv4_addresses(data: bytes) -> tuple[Any, Any]:
    ports = struct.unpack_from("!HH", data, 24)
    first, second = (str(ipaddress.IPv4Address(data[place : place + 4])) for place in (16, 20))
    return (first, ports[0]), (second, ports[1])


def _ipv6_addresses(data: bytes) -> tuple[Any, Any]:
    ports = struct.unpack_from("!HH", data, 48)
    first, second = (str(ipaddress.IPv6Address(data[place : place + 16])) for place in (16, 32))
    return (first, ports[0], 0, 0), (second, ports[1], 0, 0)


def _unix_addresses(data: bytes) -> tuple[Any, Any]:
    first, second = (os.fsdecode(_path(data[place : place + UNIX_PATH])) for place in (_FIXED, _FIXED + UNIX_PATH))
    return first, second


def _path(field: bytes) -> bytes:
    """Return the path in a field: it ends at a zero, but one at the beginning is that of an abstract name."""
    return field.rstrip(b"\0") if field[0] == 0 else field.partition(b"\0")[0]


_ADDRESSES: Final = (_ipv4_addresses, _ipv6_addresses, _unix_addresses)

# -- the fields of version 1 -----------------------------------------------------------------------------------------

_OCTET: Final = rb"(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_IPV4_BEGINS: Final = re.compile(rb"(?:%s\.){0,3}%s?" % (_OCTET, _OCTET))
_IPV4: Final = re.compile(rb"(?:%s\.){3}%s" % (_OCTET, _OCTET))
_PORT: Final = re.compile(rb"0|[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]")
_GROUP: Final = re.compile(rb"[0-9a-fA-F]{1,4}")


def _check_fields(fields: list[bytes], version: int, ended: bool) -> None:
    """Refuse the fields behind the family, of which the last may be a beginning, if they cannot be right."""
    if len(fields) > 4 or (ended and len(fields) < 4):
        raise _error(f"its PROXY header has {len(fields)} fields behind the family, and must have 4")
    for place, field in enumerate(fields):
        whole = ended or place < len(fields) - 1
        right: object
        if place >= 2:
            right = _PORT.fullmatch(field) or not (field or whole)
        elif version == 4:
            right = (_IPV4 if whole else _IPV4_BEGINS).fullmatch(field)
        else:
            right = _ipv6_begins(field) and (not whole or _is_ipv6(field))
        if not right:
            what = "port" if place >= 2 else f"IPv{version} address"
            raise _error(f"its PROXY header has {field!r} where it must have the {what} of a client or server")


def _ipv6_begins(field: bytes) -> bool:
    """Return whether an IPv6 address can begin so."""
    left, double, right = field.partition(b"::")
    if not double:
        groups = field.split(b":")
        if field in (b"", b":"):
            return True
        last = groups.pop()  # may be empty, and become a group or the end of a double colon
        most = 7 if last or len(groups) < 8 else 0
        return len(groups) <= most and all(map(_GROUP.fullmatch, groups)) and (not last or _is_group(last))
    groups = [*(left.split(b":") if left else ()), *(right.split(b":") if right else ())]
    if right.endswith(b":"):
        groups[-1] = b"0"  # one digit at least must come
    return len(groups) <= 7 and all(map(_GROUP.fullmatch, groups))


def _is_group(field: bytes) -> bool:
    return _GROUP.fullmatch(field) is not None


def _is_ipv6(field: bytes) -> bool:
    try:
        ipaddress.IPv6Address(field.decode("ascii"))
    except ValueError:
        return False
    return True


def _text_header(fields: list[bytes], version: int) -> ProxyHeader:
    texts = [field.decode("ascii") for field in fields]
    rest = (0, 0) if version == 6 else ()
    addresses = [(str(ipaddress.ip_address(texts[place])), int(texts[place + 2]), *rest) for place in (0, 1)]
    return ProxyHeader(addresses[0], addresses[1], version=1)


def _text_needs(data: bytes) -> int:
    """Return how many bytes a line must have more at least, by the fields that have not begun."""
    if data.endswith(b"\r"):
        return 1
    begun = data.count(b" ")
    if begun < 2 or b"UNKNOWN" in data:
        return 2
    last_is_empty = data.endswith(b" ")
    host = len(b" 0.0.0.0") if b"TCP4" in data else len(b" ::")
    least = {2: host + 2 + 2, 3: 2 + 2, 4: 2}.get(begun, 0)
    missing = (host if begun in (2, 3) else 2) - 1
    return least + (missing if last_is_empty else 0) + 2
