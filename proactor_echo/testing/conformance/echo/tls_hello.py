"""A ClientHello made by hand, to offer what TLS libraries do not offer any more, and what a server answers to it.

Sources: RFC 5246, sections 6.2.1 and 7.4.1.2 (the same in RFC 2246 and 4346 but for the version); RFC 8422, 5.1
(elliptic curves); RFC 6066, 3 (server name).
"""

from __future__ import annotations

import enum
import ipaddress
import struct
from typing import Final

__all__ = ["Answer", "answer_to", "client_hello"]

_HANDSHAKE: Final = 22
_SERVER_HELLO: Final = 2

#: ECDHE with ECDSA and RSA, and RSA alone, each with AES 128 and 256, CBC and SHA-1: what TLS 1.0 has in common.
_SUITES: Final = (0xC009, 0xC00A, 0xC013, 0xC014, 0x002F, 0x0035)
_X25519_AND_P256: Final = (29, 23)


class Answer(enum.Enum):
    """What a server answers to a hello."""

    HELLO = "a ServerHello"
    ALERT = "an alert"
    END = "the end of the connection"
    OTHER = "something else"


def client_hello(version: int, server_hostname: str) -> bytes:
    """Return the record of a hello that offers ``version`` (0x0301 is TLS 1.0) at most."""
    extensions = [
        _extension(10, _with_length(struct.pack("!2H", *_X25519_AND_P256), 2)),
        _extension(11, _with_length(b"\0", 1)),
    ]
    if not _is_ip(server_hostname):
        name = b"\0" + _with_length(server_hostname.encode("idna"), 2)
        extensions.append(_extension(0, _with_length(name, 2)))
    body = (
        struct.pack("!H", version)
        + bytes(range(32))  # what should be random; nobody relies on it
        + _with_length(b"", 1)  # no session
        + _with_length(struct.pack(f"!{len(_SUITES)}H", *_SUITES), 2)
        + _with_length(b"\0", 1)  # no compression
        + _with_length(b"".join(extensions), 2)
    )
    return struct.pack("!BH", _HANDSHAKE, 0x0301) + _with_length(b"\x01" + _with_length(body, 3), 2)


def answer_to(said: bytes) -> Answer | None:
    """Tell what the server's first bytes are, or None when there are too few."""
    if len(said) < 6:
        return None if not said or said[0] in (21, _HANDSHAKE) else Answer.OTHER
    if said[0] == _HANDSHAKE and said[5] == _SERVER_HELLO:
        return Answer.HELLO
    return Answer.ALERT if said[0] == 21 else Answer.OTHER


def _extension(kind: int, data: bytes) -> bytes:
    return struct.pack("!H", kind) + _with_length(data, 2)


def _with_length(data: bytes, size: int) -> bytes:
    return len(data).to_bytes(size, "big") + data


def _is_ip(name: str) -> bool:
    try:
        ipaddress.ip_address(name.partition("%")[0])
    except ValueError:
        return False
    return True
