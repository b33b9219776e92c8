"""The PROXY protocol's header: what a load balancer says of the client whose connection it hands on.

:class:`ProxyHeader` is what a header says, and makes its bytes; :class:`~proactor_echo.wire.proxy_parser.ProxyParser`
reads them.

Source: ``doc/proxy-protocol.txt`` of HAProxy, versions 1 (text) and 2 (binary), as of 27 April 2026.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import os
import struct
from collections.abc import Iterable
from typing import Any, Final, Literal

from proactor_echo.wire.crc32c import crc32c

__all__ = ["ProxyHeader", "ProxyTls", "Tlv"]

#: A field of version 2: its type, 0 to 255, and its value.
Tlv = tuple[int, bytes]

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"

ALPN, AUTHORITY, CRC32C, UNIQUE_ID, TLS, NETWORK_NAMESPACE = 0x01, 0x02, 0x03, 0x05, 0x20, 0x30
AWS: Final = 0xEA  # the first byte says what it is; 1: the endpoint of a VPC

UNIQUE_ID_MOST: Final = 128
UNIX_PATH: Final = 108

# Within the field of TLS.
_VERSION, _COMMON_NAME, _CIPHER, _SIGNATURE_ALGORITHM, _KEY_ALGORITHM = range(0x21, 0x26)
_GROUP, _SIGNATURE_SCHEME, _CERTIFICATE = range(0x26, 0x29)
_IS_TLS, _CERTIFICATE_CONNECTION, _CERTIFICATE_SESSION = 1, 2, 4

_PROTOCOLS: Final = {"": 0, "stream": 1, "datagram": 2}


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyTls:
    """What a proxy says of the TLS that it ended.

    ``version`` is as OpenSSL writes it (``TLSv1.3``), ``cipher`` its name, ``common_name`` that of the client's
    certificate, ``certificate`` the certificate in DER. What the proxy did not tell is None. ``has_certificate``: the
    client showed one in this connection, or in the session that it resumed. ``verified``: it showed one that is valid.
    """

    version: str | None = None
    cipher: str | None = None
    common_name: str | None = None
    signature_algorithm: str | None = None
    key_algorithm: str | None = None
    group: str | None = None
    signature_scheme: str | None = None
    certificate: bytes | None = None
    has_certificate: bool = False
    verified: bool = False


@dataclasses.dataclass(frozen=True, slots=True)
class ProxyHeader:
    """What a PROXY protocol header says.

    :param source: the client's address, as the socket module has it: ``(host, port)``, for IPv6 with two zeros more,
        or a Unix socket's path. None: the header does not say.
    :param destination: the address that the client connected to, of the same kind.
    :param tlvs: version 2 only: further fields, pairs of type and value, in their order.
    :param local: the proxy speaks for itself, to see whether the server is there; the addresses mean nothing.
    :param protocol: how the client came: ``"stream"``, ``"datagram"``, or ``""`` when the header does not say.
    :param version: of the header, 1 or 2.

    Raises TypeError or ValueError for what no header can say.
    """

    source: Any = None
    destination: Any = None
    _: dataclasses.KW_ONLY
    tlvs: tuple[Tlv, ...] = ()
    local: bool = False
    protocol: Literal["stream", "datagram", ""] = "stream"
    version: Literal[1, 2] = 2

    def __post_init__(self) -> None:
        if self.version not in (1, 2):
            raise ValueError(f"version must be 1 or 2, not {self.version!r}")
        if self.protocol not in _PROTOCOLS:
            raise ValueError(f'protocol must be "stream", "datagram" or "", not {self.protocol!r}')
        kinds = [_kind(name, getattr(self, name)) for name in ("source", "destination")]
        if kinds[0] != kinds[1]:
            raise ValueError(
                f"source and destination must be addresses of one kind, not {self.source!r} and {self.destination!r}"
            )
        object.__setattr__(self, "tlvs", _checked_tlvs(self.tlvs))
        if self.version == 1 and (self.tlvs or kinds[0] == "unix" or self.protocol == "datagram"):
            raise ValueError("version 1 has only addresses of TCP: no tlvs, no paths and no datagrams")

    # -- what the fields say -------------------------------------------------------------------------------------

    def tlv(self, kind: int) -> bytes | None:
        """Return the value of the first field of this type, None if there is none."""
        return next((value for found, value in self.tlvs if found == kind), None)

    @property
    def authority(self) -> str | None:
        """The host name that the client asked for, from its TLS (SNI)."""
        return _text(self.tlv(AUTHORITY))

    @property
    def alpn(self) -> str | None:
        """The application protocol that was agreed on, ``h2`` for example."""
        return _text(self.tlv(ALPN))

    @property
    def unique_id(self) -> bytes | None:
        """The proxy's own name for the connection, 128 bytes at most."""
        return self.tlv(UNIQUE_ID)

    @property
    def network_namespace(self) -> str | None:
        """The network namespace that the client came to, by its name on the proxy's machine."""
        return _text(self.tlv(NETWORK_NAMESPACE))

    @property
    def aws_vpce_id(self) -> str | None:
        """The endpoint of a VPC through which the client came to an AWS Network Load Balancer."""
        value = self.tlv(AWS)
        return _text(value[1:]) if value and value[0] == 1 else None

    @property
    def tls(self) -> ProxyTls | None:
        """What the proxy says of the client's TLS; None when it had none, or the proxy does not say."""
        value = self.tlv(TLS)
        if value is None or not value[0] & _IS_TLS:
            return None
        flags, failed = struct.unpack_from("!BI", value)
        said = dict(reversed(list(walk_tlvs(value, 5))))
        has_certificate = bool(flags & (_CERTIFICATE_CONNECTION | _CERTIFICATE_SESSION))
        return ProxyTls(
            version=_text(said.get(_VERSION)),
            cipher=_text(said.get(_CIPHER)),
            common_name=_text(said.get(_COMMON_NAME)),
            signature_algorithm=_text(said.get(_SIGNATURE_ALGORITHM)),
            key_algorithm=_text(said.get(_KEY_ALGORITHM)),
            group=_text(said.get(_GROUP)),
            signature_scheme=_text(said.get(_SIGNATURE_SCHEME)),
            certificate=said.get(_CERTIFICATE),
            has_certificate=has_certificate,
            verified=has_certificate and not failed,
        )

    # -- its bytes -----------------------------------------------------------------------------------------------

    def encode(self, *, checksum: bool = False) -> bytes:
        """Return the bytes of the header; with ``checksum``, which is version 2's, also the field with its CRC-32C.

        Raises ValueError for fields that are longer than a header may be.
        """
        if self.version == 1:
            if checksum:
                raise ValueError("version 1 has no checksum")
            return self._encode_text()
        kind = _kind("source", self.source)
        family, addresses = _FAMILIES[kind], b""
        if kind == "unix":
            addresses = b"".join(os.fsencode(path).ljust(UNIX_PATH, b"\0") for path in (self.source, self.destination))
        elif kind:
            hosts = b"".join(ipaddress.ip_address(each[0]).packed for each in (self.source, self.destination))
            addresses = hosts + struct.pack("!HH", self.source[1], self.destination[1])
        body = addresses + encode_tlvs(self.tlvs)
        if checksum:
            place = 16 + len(body) + 3
            body += encode_tlvs([(CRC32C, bytes(4))])
        if len(body) > 0xFFFF:
            raise ValueError(f"the fields have {len(body)} bytes; a header has room for 65535")
        protocol = family << 4 | (_PROTOCOLS[self.protocol] if kind else 0)
        header = SIGNATURE + struct.pack("!BBH", 0x20 | (not self.local), protocol, len(body)) + body
        if checksum:
            header = header[:place] + struct.pack("!I", crc32c(header)) + header[place + 4 :]
        return header

    def _encode_text(self) -> bytes:
        if self.source is None or self.local:
            return b"PROXY UNKNOWN\r\n"
        hosts = [ipaddress.ip_address(each[0]) for each in (self.source, self.destination)]
        ports = self.source[1], self.destination[1]
        return f"PROXY TCP{hosts[0].version} {hosts[0]} {hosts[1]} {ports[0]} {ports[1]}\r\n".encode()


_FAMILIES: Final = {"": 0, "4": 1, "6": 2, "unix": 3}


def encode_tlvs(tlvs: Iterable[Tlv]) -> bytes:
    """Return the bytes of fields."""
    return b"".join(struct.pack("!BH", kind, len(value)) + value for kind, value in tlvs)


def walk_tlvs(data: bytes, start: int = 0, end: int | None = None) -> Iterable[Tlv]:
    """Yield the fields in ``data`` from ``start`` to ``end``. Raises ValueError where they do not fill that space."""
    end = len(data) if end is None else end
    while start < end:
        if start + 3 > end:
            raise ValueError("its fields do not fill its length")
        kind, length = struct.unpack_from("!BH", data, start)
        start += 3 + length
        if start > end:
            raise ValueError(f"a field of type {kind:#04x} is longer than the rest of it")
        yield kind, data[start - length : start]


def _kind(name: str, address: object) -> str:
    if address is None:
        return ""
    if isinstance(address, str):
        if len(os.fsencode(address)) > UNIX_PATH:
            raise ValueError(f"{name} is longer than the {UNIX_PATH} bytes of a Unix socket's path")
        return "unix"
    if not isinstance(address, tuple) or len(address) < 2:
        raise TypeError(f'{name} must be an address, as in ("192.0.2.1", 50000), a path or None, not {address!r}')
    host, port = address[:2]
    if not isinstance(port, int) or isinstance(port, bool) or not 0 <= port <= 0xFFFF:
        raise ValueError(f"{name} must have a port from 0 to 65535, not {port!r}")
    try:
        return str(ipaddress.ip_address(host).version) if isinstance(host, str) and "%" not in host else _no_host(host)
    except ValueError:
        raise ValueError(f"{name} must have a numeric host without a zone, not {host!r}") from None


def _no_host(host: object) -> str:
    raise ValueError(host)


def _checked_tlvs(tlvs: object) -> tuple[Tlv, ...]:
    if not isinstance(tlvs, tuple | list):
        raise TypeError(f'tlvs must be a tuple of pairs, as in ((0x02, b"example.com"),), not {tlvs!r}')
    for each in tlvs:
        if not (isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], int) and isinstance(each[1], bytes)):
            raise TypeError(f'tlvs must be pairs of a number and bytes, as in (0x02, b"example.com"), not {each!r}')
        if not 0 <= each[0] <= 0xFF:
            raise ValueError(f"the type of a field must be from 0 to 255, not {each[0]}")
        check_tlv(*each)
    return tuple(tlvs)


def check_tlv(kind: int, value: bytes) -> None:
    """Raise ValueError if a field of this type cannot have this value."""
    if len(value) > 0xFFFF:
        raise ValueError(f"a field of type {kind:#04x} has {len(value)} bytes, and may have 65535")
    if kind == UNIQUE_ID and len(value) > UNIQUE_ID_MOST:
        raise ValueError(f"its unique id has {len(value)} bytes, and may have {UNIQUE_ID_MOST}")
    if kind == TLS:
        if len(value) < 5:
            raise ValueError(f"its field of TLS has {len(value)} bytes, and must have 5")
        for _ in walk_tlvs(value, 5):
            pass
    if kind == CRC32C and len(value) != 4:
        raise ValueError(f"its checksum has {len(value)} bytes, and must have 4")


def _text(value: bytes | None) -> str | None:
    return None if value is None else value.decode("utf-8", "backslashreplace")
