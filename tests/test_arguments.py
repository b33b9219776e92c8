"""Every public function refuses a wrong argument when it is called, and says what to write instead."""

import asyncio
import functools
import inspect
import math
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import pytest
from helpers.wrong_arguments import CASES, Serving, handler

import proactor_echo as pe
from proactor_echo.testing import TcpTestServer, faults

# What cannot be called with a wrong argument: exceptions, enumerations, and results that nobody but us makes.
NOT_CALLED = {
    *("BindError", "ConnectFailed", "DatagramTooLong", "Disconnected", "EndOfStream", "FrameCorrupt", "FrameTooLong"),
    *("FrameTruncated", "FramingError", "ProactorEchoError", "ProtocolStateError", "ProxyHeaderError"),
    *("ConnectionState", "ConnectionStats", "DatagramStats", "Disconnect", "DisconnectReason", "DrainReport"),
    *(
        "Address",
        "GuardRule",
        "PartialFrame",
        "RefusalReason",
        "Server",
        "ServerStats",
        "TcpInfo",
        "TlsCertificate",
        "TlsError",
        "TlsInfo",
        "UdpEndpoint",
        "UdpServer",
    ),
    "ProxiedAddress",
    *("UdpWorkers", "WorkerError", "Workers", "serve_udp_workers", "serve_workers"),  # in net/workers
    *("Metric", "metrics_text", "serve_status"),  # in net/test_status.py
    *("ProxyHeader", "ProxyTls"),  # in wire/test_proxy_header.py
    "ProxyProtocol",  # in net/tcp/test_proxy_protocol.py
    "Tls",  # in net/tcp/test_tls_description.py
    *("Codec", "Decoder", "EventLoop", "new_event_loop"),  # they take none
    *("echo", "format_address"),  # they take anything
}


def name(call: Callable[..., object]) -> str:
    if isinstance(call, functools.partial):
        return name(call.func)
    owner = getattr(call, "__self__", None)
    return getattr(owner, "__name__", type(owner).__name__) if owner is not None else call.__name__


@pytest.fixture
def no_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("a socket was made before the arguments were checked")

    monkeypatch.setattr(socket.socket, "__init__", refuse)


@pytest.mark.parametrize(
    ("call", "arguments", "kind", "sentence"),
    CASES,
    ids=[f"{name(call)}-{','.join(arguments)}-{number}" for number, (call, arguments, *_) in enumerate(CASES)],
)
async def test_a_wrong_argument_is_refused_before_a_socket_is_made(
    call: Callable[..., object], arguments: dict[str, Any], kind: type[Exception], sentence: str, no_socket: None
) -> None:
    with pytest.raises(kind) as caught:
        await result(call(**arguments))
    assert type(caught.value) is kind
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


async def result(value: object) -> object:
    return await value if inspect.isawaitable(value) else value


def test_no_public_name_is_left_out() -> None:
    tried = {name(call) for call, *_ in CASES}
    assert sorted(set(pe.__all__) - NOT_CALLED - tried - {"RawCodec"}) == []
    assert set(pe.__all__) > NOT_CALLED
    described = {fault for fault in faults.__all__ if inspect.isclass(getattr(faults, fault))}
    none_of_its_own = {"DatagramFault", "Fault", "StreamFault", "Refuse", "WithholdCloseNotify"}
    assert described - tried == {*none_of_its_own, "HalfClose"}  # Reset's twin


@pytest.mark.parametrize(
    "served",
    [handler, functools.partial(handler), Serving(), mock.AsyncMock(), functools.partial(Serving())],
    ids=["function", "partial", "object", "mock", "partial of an object"],
)
async def test_what_can_be_awaited_with_a_connection_is_a_handler(served: Callable[..., Awaitable[None]]) -> None:
    async with await pe.serve_tcp(served) as server, await pe.connect_tcp(*server.addresses[0]) as conn:
        assert [frame async for frame in conn] == []
    assert server.stats.failed == 0


async def test_a_call_of_a_handler_is_told_from_a_handler() -> None:
    with pytest.raises(TypeError, match=r"not a call of it: write handler, not handler\(\.\.\.\)"):
        await pe.serve_tcp(handler(None))  # type: ignore[arg-type]


@pytest.mark.loop_errors
async def test_a_factory_that_makes_no_protocol_is_one_log_record_for_each_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    factory: Any = functools.partial(asyncio.Protocol)
    async with (
        await pe.serve_tcp(protocol_factory=factory) as server,
        await pe.connect_tcp(*server.addresses[0]) as conn,
    ):
        assert [frame async for frame in conn] == []
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]).startswith("protocol_factory must make a FramedProtocol, not <asyncio.protocols.Pro")


async def test_a_datagram_factory_that_makes_no_handler_leaves_no_socket() -> None:
    with pytest.raises(TypeError, match="protocol_factory must make a DatagramHandler, not <asyncio"):
        await pe.serve_udp(functools.partial(asyncio.DatagramProtocol))  # type: ignore[arg-type]


async def test_closing_a_server_refuses_a_senseless_drain_and_goes_on_serving() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        for drain in ("5", -1, True, math.inf):
            with pytest.raises((TypeError, ValueError), match="drain must be"):
                await server.close(drain)  # type: ignore[arg-type]
        async with await pe.connect_tcp(*server.addresses[0]) as conn:
            await conn.send(b"still there")
            assert await conn.receive() == b"still there"


@pytest.mark.parametrize("frame", ["text", None, 5, [b"bytes"]])
async def test_a_payload_that_is_no_bytes_is_refused_and_costs_nothing_else(frame: Any) -> None:
    async with (
        await pe.serve_tcp(pe.echo, codec=pe.LineCodec()) as server,
        await pe.connect_tcp(*server.addresses[0], codec=pe.LineCodec()) as conn,
    ):
        with pytest.raises(TypeError, match="the payload must be bytes, not "):
            await conn.send(frame)
        await conn.send(b"bytes")
        assert await conn.receive() == b"bytes"


WRONG_ADDRESSES = [
    ("127.0.0.1:9777", TypeError, "addr must be (host, port), not '127.0.0.1:9777': write ('127.0.0.1', 9777)"),
    ("[::1]:9777", TypeError, "addr must be (host, port), not '[::1]:9777': write ('::1', 9777)"),
    (9777, TypeError, """addr must be (host, port), not 9777: write ("127.0.0.1", 9000)"""),
    (["127.0.0.1", 9777], TypeError, "not ['127.0.0.1', 9777]: write ('127.0.0.1', 9777)"),
    (("127.0.0.1",), TypeError, "addr must be (host, port), not ('127.0.0.1',)"),
    (("127.0.0.1", "9777"), TypeError, "the port of addr must be a number from 0 to 65535, not '9777': write 9777"),
    (("127.0.0.1", 70000), ValueError, "the port of addr must be a number from 0 to 65535, not 70000"),
    ((5, 9777), TypeError, "the host of addr must be a name or an address as text"),
    (("localhost", 9777), ValueError, "'localhost' is not an IP address; look names up first"),
]


@pytest.mark.parametrize(("address", "kind", "sentence"), WRONG_ADDRESSES)
async def test_an_endpoint_says_how_to_write_an_address(address: Any, kind: type[Exception], sentence: str) -> None:
    if isinstance(address, list) and sys.implementation.name == "pypy":
        pytest.skip("PyPy's sockets take a list")
    async with await pe.bind_udp() as endpoint:
        with pytest.raises(kind) as caught:
            await endpoint.send(b"x", address)
        assert sentence in str(caught.value)
        await endpoint.send(b"to itself", endpoint.address)
        assert (await endpoint.receive())[0] == b"to itself"


async def test_a_connected_endpoint_says_how_to_write_an_address() -> None:
    async with await pe.bind_udp() as peer, await pe.connect_udp(*peer.address) as endpoint:
        with pytest.raises(TypeError, match=r"addr must be \(host, port\), not '127.0.0.1:9777'"):
            await endpoint.send(b"x", "127.0.0.1:9777")  # type: ignore[arg-type]


async def test_a_condition_to_wait_for_is_a_function() -> None:
    async with await TcpTestServer.serve() as server:
        with pytest.raises(TypeError, match="condition must be a function, not True"):
            await server.wait_for(True)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="timeout must be a number of seconds, not '5'"):
            await server.wait_for(lambda server: True, "5")  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="fault must be an object and not its class: write Silent"):
            server.fault(faults.Silent)  # type: ignore[arg-type]
