"""Addresses are read and shown the way people and the systems' own tools write them."""

import socket
import sys
from typing import Any

import pytest

from proactor_echo.errors import BindError, ConnectFailed
from proactor_echo.sockets.addresses import format_address, is_link_local, parse_host_port, resolve

INTERFACES = socket.if_nameindex()
INDEX, NAME = INTERFACES[-1] if INTERFACES else (1, "lo")
SCOPE = str(INDEX) if sys.platform == "win32" else NAME
NO_INTERFACE = max((index for index, _ in INTERFACES), default=0) + 1000
needs_interface = pytest.mark.skipif(not INTERFACES, reason="this machine has no network interface at all")


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (("127.0.0.1", 9000), "127.0.0.1:9000"),
        (("localhost", 0), "localhost:0"),
        (("::1", 9000, 0, 0), "[::1]:9000"),
        (("::1", 9000), "[::1]:9000"),
        (("::ffff:127.0.0.1", 9000, 0, 0), "[::ffff:127.0.0.1]:9000"),
        (("fe80::1%eth7", 9000), "[fe80::1%eth7]:9000"),
        (("fe80::1", 9000, 0, NO_INTERFACE), f"[fe80::1%{NO_INTERFACE}]:9000"),
        ("/run/echo.sock", "/run/echo.sock"),
        (b"\0abstract", "b'\\x00abstract'"),
        (None, "None"),
    ],
)
def test_a_socket_address_is_shown_as_one_word(address: Any, text: str) -> None:
    assert format_address(address) == text


@needs_interface
def test_a_scope_is_shown_as_the_systems_own_tools_show_it() -> None:
    assert format_address(("fe80::1", 9000, 0, INDEX)) == f"[fe80::1%{SCOPE}]:9000"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("127.0.0.1:9000", ("127.0.0.1", 9000)),
        ("localhost:0", ("localhost", 0)),
        ("echo.example:65535", ("echo.example", 65535)),
        ("[::1]:9000", ("::1", 9000)),
        ("[fe80::1%eth0]:7", ("fe80::1%eth0", 7)),
        ("[fe80::1%12]:7", ("fe80::1%12", 7)),
    ],
)
def test_host_and_port_are_read_and_written_alike(text: str, parts: tuple[str, int]) -> None:
    assert parse_host_port(text) == parts
    assert format_address(parts) == text


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "write HOST:PORT"),
        ("127.0.0.1", "write HOST:PORT"),
        (":9000", "write HOST:PORT"),
        ("127.0.0.1:", "the port must be a number from 0 to 65535"),
        ("127.0.0.1:http", "the port must be a number from 0 to 65535, not 'http'"),
        ("127.0.0.1:65536", "the port must be a number from 0 to 65535, not '65536'"),
        ("127.0.0.1:-1", "the port must be a number from 0 to 65535, not '-1'"),
        ("127.0.0.1:+1", "the port must be a number"),
        ("127.0.0.1: 1", "the port must be a number"),
        ("127.0.0.1:1_0", "the port must be a number"),
        ("127.0.0.1:\u0663", "the port must be a number"),
        ("::1:9000", "in brackets"),
        ("::1", "in brackets"),
        ("[::1:9000", "in brackets"),
        ("[127.0.0.1]:9000", "not an IPv6 address"),
        ("[]:9000", "not an IPv6 address"),
        ("[::1]", "in brackets"),
    ],
)
def test_what_is_not_host_and_port_gets_a_sentence(text: str, complaint: str) -> None:
    with pytest.raises(ValueError, match="is not an address") as caught:
        parse_host_port(text)
    assert complaint in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_one"),
    [
        ("fe80::1", True),
        ("febf::1", True),
        ("ff02::1", True),
        ("fec0::1", False),
        ("ff05::1", False),
        ("::1", False),
        ("2001:db8::1", False),
        ("169.254.0.1", False),
        ("localhost", False),
        ("", False),
    ],
)
def test_link_local_addresses_are_known(host: str, is_one: bool) -> None:
    assert is_link_local(host) is is_one


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
@pytest.mark.parametrize(
    ("host", "family", "address"),
    [
        ("127.0.0.1", socket.AF_INET, ("127.0.0.1", 7)),
        ("0.0.0.0", socket.AF_INET, ("0.0.0.0", 7)),
        ("::1", socket.AF_INET6, ("::1", 7, 0, 0)),
        ("[::1]", socket.AF_INET6, ("::1", 7, 0, 0)),
        ("::", socket.AF_INET6, ("::", 7, 0, 0)),
        ("fe80::1%12", socket.AF_INET6, ("fe80::1", 7, 0, 12)),
        ("2001:db8::1%12", socket.AF_INET6, ("2001:db8::1", 7, 0, 0)),
    ],
)
async def test_an_address_is_its_own_resolution(host: str, family: int, address: tuple[Any, ...], kind: int) -> None:
    assert await resolve(host, 7, type=kind) == [(family, kind, 0, "", address)]


@needs_interface
async def test_an_interface_is_found_by_its_name() -> None:
    [(_, _, _, _, address)] = await resolve(f"fe80::1%{NAME}", 7)
    assert address == ("fe80::1", 7, 0, INDEX)


@needs_interface
async def test_what_is_shown_is_read_back() -> None:
    shown = format_address(("fe80::1", 7, 0, INDEX))
    [(_, _, _, _, address)] = await resolve(*parse_host_port(shown))
    assert address == ("fe80::1", 7, 0, INDEX)


async def test_a_name_gives_each_of_its_addresses_once() -> None:
    found = await resolve("localhost", 7)
    assert found
    assert len(set(found)) == len(found)
    assert {info[4][0] for info in found} <= {"127.0.0.1", "::1"}


async def test_a_name_can_be_narrowed_to_one_family() -> None:
    found = await resolve("localhost", 7, family=socket.AF_INET)
    assert [info[4] for info in found] == [("127.0.0.1", 7)]


@pytest.mark.parametrize("passive", [True, False])
@pytest.mark.parametrize(
    ("host", "port", "complaint"),
    [
        ("", 7, "the host is empty"),
        ("127.0.0.1:9000", 7, "the host '127.0.0.1:9000' has a port in it: give host and port apart"),
        ("[::1]:9000", 7, "the host '[::1]:9000' has a port in it: give host and port apart"),
        ("fe80::1", 7, "exists on every interface: say which one"),
        ("fe80::1%", 7, "no network interface named ''"),
        ("fe80::1%no such nic", 7, "no network interface named 'no such nic'"),
        ("fe80::1%no\0nic", 7, "no network interface named"),
        ("a" * 64 + ".invalid", 7, "is not a host name"),
        ("no-such-host.invalid", 7, "unknown host 'no-such-host.invalid'"),
    ],
)
async def test_what_cannot_be_resolved_gets_one_sentence(host: Any, port: Any, complaint: str, passive: bool) -> None:
    error = BindError if passive else ConnectFailed
    with pytest.raises(error) as caught:
        await resolve(host, port, passive=passive)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("host", "port", "kind", "complaint"),
    [
        ("localhost", 65536, ValueError, "port must be a number from 0 to 65535, not 65536"),
        ("localhost", -1, ValueError, "port must be a number from 0 to 65535, not -1"),
        ("localhost", "http", TypeError, "port must be a number from 0 to 65535, not 'http'"),
        ("localhost", "80", TypeError, "port must be a number from 0 to 65535, not '80': write 80"),
        ("localhost", 80.0, TypeError, "port must be a number from 0 to 65535, not 80.0"),
        ("localhost", None, TypeError, "port must be a number from 0 to 65535, not None"),
        (None, 7, TypeError, 'host must be a name or an address as text, as in "127.0.0.1", not None'),
    ],
)
async def test_what_is_no_host_or_port_is_a_mistake_of_the_program(
    host: Any, port: Any, kind: type[Exception], complaint: str
) -> None:
    with pytest.raises(kind) as caught:
        await resolve(host, port)
    assert str(caught.value) == complaint


async def test_an_unknown_host_keeps_the_resolvers_error_as_its_cause() -> None:
    with pytest.raises(ConnectFailed) as caught:
        await resolve("no-such-host.invalid", 7)
    assert isinstance(caught.value.__cause__, socket.gaierror)
    assert caught.value.errno is None  # getaddrinfo's numbers are no errno


@pytest.mark.parametrize(
    ("host", "family", "complaint"),
    [
        ("127.0.0.1", socket.AF_INET6, "127.0.0.1 is an IPv4 address, and only IPv6 is allowed"),
        ("::1", socket.AF_INET, "::1 is an IPv6 address, and only IPv4 is allowed"),
    ],
)
async def test_an_address_of_the_wrong_family_gets_one_sentence(host: str, family: int, complaint: str) -> None:
    with pytest.raises(BindError, match=complaint):
        await resolve(host, 7, family=family, passive=True)
