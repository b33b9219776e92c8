"""The PROXY protocol's header: made and read, in every portion, and refused at the first byte that cannot be right."""

import ipaddress
import random
import re
import struct
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.wire.crc32c import crc32c
from proactor_echo.wire.proxy_header import SIGNATURE, encode_tlvs
from proactor_echo.wire.proxy_parser import ProxyParser

IPV4 = ("203.0.113.9", 51234), ("192.0.2.1", 443)
IPV6 = ("2001:db8::9", 51234, 0, 0), ("2001:db8::1", 443, 0, 0)


def read(data: bytes) -> ProxyParser:
    parser = ProxyParser()
    parser.feed(data)
    return parser


def binary(fixed: bytes, body: bytes = b"", length: int | None = None) -> bytes:
    """Return a header of version 2 with these bytes 13 and 14."""
    return SIGNATURE + fixed + struct.pack("!H", len(body) if length is None else length) + body


def refused_after(data: bytes) -> int:
    """Return how many bytes of ``data`` a parser took before it refused them."""
    parser = ProxyParser()
    for place in range(len(data)):
        try:
            parser.feed(data[place : place + 1])
        except pe.ProxyHeaderError:
            return place + 1
    raise AssertionError(f"{data!r} was not refused")


def some_header(rng: random.Random) -> tuple[pe.ProxyHeader, bytes]:
    """Return a header and its bytes."""
    ports = rng.choice([0, 1, 9, 10, 99, 999, 9999, 65535]), rng.randrange(65536)
    kind = rng.choice(["4", "6", "none", "unix"])
    if kind == "4":
        hosts = [str(ipaddress.IPv4Address(rng.choice([0, 0x7F000001, rng.getrandbits(32)]))) for _ in ports]
        addresses: tuple[object, object] = ((hosts[0], ports[0]), (hosts[1], ports[1]))
    elif kind == "6":
        numbers = [rng.choice([0, 1, rng.getrandbits(128), rng.getrandbits(32) << 96]) for _ in ports]
        hosts = [str(ipaddress.IPv6Address(number)) for number in numbers]
        addresses = ((hosts[0], ports[0], 0, 0), (hosts[1], ports[1], 0, 0))
    else:
        addresses = ("/run/" + "s" * rng.randrange(100), "\0name") if kind == "unix" else (None, None)
    if kind != "unix" and rng.random() < 0.4:
        header = pe.ProxyHeader(*addresses, version=1, protocol="stream" if addresses[0] else "")
        return header, header.encode()
    tlvs = [(rng.choice([1, 2, 4, 0xEA, 0xF5]), rng.randbytes(rng.randrange(30))) for _ in range(rng.randrange(4))]
    local = rng.random() < 0.2
    protocol: Any = "" if local or not addresses[0] else rng.choice(["stream", "datagram"])
    if local:
        addresses = (None, None)
    header = pe.ProxyHeader(*addresses, tlvs=tuple(tlvs), local=local, protocol=protocol)
    return header, header.encode()


# -- right ones ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(200))
def test_what_is_made_is_read_in_every_portion(seed: int) -> None:
    header, data = some_header(random.Random(seed))
    for cut in range(len(data)):
        parser = ProxyParser()
        assert parser.feed(data[:cut]) is None
        assert parser.feed(data[cut:] + b"behind") == header
        assert parser.rest == b"behind"
    parser = ProxyParser()
    for byte in data + b"behind":
        parser.feed(bytes([byte]))
    assert (parser.header, parser.rest) == (header, b"behind")


@pytest.mark.parametrize("seed", range(200))
def test_receiving_no_more_than_is_needed_takes_nothing_from_behind_the_header(seed: int) -> None:
    header, data = some_header(random.Random(seed))
    parser, taken = ProxyParser(), 0
    while parser.header is None:
        needed = parser.needed
        assert 0 < needed <= len(data) - taken
        parser.feed(data[taken : taken + needed])
        taken += needed
    assert (parser.header, taken, parser.needed) == (header, len(data), 0)


def test_the_examples_of_the_specification() -> None:
    assert read(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n").header == pe.ProxyHeader(
        ("255.255.255.255", 65535), ("255.255.255.255", 65535), version=1
    )
    longest = b"PROXY UNKNOWN" + b" ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" * 2 + b" 65535 65535\r\n"
    assert len(longest) == 107
    assert read(longest).header == pe.ProxyHeader(version=1, protocol="")
    assert pe.ProxyHeader(*IPV4, version=1).encode() == b"PROXY TCP4 203.0.113.9 192.0.2.1 51234 443\r\n"
    assert pe.ProxyHeader(*IPV6, version=1).encode() == b"PROXY TCP6 2001:db8::9 2001:db8::1 51234 443\r\n"
    assert pe.ProxyHeader(*IPV4).encode() == bytes.fromhex(
        "0d0a0d0a000d0a515549540a 21 11 000c cb007109 c0000201 c822 01bb"
    )


def test_the_checksum_is_castagnoli_s() -> None:
    """The vectors of RFC 3720 section B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(bytes(range(31, -1, -1))) == 0x113FDB5C


def test_a_checksum_is_made_and_checked() -> None:
    data = pe.ProxyHeader(*IPV4, tlvs=((2, b"example.com"),)).encode(checksum=True)
    header = read(data).header
    assert header is not None
    assert [kind for kind, _ in header.tlvs] == [2, 3]
    for place in (*range(16, len(data) - 7), *range(len(data) - 6, len(data))):  # not the type of the checksum
        wrong = bytearray(data)
        wrong[place] ^= 4
        with pytest.raises(pe.ProxyHeaderError):
            read(bytes(wrong))


def test_what_a_proxy_says_of_tls() -> None:
    said = [(0x21, b"TLSv1.3"), (0x22, b"client"), (0x23, b"TLS_AES_256_GCM_SHA384"), (0x24, b"SHA256")]
    said += [(0x25, b"EC256"), (0x26, b"X25519"), (0x27, b"ecdsa_secp256r1_sha256"), (0x28, b"DER")]
    value = bytes([7]) + bytes(4) + encode_tlvs(said)
    header = read(
        pe.ProxyHeader(*IPV4, tlvs=((0x20, value), (2, b"example.com"), (1, b"h2"), (5, b"id"))).encode()
    ).header
    assert header is not None
    assert header.tls == pe.ProxyTls(
        version="TLSv1.3",
        cipher="TLS_AES_256_GCM_SHA384",
        common_name="client",
        signature_algorithm="SHA256",
        key_algorithm="EC256",
        group="X25519",
        signature_scheme="ecdsa_secp256r1_sha256",
        certificate=b"DER",
        has_certificate=True,
        verified=True,
    )
    assert (header.authority, header.alpn, header.unique_id) == ("example.com", "h2", b"id")


@pytest.mark.parametrize(
    ("flags", "failed", "verified"), [(1, 0, False), (3, 0, True), (5, 0, True), (3, 1, False)], ids=str
)
def test_a_client_is_verified_by_a_certificate_that_was_shown_and_is_valid(
    flags: int, failed: int, verified: bool
) -> None:
    tls = pe.ProxyHeader(*IPV4, tlvs=((0x20, struct.pack("!BI", flags, failed)),)).tls
    assert tls is not None
    assert tls.verified is verified


def test_fields_that_others_defined() -> None:
    header = pe.ProxyHeader(*IPV4, tlvs=((0xEA, b"\x01vpce-08d2bf15fac5001c9"), (0x30, b"blue")))
    assert (header.aws_vpce_id, header.network_namespace, header.tls) == ("vpce-08d2bf15fac5001c9", "blue", None)


# -- what other programs got wrong -----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", [b"\x20\x00", b"\x20\x11", b"\x20\x21", b"\x20\xff"], ids=bytes.hex)
@pytest.mark.parametrize("body", [b"", bytes(5), bytes(12), bytes(12) + encode_tlvs([(4, bytes(20))])], ids=len)
def test_a_health_check_may_have_anything_behind_it(family: bytes, body: bytes) -> None:
    parser = read(binary(family, body) + b"rest")
    assert parser.header is not None
    assert (parser.header.local, parser.header.source, parser.rest) == (True, None, b"rest")


def test_the_fields_of_a_health_check_are_kept() -> None:
    parser = read(binary(b"\x20\x11", bytes(12) + encode_tlvs([(4, bytes(3)), (0xEA, b"\x01vpce")])))
    assert parser.header is not None
    assert parser.header.tlvs == ((4, bytes(3)), (0xEA, b"\x01vpce"))


@pytest.mark.parametrize("family", [b"\x21\x00", b"\x21\x10", b"\x21\x01", b"\x21\x30"], ids=bytes.hex)
def test_a_pair_without_a_family_or_a_protocol_has_no_addresses(family: bytes) -> None:
    for body in (b"", bytes(3), bytes(300)):
        parser = read(binary(family, body) + b"rest")
        assert parser.header is not None
        assert (parser.header.source, parser.header.local, parser.rest) == (None, False, b"rest")


def test_datagrams_and_paths_are_understood() -> None:
    header = read(binary(b"\x21\x12", bytes([1, 2, 3, 4, 5, 6, 7, 8, 0, 80, 0, 81]))).header
    assert header == pe.ProxyHeader(("1.2.3.4", 80), ("5.6.7.8", 81), protocol="datagram")
    body = b"/run/client".ljust(108, b"\0") + b"/run/server\0rest".ljust(108, b"\0")
    assert read(binary(b"\x21\x31", body)).header == pe.ProxyHeader("/run/client", "/run/server")


def test_an_empty_field_at_the_end_is_one() -> None:
    header = read(binary(b"\x21\x11", bytes(12) + b"\x04\x00\x00")).header
    assert header is not None
    assert header.tlvs == ((4, b""),)


@pytest.mark.parametrize(
    ("data", "after"),
    [
        (b"GET / HTTP/1.1\r\n", 1),
        (b"\x16\x03\x01", 1),
        (b"PROXYTCP4", 6),
        (b"PROXY tcp4", 7),
        (b"PROXY TCP5", 10),
        (b"PROXY  TCP4", 7),
        (b"PROXY TCP4  1", 12),
        (b"PROXY TCP4 256.", 14),
        (b"PROXY TCP4 01.", 13),
        (b"PROXY TCP4 1.2.3 ", 17),
        (b"PROXY TCP4 1.2.3.4.", 19),
        (b"PROXY TCP4 ::1", 12),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 +80", 28),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4  80", 28),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 080", 29),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1_0", 29),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536", 32),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80 \r", 31),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80\r", 30),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80 81\n", 33),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80 81\rx", 34),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 80 81 ", 33),
        (b"PROXY TCP6 1:2:3:4:5:6:7:8:", 27),
        (b"PROXY TCP6 ::1::", 16),
        (b"PROXY TCP6 :1", 13),
        (b"PROXY TCP6 :::", 14),
        (b"PROXY TCP6 12345", 16),
        (b"PROXY TCP6 ::ffff:1.2.3.4 ", 20),
        (b"PROXY TCP6 fe80::1%eth0 ", 19),
        (b"PROXY TCP6 1:2:3 ", 17),
        (b"PROXY UNKNOWNX", 14),
        (b"PROXY UNKNOWN a\nb", 16),
        (b"PROXY UNKNOWN " + b"a" * 100, 107),
        (SIGNATURE[:11] + b"\r", 12),
        (SIGNATURE + b"\x11", 13),
        (SIGNATURE + b"\x22", 13),
        (SIGNATURE + b"\x21\x41", 14),
        (SIGNATURE + b"\x21\x13", 14),
        (SIGNATURE + b"\x21\x11\x00\x0b", 16),
        (SIGNATURE + b"\x21\x21\x00\x23", 16),
        (SIGNATURE + b"\x21\x31\x00\xd7", 16),
        (SIGNATURE + b"\x21\x11\xff\xff", 16),
        (binary(b"\x21\x11", bytes(12) + b"\x04\x00"), 16),
        (binary(b"\x21\x11", bytes(12) + b"\x04\x00\x09" + bytes(8)), 31),
        (binary(b"\x21\x11", bytes(12) + encode_tlvs([(5, bytes(129))])), 160),
        (binary(b"\x21\x11", bytes(12) + encode_tlvs([(0x20, bytes(4))])), 35),
        (binary(b"\x21\x11", bytes(12) + encode_tlvs([(3, bytes(4))])), 35),
    ],
    ids=lambda value: value[:48].decode("latin-1") if isinstance(value, bytes) else "",
)
def test_a_wrong_header_is_refused_at_the_first_byte_that_cannot_be_right(data: bytes, after: int) -> None:
    assert refused_after(data) == after
    with pytest.raises(pe.ProxyHeaderError):
        read(data)


@pytest.mark.parametrize("seed", range(20))
def test_lines_near_right_ones_are_judged_as_a_second_reader_judges_them(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        line = bytearray()
        while not line.startswith(b"PROXY"):
            line = bytearray(some_header(rng)[1])
        for _ in range(rng.randrange(3)):
            place = rng.randrange(len(line))
            line[place : place + rng.randrange(2)] = bytes([rng.choice(b"0123456789abf:. \r\nPT")])
        data = bytes(line)
        try:
            verdict = read(data).header is not None
        except pe.ProxyHeaderError:
            verdict = False
        assert verdict == is_line(data), data


def is_line(data: bytes) -> bool:
    """Judge a line by regular expressions and the standard library."""
    line, end, _ = data.partition(b"\r\n")
    if not end or len(line) > 105 or b"\r" in line or b"\n" in line:
        return False
    if re.fullmatch(rb"PROXY UNKNOWN( .*)?", line):
        return True
    found = re.fullmatch(rb"PROXY TCP([46]) (\S+) (\S+) (0|[1-9]\d{0,4}) (0|[1-9]\d{0,4})", line)
    if not found:
        return False
    version, *hosts, first, second = (group.decode() for group in found.groups())
    try:
        addresses = [ipaddress.ip_address(host) for host in hosts]
    except ValueError:
        return False
    if version == "6" and any("." in host or "%" in host for host in hosts):
        return False
    return all(address.version == int(version) for address in addresses) and int(first) < 65536 > int(second)


# -- what is asked for -----------------------------------------------------------------------------------------------


def test_versions_that_are_not_wanted_are_refused() -> None:
    with pytest.raises(pe.ProxyHeaderError, match="no PROXY header: it began with b'PROXY"):
        ProxyParser(versions=(2,)).feed(b"PROXY TCP4 ")
    with pytest.raises(pe.ProxyHeaderError):
        ProxyParser(versions=(1,)).feed(SIGNATURE)


def test_a_header_is_no_longer_than_is_wanted() -> None:
    data = pe.ProxyHeader(*IPV4, tlvs=((0xE0, bytes(100)),)).encode()
    assert ProxyParser(max_header=len(data)).feed(data)
    with pytest.raises(pe.ProxyHeaderError, match="has 131 bytes, and may have 130"):
        ProxyParser(max_header=len(data) - 1).feed(data[:16])


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"version": 3}, ValueError, "version must be 1 or 2, not 3"),
        ({"protocol": "udp"}, ValueError, 'protocol must be "stream", "datagram" or "", not \'udp\''),
        ({"source": IPV4[0]}, ValueError, "source and destination must be addresses of one kind"),
        ({"source": IPV4[0], "destination": IPV6[0]}, ValueError, "addresses of one kind"),
        ({"source": ("localhost", 1), "destination": IPV4[1]}, ValueError, "source must have a numeric host"),
        ({"source": ("::1%eth0", 1), "destination": IPV6[1]}, ValueError, "without a zone, not '::1%eth0'"),
        ({"source": ("1.2.3.4", 65536), "destination": IPV4[1]}, ValueError, "a port from 0 to 65535, not 65536"),
        ({"source": 5, "destination": 5}, TypeError, "source must be an address"),
        ({"source": "a" * 109, "destination": "b"}, ValueError, "longer than the 108 bytes"),
        ({"tlvs": [2, b""]}, TypeError, "tlvs must be pairs of a number and bytes"),
        ({"tlvs": b""}, TypeError, "tlvs must be a tuple of pairs"),
        ({"tlvs": [(256, b"")]}, ValueError, "the type of a field must be from 0 to 255, not 256"),
        ({"tlvs": [(5, bytes(129))]}, ValueError, "its unique id has 129 bytes, and may have 128"),
        ({"version": 1, "tlvs": [(2, b"")]}, ValueError, "version 1 has only addresses of TCP"),
    ],
)
def test_what_no_header_can_say_is_refused_when_it_is_made(
    arguments: dict[str, object], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind) as caught:
        pe.ProxyHeader(**arguments)  # type: ignore[arg-type]
    assert sentence in str(caught.value)


def test_fields_that_are_too_long_together_are_refused() -> None:
    header = pe.ProxyHeader(*IPV4, tlvs=((0xE0, bytes(65000)), (0xE0, bytes(1000))))
    with pytest.raises(ValueError, match="the fields have 66018 bytes; a header has room for 65535"):
        header.encode()
