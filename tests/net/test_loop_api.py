"""The types of what our loops offer: our loops have it, asyncio's own have not."""

import asyncio

from proactor_echo.loops import EventLoop
from proactor_echo.loops.base import BaseLoop
from proactor_echo.loops.datagram import DatagramTransport
from proactor_echo.loops.datagram_protocol import NotSentProtocol
from proactor_echo.net.loop_api import BatchTransport, NativeLoop, native
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.rfc862 import EchoDatagramProtocol


def checked(
    loop: BaseLoop, datagrams: DatagramTransport, handler: DatagramHandler
) -> tuple[NativeLoop, BatchTransport, NotSentProtocol]:
    """Is never called: a type checker compares what the loops have with what ``net`` asks of them."""
    return loop, datagrams, handler


async def test_native_knows_our_loop_from_the_stock_one() -> None:
    loop = asyncio.get_running_loop()
    assert (native(loop) is not None) == isinstance(loop, EventLoop)


async def test_an_echo_protocol_takes_batches_where_its_transport_sends_them() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(EchoDatagramProtocol, ("127.0.0.1", 0))
    try:
        assert (protocol.datagrams_received is not None) == (native(loop) is not None)
    finally:
        transport.close()
        await asyncio.sleep(0)
