"""Rows of the defect table: resets, which Wine 10 shows as Windows does, on the stock loop and on ours."""

from __future__ import annotations

import asyncio
import select
import sys

import pytest
from helpers.peers import WINE_VERSION

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

from helpers.recording import Recorder, reset, tcp_pair
from helpers.windows_rows import bench, on_each, run

from proactor_echo import DisconnectReason, classify

pytestmark = pytest.mark.skipif(WINE_VERSION == 8, reason="Wine 8 ends a receive after a reset as an end of file")


# -- row 20 ----------------------------------------------------------------------------------------------------------


@on_each
def test_a_connection_that_is_made_of_a_socket_after_its_reset_ends_with_the_reset(kind: str) -> None:
    async def main() -> BaseException | None:
        here, there = tcp_pair()
        reset(here)
        assert select.select([there], [], [], 20)[0]
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(Recorder, there)
        return await protocol.lost

    told = classify(run(bench(kind), main()))
    assert (told.reason, told.number) == (DisconnectReason.PEER_RESET, 10054)


@on_each
def test_a_receive_from_a_socket_that_is_begun_after_its_reset_is_a_reset(kind: str) -> None:
    async def main() -> None:
        here, there = tcp_pair()
        reset(here)
        assert select.select([there], [], [], 20)[0]
        with there:
            await asyncio.get_running_loop().sock_recv(there, 1)

    with pytest.raises(ConnectionResetError) as caught:
        run(bench(kind), main())
    assert caught.value.winerror == 10054  # type: ignore[attr-defined, unused-ignore]


# -- row 24 ----------------------------------------------------------------------------------------------------------


@on_each
def test_a_stream_reader_hears_of_a_reset_right_behind_some_data(kind: str) -> None:
    async def main() -> bool:
        here, there = tcp_pair()
        reader, writer = await asyncio.open_connection(sock=there)
        reading = asyncio.create_task(reader.readexactly(5))
        await asyncio.sleep(0)
        here.send(b"hel")
        reset(here)
        ended, _ = await asyncio.wait([reading], timeout=0.3 if kind == "stock" else 20)
        writer.transport.abort()
        if not ended:
            reading.cancel()
            return False
        assert isinstance(reading.exception(), ConnectionResetError)
        return True

    assert run(bench(kind), main()) == (kind == "ours")
