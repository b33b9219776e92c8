"""Sources that misbehave are refused for a while, and connections that hold too much memory are ended."""

import contextlib
import sys
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import RawClient, eventually
from helpers.sources import SECOND, Clients, is_reset

import proactor_echo as pe
from proactor_echo.errors import DisconnectReason
from proactor_echo.net.tcp import buffer_watch
from proactor_echo.testing import certificates

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no address of 127.0.0.0/8 but 127.0.0.1")


form = pytest.mark.parametrize("form", FORMS)

# -- penalties -------------------------------------------------------------------------------------------------------


async def bad_frame(client: RawClient) -> None:
    await client.send(b"nonsense")
    await is_reset(client)


async def test_a_source_that_sends_bad_frames_again_and_again_is_refused() -> None:
    limits = pe.Limits(penalties=pe.Penalties(framing=10, threshold=25))
    codec = pe.NetstringCodec()
    async with await pe.serve_tcp(pe.echo, codec=codec, limits=limits) as server, Clients(server) as to:
        for number in range(1, 4):
            await bad_frame(await to.connect())
            await eventually(lambda number=number: server.stats.disconnects[DisconnectReason.FRAMING] == number)  # type: ignore[misc]
        await to.refused()
        assert server.stats.refusals == {pe.RefusalReason.PENALTY: 1}
        other = await to.connect(SECOND)
        await other.send(b"4:ping,")
        assert await other.receive_exactly(7) == b"4:ping,"


async def test_an_exempt_network_has_no_penalties() -> None:
    limits = pe.Limits(penalties=pe.Penalties(framing=10, threshold=0, exempt=["127.0.0.0/8"]))
    codec = pe.NetstringCodec()
    async with await pe.serve_tcp(pe.echo, codec=codec, limits=limits) as server, Clients(server) as to:
        await bad_frame(await to.connect())
        await eventually(lambda: server.stats.disconnects[DisconnectReason.FRAMING] == 1)
        client = await to.connect()
        await client.send(b"4:ping,")
        assert await client.receive_exactly(7) == b"4:ping,"


async def test_failed_handshakes_are_offences() -> None:
    limits = pe.Limits(penalties=pe.Penalties(handshake=10, threshold=5))
    tls = pe.Tls(*certificates.LOCALHOST[:2])
    async with await pe.serve_tcp(pe.echo, ssl=tls, limits=limits) as server, Clients(server) as to:
        client = await to.connect()
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        await is_reset(client)
        await eventually(lambda: server.stats.handshakes_failed == 1)
        await to.refused()
        assert server.stats.refusals == {pe.RefusalReason.PENALTY: 1}


# -- what all connections hold ---------------------------------------------------------------------------------------


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_watch, "INTERVAL", 0.01)


@form
async def test_when_unfinished_frames_are_too_many_bytes_the_largest_are_ended(
    form: dict[str, Any], looks_often: None
) -> None:
    limits = pe.Limits(max_buffered=100_000)
    async with (
        await pe.serve_tcp(**form, codec=pe.LengthCodec(), limits=limits) as server,
        Clients(server) as to,
    ):
        small, large = await to.connect(), await to.connect()
        await small.send((50_000).to_bytes(4, "big") + bytes(40_000))
        await large.send((500_000).to_bytes(4, "big") + bytes(70_000))
        assert await is_ended(large)
        await eventually(lambda: server.stats.disconnects == {DisconnectReason.BUFFER_LIMIT: 1})
        await small.send(bytes(10_000))
        assert await small.receive_exactly(50_004) == (50_000).to_bytes(4, "big") + bytes(50_000)


async def test_when_unsent_output_is_too_many_bytes_the_largest_are_ended(looks_often: None) -> None:
    async def handler(conn: pe.Connection) -> None:
        size, count = map(int, (await conn.receive()).split())
        for _ in range(count):
            await conn.send(bytes(size))
        await conn.receive()

    limits = pe.Limits(max_buffered=300_000)
    options = pe.SocketOptions(send_buffer=4096)
    async with (
        await pe.serve_tcp(handler, write_limit=(200_000, 1000), options=options, limits=limits) as server,
        Clients(server) as to,
    ):
        for size in (b"50000 1", b"180000 1000"):
            client = await to.enter_async_context(await RawClient.connect(server.address, receive_buffer=4096))
            await client.send(size)
        await eventually(lambda: server.stats.disconnects[DisconnectReason.BUFFER_LIMIT])
        assert server.stats.open == 1


async def is_ended(client: RawClient) -> bool:
    """Read to the end, however that comes."""
    with contextlib.suppress(OSError):
        await client.receive_all()
    return True


async def test_without_limits_nobody_looks_at_the_buffers(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("made without a limit")

    monkeypatch.setattr(buffer_watch.BufferWatch, "__init__", never)
    async with await pe.serve_tcp(pe.echo) as server, Clients(server) as to:
        await to.served()
