"""Every public function with every kind of wrong argument, and what it says: the table of test_arguments.py."""

import asyncio
import functools
import math
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import proactor_echo as pe
from proactor_echo.testing import FaultProxy, TcpTestServer, UdpFaultProxy, UdpTestServer, conformance, faults

Case = tuple[Callable[..., object], dict[str, Any], type[Exception], str]


async def handler(conn: pe.Connection) -> None:
    """Serve nobody."""


def plain(conn: pe.Connection) -> None:
    """Serve nobody, and not in a coroutine."""


async def of_nothing() -> None:
    """Take no connection."""


class Serving:
    async def __call__(self, conn: pe.Connection) -> None:
        """Serve nobody."""


def of_a_codec(call: Callable[..., object], **others: Any) -> Iterator[Case]:
    yield (
        call,
        {**others, "codec": pe.LineCodec},
        TypeError,
        ("codec must be an object and not its class: write LineCodec(), not LineCodec"),
    )
    yield call, {**others, "codec": "line"}, TypeError, "codec must be a Codec or None, not 'line': write LineCodec()"


def of_seconds(
    call: Callable[..., object], name: str, *, optional: bool, zero: bool = False, **others: Any
) -> Iterator[Case]:
    kind = "a number of seconds" + (" or None" if optional else "")
    least = ("0 seconds or more" if zero else "more than 0 seconds") + (", or None for no limit" if optional else "")
    for value in ("5", True, [1]):
        yield call, {**others, name: value}, TypeError, f"{name} must be {kind}, not {value!r}"
    for number in (-1, math.nan, math.inf, *(() if zero else (0,))):
        yield call, {**others, name: number}, ValueError, f"{name} must be {least}, not {number!r}"


def of_a_count(call: Callable[..., object], name: str, least: int, unit: str = "", **others: Any) -> Iterator[Case]:
    kind = f"number of {unit}" if unit else "number"
    for value in ("5", 1.5, True):
        yield call, {**others, name: value}, TypeError, f"{name} must be a whole {kind}, not {value!r}"
    yield call, {**others, name: least - 1}, ValueError, f"{name} must be "


def of_limits(call: Callable[..., object], **others: Any) -> Iterator[Case]:
    yield call, {**others, "write_limit": 5}, TypeError, "write_limit is (high, low) in bytes, as in (65536, 16384)"
    yield call, {**others, "write_limit": (1, 2)}, ValueError, "write_limit is (high, low) with high >= low >= 0"
    yield call, {**others, "write_limit": (1, "0")}, TypeError, "write_limit's low must be a whole number of bytes"
    yield from of_seconds(call, "close_timeout", optional=False, **others)


def of_options(call: Callable[..., object], **others: Any) -> Iterator[Case]:
    yield (
        call,
        {**others, "options": {}},
        TypeError,
        ("options must be a SocketOptions or None, not {}: write SocketOptions(nodelay=False)"),
    )


def of_a_place(call: Callable[..., object], **others: Any) -> Iterator[Case]:
    """Host and port."""
    yield call, {**others, "host": 5, "port": 0}, TypeError, 'host must be a name or an address as text, as in "127.0'
    yield call, {**others, "host": b"::1", "port": 0}, TypeError, "host must be a name or an address as text"
    yield call, {**others, "host": ("127.0.0.1", 90), "port": 0}, TypeError, "write host='127.0.0.1', port=90"
    yield (
        call,
        {**others, "host": "::1", "port": "90"},
        TypeError,
        ("port must be a number from 0 to 65535, not '90': write 90"),
    )
    yield call, {**others, "host": "::1", "port": 70000}, ValueError, "port must be a number from 0 to 65535, not 70000"
    yield call, {**others, "host": "::1", "port": True}, TypeError, "port must be a number from 0 to 65535, not True"


def of_sockets(call: Callable[..., object], **others: Any) -> Iterator[Case]:
    yield call, {**others, "sockets": []}, ValueError, "sockets is empty: give one or more"
    yield call, {**others, "sockets": [5]}, TypeError, "each of sockets must be a socket, not 5"
    yield call, {**others, "sockets": [], "port": 9}, ValueError, "a port or sockets that are bound to theirs, not both"
    yield call, {**others, "host": []}, ValueError, "host is an empty list: name a host, or give None for every"


def of_datagrams(call: Callable[..., object], **others: Any) -> Iterator[Case]:
    yield from of_a_count(call, "max_datagram", 1, "bytes", **others)
    yield call, {**others, "max_datagram": 65508}, ValueError, "max_datagram must be from 1 to 65507 bytes, not 65508"
    yield call, {**others, "oversize": "cut"}, ValueError, "oversize must be 'truncate' or 'drop', not 'cut'"
    yield call, {**others, "oversize": None}, TypeError, "oversize must be 'truncate' or 'drop', not None"


def of_a_handler(call: Callable[..., object]) -> Iterator[Case]:
    must = "handler must be an async function of one connection"
    yield call, {"handler": plain}, TypeError, f"{must}, not plain(): write async def, or functools.partial() of such"
    yield call, {"handler": "echo"}, TypeError, f"{must}, not 'echo'"
    yield call, {"handler": of_nothing}, TypeError, f"{must}, but of_nothing() cannot be called with one argument"
    yield call, {"handler": pe.EchoProtocol}, TypeError, "give a class as protocol_factory="
    yield call, {"handler": functools.partial(plain)}, TypeError, f"{must}, not functools.partial("


def of_a_factory(call: Callable[..., object], kind: type, base: type) -> Iterator[Case]:
    must = f"protocol_factory must be a class or function that makes a {base.__name__}"
    yield call, {"protocol_factory": kind()}, TypeError, f"write {kind.__name__}, not {kind.__name__}()"
    yield call, {"protocol_factory": asyncio.Protocol}, TypeError, f"{must}: Protocol must be a subclass of"
    yield call, {"protocol_factory": handler}, TypeError, f"{must}, not the async function handler()"
    yield call, {"protocol_factory": 5}, TypeError, f"{must}, not 5"


def of_codecs() -> Iterator[Case]:
    skipping = (pe.DelimiterCodec, (b";",)), (pe.LengthCodec, ()), (pe.LineCodec, ()), (pe.NetstringCodec, ())
    for kind, given in (*skipping, (pe.VarintCodec, ())):
        call = functools.partial(kind, *given)
        yield call, {"max_frame_length": "1k"}, TypeError, "max_frame_length must be a whole number of bytes, not '1k'"
        yield call, {"max_frame_length": -1}, ValueError, "max_frame_length must be 0 or more bytes, not -1"
        yield call, {"max_frame_length": True}, TypeError, "max_frame_length must be a whole number of bytes, not True"
        yield call, {"on_too_long": "cut"}, ValueError, "on_too_long must be 'raise' or 'skip', not 'cut'"
        yield call, {"on_too_long": 1}, TypeError, "on_too_long must be 'raise' or 'skip', not 1"
        encode = kind(*given).encode
        yield (
            encode,
            {"payload": "text"},
            TypeError,
            ("""the payload must be bytes, not 'text': encode text first, as in "text".encode()"""),
        )
        yield encode, {"payload": None}, TypeError, "the payload must be bytes, not None"
        yield kind(*given).encode_many, {"payloads": [b"1", "2"]}, TypeError, "the payload must be bytes, not '2'"
        yield kind(*given).encode_many, {"payloads": [b"1", 2]}, TypeError, "the payload must be bytes, not 2"
        yield kind(*given).decoder().feed, {"data": "text"}, TypeError, "must be bytes, not 'text'"
    yield pe.RawCodec().encode, {"payload": "text"}, TypeError, "the payload must be bytes, not 'text'"
    yield from of_a_count(pe.FixedCodec, "length", 1, "bytes")
    yield functools.partial(pe.DelimiterCodec, *";"), {}, TypeError, "a delimiter must be bytes, not ';': encode text"
    yield pe.DelimiterCodec, {}, ValueError, "at least one delimiter is needed"
    yield functools.partial(pe.DelimiterCodec, b";"), {"strip_delimiter": "no"}, TypeError, "must be True or False"
    yield pe.LineCodec, {"newline": "\n"}, TypeError, "newline must be bytes, not '\\n': encode text first"
    yield pe.LineCodec, {"partial": "keep"}, ValueError, "partial must be 'error' or 'deliver', not 'keep'"
    yield pe.LengthCodec, {"length_field_length": 5}, ValueError, "length_field_length must be 1, 2, 3, 4 or 8, not 5"
    yield pe.LengthCodec, {"length_field_length": True}, TypeError, "length_field_length must be a whole number of byt"
    yield pe.LengthCodec, {"length_field_length": "big"}, TypeError, "length_field_length must be a whole number of byt"
    yield pe.LengthCodec, {"byteorder": "middle"}, ValueError, "byteorder must be 'big' or 'little', not 'middle'"
    yield pe.LengthCodec, {"length_adjustment": 0.5}, TypeError, "length_adjustment must be a whole number of bytes"
    yield pe.LengthCodec, {"header_bytes": "ab"}, TypeError, "header_bytes must be bytes, not 'ab': encode text first"
    yield pe.LengthCodec, {"fail_fast": 1}, TypeError, "fail_fast must be True or False, not 1"


def of_servers() -> Iterator[Case]:
    tcp = functools.partial(pe.serve_tcp, handler)
    yield from of_a_handler(pe.serve_tcp)
    yield from of_a_factory(pe.serve_tcp, pe.EchoProtocol, pe.FramedProtocol)
    yield from of_a_codec(tcp)
    yield from of_a_place(tcp)
    yield from of_sockets(tcp)
    yield from of_options(tcp)
    yield from of_limits(tcp)
    yield from of_seconds(tcp, "idle_timeout", optional=True)
    yield from of_seconds(tcp, "drain", optional=False, zero=True)
    yield from of_a_count(tcp, "backlog", 1)
    yield from of_a_count(tcp, "accepts", 1)
    yield from of_a_count(tcp, "read_limit", 1, "bytes")
    yield tcp, {"max_connections": 0}, ValueError, "max_connections must be at least 1, not 0"
    yield tcp, {"deadlines": 5}, TypeError, "deadlines must be a Deadlines or None, not 5"
    yield tcp, {"deadlines": pe.Deadlines(), "idle_timeout": 5}, TypeError, "are part of deadlines: write deadlines="
    yield tcp, {"deadlines": pe.Deadlines(), "handshake_timeout": 5}, TypeError, "are part of deadlines: write"
    yield tcp, {"limits": 5}, TypeError, "limits must be a Limits or None, not 5"
    yield tcp, {"limits": pe.Limits(), "max_connections": 5}, TypeError, "max_connections is part of limits: write"
    yield (
        tcp,
        {"ssl": True},
        TypeError,
        'ssl must be a Tls or an SSLContext, not True: write Tls("server.pem", "server.key")',
    )
    yield tcp, {"ssl": ssl.SSLContext}, TypeError, "ssl must be a Tls or an SSLContext, not <class"
    yield from of_a_factory(pe.serve_udp, pe.EchoDatagramProtocol, pe.DatagramHandler)
    yield from of_a_place(pe.serve_udp, protocol_factory=pe.EchoDatagramProtocol)
    yield from of_sockets(pe.serve_udp, protocol_factory=pe.EchoDatagramProtocol)
    yield from of_options(pe.serve_udp, protocol_factory=pe.EchoDatagramProtocol)


def of_endpoints() -> Iterator[Case]:
    for call in (pe.bind_udp, functools.partial(pe.connect_udp, "127.0.0.1", 9)):
        yield from of_datagrams(call)
        yield from of_a_count(call, "queue", 1)
        yield from of_options(call)
    yield from of_a_place(pe.bind_udp)
    yield from of_sockets(pe.bind_udp)
    yield from of_a_place(pe.connect_udp)


def of_clients() -> Iterator[Case]:
    yield from of_a_place(pe.connect_tcp)
    tcp = functools.partial(pe.connect_tcp, "127.0.0.1", 9)
    yield from of_a_codec(tcp)
    yield from of_options(tcp)
    yield from of_limits(tcp)
    yield from of_seconds(tcp, "open_timeout", optional=True)
    yield from of_seconds(tcp, "happy_eyeballs_delay", optional=True)
    yield (
        tcp,
        {"local_address": "127.0.0.1"},
        TypeError,
        ("local_address must be (host, port), not '127.0.0.1': write ('127.0.0.1', 9000)"),
    )
    yield tcp, {"local_address": ("::1", "0")}, TypeError, "the port of local_address must be a number from 0 to 65535"


def of_protocols() -> Iterator[Case]:
    for kind in (pe.FramedProtocol, pe.EchoProtocol, pe.Connection):
        yield kind, {"codec": pe.LineCodec}, TypeError, "codec must be an object and not its class"
        yield kind, {"codec": "line"}, TypeError, "codec must be a Codec or None, not 'line': write LineCodec()"
        yield kind, {"write_limit": (1, 2)}, ValueError, "write_limit is (high, low) with high >= low >= 0"
    yield from of_seconds(pe.Connection, "close_timeout", optional=False)
    yield from of_a_count(pe.Connection, "read_limit", 0, "bytes")
    yield from of_seconds(pe.EchoProtocol().set_idle_timeout, "seconds", optional=False)
    for datagrams in (pe.DatagramHandler, pe.EchoDatagramProtocol):
        yield from of_datagrams(datagrams)


def of_values() -> Iterator[Case]:
    yield pe.KeepAlive, {"idle": "60"}, TypeError, "keepalive idle must be a number of seconds, not '60'"
    yield pe.KeepAlive, {"interval": 0}, ValueError, "keepalive interval must be more than 0 and at most 32767 seconds"
    yield pe.KeepAlive, {"count": True}, TypeError, "keepalive count must be a whole number, not True"
    yield pe.KeepAlive, {"count": 128}, ValueError, "keepalive count must be from 1 to 127, not 128"
    yield pe.SocketOptions, {"nodelay": "no"}, TypeError, "nodelay must be True or False, not 'no'"
    yield (
        pe.SocketOptions,
        {"keepalive": True},
        TypeError,
        ("keepalive must be a KeepAlive or None, not True: write KeepAlive(idle=60)"),
    )
    yield pe.SocketOptions, {"send_buffer": "64k"}, TypeError, "send_buffer must be a whole number of bytes or None"
    yield pe.SocketOptions, {"receive_buffer": 0}, ValueError, "receive_buffer must be from 1 to 2147483647 bytes"
    yield pe.Rate, {"per_second": 0}, ValueError, "a rate's per_second must be from 1.15741e-05 to 1e+09, not 0"
    yield pe.Rate, {"per_second": math.nan}, ValueError, "a rate's per_second must be from"
    yield pe.Rate, {"per_second": 1, "burst": 0.5}, ValueError, "a rate's burst must be from 1 to 1e+09, not 0.5"
    yield from of_limits_of_sources()
    yield pe.UdpGuard, {"mode": "on"}, ValueError, "mode must be 'drop' or 'log', not 'on'"
    yield pe.UdpGuard, {"rate": 0}, ValueError, "rate must be from 1.15741e-05 to 1e+09, not 0"
    yield (
        pe.UdpGuard,
        {"rate_per_source": True},
        TypeError,
        "rate_per_source must be a Rate, a number of events a second",
    )
    yield pe.UdpGuard, {"responders": 7}, TypeError, "responders must be a list of ports, as in [7, 19], not 7"
    yield pe.UdpGuard, {"responders": [0]}, ValueError, "a port of responders must be from 1 to 65535, not 0"
    yield pe.UdpGuard, {"ipv6_prefix": 129}, ValueError, "ipv6_prefix must be from 1 to 128, not 129"
    yield (
        pe.serve_udp,
        {"protocol_factory": pe.EchoDatagramProtocol, "guard": True},
        TypeError,
        "guard must be a UdpGuard",
    )
    for name in ("first_byte", "frame", "idle", "write", "lifetime"):
        yield pe.Deadlines, {name: 0}, ValueError, f"{name} must be more than 0 seconds, or None for no limit, not 0"
        yield pe.Deadlines, {name: True}, TypeError, f"{name} must be a number of seconds or None, not True"
        yield pe.Deadlines, {name: math.nan}, ValueError, f"{name} must be more than 0 seconds"
        yield pe.Deadlines, {name: math.inf}, ValueError, f"{name} must be more than 0 seconds"
    yield pe.Deadlines, {"handshake": None}, TypeError, "handshake must be a number of seconds, not None"
    yield pe.Deadlines, {"min_rate": 240}, TypeError, "min_rate must be (bytes a second, seconds of grace) or None"
    yield pe.Deadlines, {"min_rate": (0, 5)}, ValueError, "the bytes of min_rate must be more than 0"
    yield pe.Deadlines, {"min_rate": (240, math.nan)}, ValueError, "the grace of min_rate must be more than 0 seconds"
    yield pe.run, {"main": of_nothing}, TypeError, "main must be a coroutine, not of_nothing(): write of_nothing(), a"
    yield pe.run, {"main": 5}, TypeError, "main must be a coroutine, not 5"
    yield pe.parse_host_port, {"text": 5}, TypeError, "an address must be text, not 5"
    yield pe.tcp_info, {"connection": 5}, TypeError, "takes a connection, a transport or a socket, not int"
    yield pe.classify, {"exc": "reset"}, TypeError, "exc must be a BaseException or None, not 'reset'"


def of_limits_of_sources() -> Iterator[Case]:
    for name in ("connections", "connections_per_source", "connections_per_network"):
        yield pe.Limits, {name: 0}, ValueError, f"{name} must be at least 1, not 0"
        yield pe.Limits, {name: True}, TypeError, f"{name} must be a whole number or None, not True"
    for name in ("accept_rate", "accept_rate_per_source"):
        yield (
            pe.Limits,
            {name: True},
            TypeError,
            f"{name} must be a Rate, a number of events a second or None, not True",
        )
        yield pe.Limits, {name: math.inf}, ValueError, f"{name} must be from 1.15741e-05 to 1e+09, not inf"
    yield pe.Limits, {"allow": "192.0.2.0/24"}, TypeError, 'allow must be a list of networks, as in ["192.0.2.0/24"]'
    yield pe.Limits, {"deny": ["192.0.2.1/24"]}, ValueError, 'is an address within a network: write "192.0.2.0/24"'
    yield pe.Limits, {"deny": ["10.0.0.0/8"], "allow": ["10.0.0.0/8"]}, ValueError, "10.0.0.0/8 is in both allow and"
    yield pe.Limits, {"max_buffered": 0}, ValueError, "max_buffered must be from 1 to"
    yield pe.Limits, {"penalties": True}, TypeError, "penalties must be a Penalties or None, not True"
    yield pe.Limits, {"ipv4_prefix": 33}, ValueError, "ipv4_prefix must be from 1 to 32, not 33"
    yield pe.Limits, {"ipv6_prefix": 0}, ValueError, "ipv6_prefix must be from 1 to 128, not 0"
    yield (
        pe.Limits,
        {"connections_per_network": 9, "ipv6_prefix": 48},
        ValueError,
        "network_prefix must be shorter than ipv6_prefix (48), not 48",
    )
    yield pe.Penalties, {"framing": 0}, ValueError, "framing must be more than 0 seconds, or None for no limit, not 0"
    yield pe.Penalties, {"threshold": math.nan}, ValueError, "threshold must be 0 seconds or more, not nan"
    yield pe.Penalties, {"maximum": 5}, ValueError, "maximum must be above threshold (15), not 5"
    yield pe.Penalties, {"exempt": ["localhost"]}, ValueError, "exempt: 'localhost' is no network: write one as in"


def of_test_servers() -> Iterator[Case]:
    yield from of_a_handler(TcpTestServer.serve)
    yield from of_a_factory(TcpTestServer.serve, pe.EchoProtocol, pe.FramedProtocol)
    yield from of_a_codec(TcpTestServer.serve)
    yield from of_options(TcpTestServer.serve)
    yield from of_seconds(TcpTestServer.serve, "idle_timeout", optional=True)
    yield from of_a_factory(UdpTestServer.serve, pe.EchoDatagramProtocol, pe.DatagramHandler)
    for proxy in (FaultProxy.open, UdpFaultProxy.open, faults.fault_proxy, faults.udp_fault_proxy):
        yield (
            proxy,
            {"upstream": "[::1]:5432"},
            TypeError,
            ("upstream must be (host, port), not '[::1]:5432': write ('::1', 5432)"),
        )
        yield proxy, {"upstream": ["h", 5432]}, TypeError, "upstream must be (host, port), not ['h', 5432]: write ('h'"
        yield proxy, {"upstream": ("::1", "5432")}, TypeError, "the port of upstream must be a number from 0 to 65535"
        yield proxy, {"upstream": ("::1", 5432), "seed": "x"}, TypeError, "seed must be a whole number, not 'x'"


def of_faults() -> Iterator[Case]:
    yield faults.Silent, {"towards": "me"}, ValueError, "towards must be 'client', 'server' or 'both', not 'me'"
    yield faults.Loss, {"probability": 2}, ValueError, "probability must be from 0 to 1, not 2"
    yield faults.Loss, {"probability": "0.1"}, TypeError, "probability must be a number, not '0.1'"
    yield faults.Loss, {"probability": math.nan}, ValueError, "probability must be from 0 to 1, not nan"
    yield faults.Loss, {"seed": "x"}, TypeError, "seed must be a whole number or None, not 'x'"
    for fault, name in ((faults.Latency, "delay"), (faults.SlowClose, "delay"), (faults.Coalesce, "delay")):
        yield from of_seconds(fault, name, optional=False, zero=True)
    yield from of_seconds(functools.partial(faults.Latency, 1), "jitter", optional=False, zero=True)
    yield from of_seconds(faults.Stall, "duration", optional=True, zero=True)
    yield from of_seconds(faults.Reset, "after", optional=True, zero=True)
    yield faults.Corrupt, {"rate": 0}, ValueError, "rate must be more than 0 and at most 1, not 0"
    yield faults.Bandwidth, {"rate": 0}, ValueError, "rate must be more than 0, not 0"
    yield faults.Slice, {"size": (2, 1)}, ValueError, "size must be (least, most) with least <= most, not (2, 1)"
    yield faults.Slice, {"size": 0}, ValueError, "size must be at least 1 byte, not 0"
    yield faults.Limit, {"after_bytes": "1"}, TypeError, "after_bytes must be a whole number of bytes, not '1'"
    yield faults.Limit, {"after_bytes": (-1, 2)}, ValueError, "each end of after_bytes must be 0 or more bytes, not -1"
    yield from of_a_count(faults.Truncate, "size", 0, "bytes")
    yield from of_a_count(faults.Duplicate, "copies", 1)
    yield from of_a_count(faults.Reorder, "depth", 1)
    of_handshakes: tuple[Callable[..., object], ...] = (faults.StallHandshake, faults.CutHandshake)
    for handshake in of_handshakes:
        yield from of_a_count(handshake, "after_records", 0, "records")
        yield from of_a_count(handshake, "after_bytes", 0, "bytes")
    yield from of_seconds(faults.StallHandshake, "duration", optional=True, zero=True)
    yield faults.CorruptRecord, {"after_records": (2, 1)}, ValueError, "after_records must be (least, most) with least"


def of_checks() -> Iterator[Case]:
    echo = functools.partial(conformance.check_echo, "127.0.0.1:7")
    yield conformance.check_echo, {"address": 5}, TypeError, "address must be (host, port), not 5"
    yield conformance.check_echo, {"address": "localhost"}, ValueError, "'localhost' is not an address: write HOST:PORT"
    yield from of_seconds(echo, "timeout", optional=False)
    yield from of_seconds(echo, "quiet", optional=False)
    yield from of_a_count(echo, "size", 1, "bytes")
    yield from of_a_count(echo, "clients", 1)
    yield echo, {"only": ["anwsers"]}, ValueError, "not 'anwsers': did you mean 'answers'?"
    yield echo, {"only": "answers"}, TypeError, "only must be a list of names, as in ["
    yield echo, {"each": handler}, TypeError, "each must be a plain function, not handler(): write def and not async"
    invariant = functools.partial(conformance.assert_split_invariant, wire=b"", frames=[])
    for call in (invariant, conformance.assert_round_trip):
        yield call, {"codec": pe.LineCodec}, TypeError, "codec must be an object and not its class: write LineCodec()"
        yield call, {"codec": "line"}, TypeError, "codec must be a Codec, not 'line': write LineCodec()"
    yield (
        conformance.assert_split_invariant,
        {"codec": pe.LineCodec(), "wire": "a", "frames": []},
        TypeError,
        ("wire must be bytes, not 'a': encode text first"),
    )


CASES = [
    case
    for cases in (of_codecs, of_servers, of_endpoints, of_clients, of_protocols, of_values, of_test_servers, of_faults)
    for case in cases()
] + list(of_checks())
