"""One accept of a stock loop, cancelled at every moment, loses no connection."""

import asyncio
import socket
import sys

import pytest

from proactor_echo.net.stock.one_accept import Accept


async def test_a_completed_accept_is_not_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        accept = Accept(listener)
        taking = asyncio.create_task(accept.take())
        await asyncio.sleep(0)
        client.connect(listener.getsockname())
        assert accept._future is not None
        await asyncio.wait([accept._future])
        accept.cancel()
        sock, address = await taking
        assert address == client.getsockname()
        sock.close()


@pytest.mark.stock_loop(ours="tests/loops/iocp/test_accepting.py::test_a_cancelled_sock_accept_loses_no_client")
async def test_an_accept_that_is_cancelled_when_its_connection_arrives_leaves_it_for_the_next() -> None:
    """The stock selector loop accepts for the cancelled future all the same, and leaks the socket."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket() as client:
        listener.setblocking(False)
        accept = Accept(listener)
        taking = asyncio.create_task(accept.take())
        await asyncio.sleep(0)
        client.connect(listener.getsockname())
        await asyncio.sleep(0)  # the loop has seen it now, and is about to accept
        accept.cancel()
        await asyncio.wait([taking])
        if not taking.cancelled():
            sock, _ = taking.result()
        elif sys.platform == "win32":
            return  # AcceptEx had it already, and it was closed
        else:
            async with asyncio.timeout(5):
                sock, _ = await Accept(listener).take()
        assert sock.getpeername() == client.getsockname()
        sock.close()


async def test_a_pending_accept_is_cancelled() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        accept = Accept(listener)
        taking = asyncio.create_task(accept.take())
        await asyncio.sleep(0)
        assert accept.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        assert not accept.cancel()
