"""A connection that has ended is freed at once: nothing of it is left for the garbage collector to find."""

import asyncio
import gc
import socket
import sys
import types
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import WINE_VERSION, RawClient, eventually

import proactor_echo as pe
from proactor_echo.loops import EventLoop

pytestmark = pytest.mark.skipif(
    sys.implementation.name != "cpython", reason="without reference counts the collector frees everything"
)


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.set_debug(0)
    gc.garbage.clear()
    gc.enable()


def found_by_the_collector() -> list[str]:
    """Collect; return what of a connection there was to collect, as its names."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    gc.set_debug(0)
    kinds: tuple[type, ...] = (types.TracebackType,)
    if isinstance(asyncio.get_running_loop(), EventLoop):
        kinds += (BaseException, pe.FramedProtocol, asyncio.Transport, asyncio.Task, socket.socket)
    # The stock loops' own transports are left to the collector, and what they know with them.
    found = [type(thing).__name__ for thing in gc.garbage if isinstance(thing, kinds)]
    gc.garbage.clear()
    return found


async def fails(conn: pe.Connection) -> None:
    await conn.receive()
    raise RuntimeError("the handler's own")


async def times_out(conn: pe.Connection) -> None:
    async with asyncio.timeout(0):
        await asyncio.Event().wait()


class FailingProtocol(pe.FramedProtocol):
    def frame_received(self, frame: bytes) -> None:
        raise RuntimeError("the protocol's own")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("end", ["end of file", "reset"])
async def test_the_connection_of_a_server_is_freed_when_it_has_ended(form: dict[str, Any], end: str) -> None:
    if not isinstance(asyncio.get_running_loop(), EventLoop):
        pytest.skip("the stock loops' own transports are left to the collector")
    async with await pe.serve_tcp(**form) as server:
        client = await RawClient.connect(server.addresses[0])
        await client.send(b"hello")
        assert await client.receive() == b"hello"
        (connection,) = server.connections
        watch = weakref.ref(connection)
        del connection
        if end == "reset":
            client.reset()
        else:
            client.close()
        await eventually(lambda: watch() is None, "freed")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("codec", "sent"),
    [
        pytest.param(pe.LengthCodec(), b"\0\0\x03\xe8half", id="half a frame"),
        pytest.param(pe.LengthCodec(), b"\0\0\0\4good\xff\xff\xff\xff", id="a frame too long"),
        pytest.param(pe.NetstringCodec(), b"no netstring", id="no frame"),
    ],
)
@pytest.mark.parametrize("end", ["end of file", "reset"])
async def test_bad_frames_leave_nothing_to_the_garbage_collector(
    form: dict[str, Any], codec: pe.Codec, sent: bytes, end: str
) -> None:
    async with await pe.serve_tcp(**form, codec=codec, idle_timeout=60) as server:
        gc.collect()
        for _ in range(3):
            await end_with(server, sent, end)
        assert found_by_the_collector() == []


@pytest.mark.loop_errors
@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"handler": fails}, id="handler"),
        pytest.param({"handler": times_out}, id="timeout"),
        pytest.param({"protocol_factory": FailingProtocol}, id="protocol"),
    ],
)
async def test_failures_leave_nothing_to_the_garbage_collector(
    form: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # pytest keeps the records of the log, and with them the tracebacks.
    monkeypatch.setattr("proactor_echo.net.tcp.stream.logger.disabled", True)
    monkeypatch.setattr("proactor_echo.net.tcp.served.logger.disabled", True)
    async with await pe.serve_tcp(**form) as server:
        gc.collect()
        for _ in range(3):
            await end_with(server, b"hello", "end of file")
        assert found_by_the_collector() == []


async def end_with(server: pe.Server, sent: bytes, end: str) -> None:
    """Be a client that sends this and leaves; return when the server has counted it out."""
    before = sum(server.stats.disconnects.values())
    async with await RawClient.connect(server.addresses[0]) as client:
        await client.send(sent)
        if end == "reset":
            if WINE_VERSION == 8:
                pytest.skip("Wine 8 does not always tell of a reset")
            if sys.platform == "win32" and not isinstance(asyncio.get_running_loop(), EventLoop):
                pytest.skip("the stock proactor loop leaves the tracebacks of its own errors to the collector")
            await eventually(lambda: server.stats.bytes_in)
            client.reset()
        else:
            client.send_eof()
        await eventually(lambda: sum(server.stats.disconnects.values()) > before and not server.connections)
    await asyncio.sleep(0)
