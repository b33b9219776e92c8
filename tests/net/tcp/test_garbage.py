"""Random bytes into a framed server: a frame error or frames, never a crash, and nobody else notices."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import WINE, RawClient, eventually

import proactor_echo as pe

CODECS: list[Any] = [
    pytest.param(pe.RawCodec, id="raw"),
    pytest.param(pe.LengthCodec, id="length"),
    pytest.param(lambda: pe.LengthCodec(length_field_length=2, byteorder="little"), id="length-2-little"),
    pytest.param(lambda: pe.LengthCodec(length_field_length=1, on_too_long="skip", max_frame_length=100), id="skip"),
    pytest.param(lambda: pe.LineCodec(max_frame_length=300), id="line"),
    pytest.param(lambda: pe.LineCodec(max_frame_length=300, partial="deliver"), id="line-partial"),
    pytest.param(lambda: pe.DelimiterCodec(b"\0", b"\xff\xfe", max_frame_length=300), id="delimiter"),
    pytest.param(lambda: pe.FixedCodec(13), id="fixed"),
    pytest.param(pe.NetstringCodec, id="netstring"),
    pytest.param(pe.VarintCodec, id="varint"),
]
CLIENTS = 10 if WINE else 25


def garbage(chance: random.Random) -> bytes:
    """Return bytes that go wrong in every depth: pure noise, noise of few letters, long runs of one byte."""
    size = int(2 ** chance.uniform(0, 13))
    match chance.randrange(3):
        case 0:
            return chance.randbytes(size)
        case 1:
            return bytes(chance.choices(b"\x00\x01\x05:,\r\n09\xff\xfe", k=size))
    return bytes([chance.randrange(256)]) * size


def ended(stats: pe.ServerStats) -> int:
    return stats.refused + sum(stats.disconnects.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("codec", CODECS)
async def test_garbage_ends_its_own_connection_at_most(
    form: dict[str, Any], codec: Callable[[], pe.Codec], caplog: pytest.LogCaptureFixture
) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)

    async def babble(noise: list[bytes], end: str) -> None:
        client = await RawClient.connect(server.addresses[0])
        with contextlib.suppress(OSError):  # it may be closed in the middle
            for piece in noise:
                await client.send(piece)
            if end == "end of file":
                client.send_eof()
                await client.receive_all()
        client.reset() if end == "reset" else client.close()

    async with await pe.serve_tcp(**form, codec=codec(), max_connections=CLIENTS + 2) as server:
        wire = codec().encode(b"thirteen byte")
        async with await RawClient.connect(server.addresses[0]) as honest:
            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    noise = [garbage(chance) for _ in range(chance.randrange(1, 6))]
                    group.create_task(babble(noise, chance.choice(["end of file", "reset", "leave"])))
                    await honest.send(wire)
                    assert await honest.receive_exactly(len(wire)) == wire
            await eventually(lambda: ended(server.stats) + server.stats.accept_errors == CLIENTS)
            assert server.stats.failed == 0
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
