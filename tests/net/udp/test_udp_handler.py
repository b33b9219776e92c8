"""What a DatagramHandler may rely on when it sends, and what it counts."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.loops.datagram_protocol import BatchProtocol

NOWHERE = ("255.255.255.255", 9)  # a forged source: nobody may send to everybody unasked (Wine 10 sends to port 0)


class Answers(pe.DatagramHandler):
    """Answers one by one, as a handler of one's own does."""

    def handle(self, data: bytes, addr: Any) -> None:
        self.send(data, addr)


async def serve(factory: Callable[[], pe.DatagramHandler]) -> tuple[pe.UdpServer, Any]:
    made: list[Any] = []

    def remembering() -> pe.DatagramHandler:
        handler = factory()
        made.append(handler)
        return handler

    server = await pe.serve_udp(remembering, guard=False)
    return server, made[0]


async def test_a_handler_may_send_as_soon_as_it_is_served() -> None:
    server, handler = await serve(pe.DatagramHandler)
    async with server, await pe.bind_udp() as receiver, asyncio.timeout(10):
        handler.send(b"first", receiver.address)
        assert await receiver.receive() == (b"first", server.addresses[0])


async def test_a_handler_that_is_not_served_yet_is_told_so() -> None:
    with pytest.raises(pe.ProtocolStateError, match="no endpoint yet"):
        pe.DatagramHandler().send(b"early", ("127.0.0.1", 9))


async def test_cancelling_serve_udp_leaves_no_socket_open() -> None:
    made: list[pe.DatagramHandler] = []

    def factory() -> pe.DatagramHandler:
        made.append(pe.DatagramHandler())
        task.cancel()
        return made[-1]

    task = asyncio.create_task(pe.serve_udp(factory))
    await asyncio.wait([task])
    assert task.cancelled()
    assert made
    await asyncio.sleep(0)  # an unclosed socket is found by the garbage collection after the test


@pytest.mark.parametrize("factory", [Answers, pe.EchoDatagramProtocol])
async def test_answers_that_the_system_refuses_are_not_counted_as_sent(
    factory: Callable[[], pe.DatagramHandler],
) -> None:
    server, handler = await serve(factory)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.bind(("127.0.0.1", 0))
        arrived = [(b"one", client.getsockname()), (b"forged", NOWHERE), (b"three", client.getsockname())]
        async with server:
            if isinstance(handler, BatchProtocol):
                handler.datagrams_received(arrived)
            else:
                for data, address in arrived:
                    handler.datagram_received(data, address)
            stats = server.stats
            assert (stats.datagrams_in, stats.datagrams_out, stats.errors) == (3, 2, 1)
            assert (stats.bytes_in, stats.bytes_out) == (14, 8)
