"""What comes to a completion port, or is kept from it, that is not its own."""

from __future__ import annotations

import asyncio
import logging
import socket
import sys
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

from helpers.peers import iterations
from helpers.recording import Bench

from proactor_echo import loops
from proactor_echo.loops.iocp.private import overlapped

PAGE_NOT_MAPPED = 0x10  # reading there ends the process


@pytest.mark.parametrize(("key", "address"), [(0, PAGE_NOT_MAPPED), (0x7777, PAGE_NOT_MAPPED), (0x7777, 0)])
def test_a_packet_that_nobody_waits_for_is_left_alone(
    ours: Bench, caplog: pytest.LogCaptureFixture, key: int, address: int
) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with caplog.at_level(logging.WARNING, "asyncio"):
            overlapped.PostQueuedCompletionStatus(loop._proactor._iocp, 0, key, address)
            await asyncio.sleep(0.01)
            await iterations(3)

    ours.run(main())
    assert ours.errors == []
    if address:
        assert "a completion that nobody waits for" in caplog.text


def test_a_packet_with_the_number_of_a_handle_closes_no_handle(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.socket() as sock:
            overlapped.PostQueuedCompletionStatus(loop._proactor._iocp, 0, sock.fileno(), PAGE_NOT_MAPPED)
            await asyncio.sleep(0.01)
            await iterations(3)
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM

    ours.run(main())


@pytest.mark.parametrize("call", ["create_server", "sock_accept", "accept_connections"])
def test_a_listener_of_another_loop_is_refused_with_a_sentence(ours: Bench, call: str) -> None:
    other: Any = loops.new_event_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        other._proactor.watch(listener)

        async def serve(loop: Any) -> None:
            if call == "create_server":
                server = await loop.create_server(asyncio.Protocol, sock=listener, start_serving=False)
                await server.start_serving()
            elif call == "sock_accept":
                await asyncio.wait_for(loop.sock_accept(listener), 5)
            else:
                loop.accept_connections(listener, lambda conn, peer: conn.close(), print)

        async def main() -> None:
            for _ in range(2):  # CPython takes it for its own at the second try, and waits for ever
                with pytest.raises(OSError, match=r"another completion port.*socket\.share\(\)") as caught:
                    await serve(asyncio.get_running_loop())
                assert caught.value.winerror == 87

        ours.run(main())
    other.close()
