"""One accept of a stock loop, cancelled at every moment, loses no connection."""

import ast
import asyncio
import socket
import sys
from pathlib import Path

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


def test_asyncio_still_calls_the_socket_of_an_accept_conn() -> None:
    """Of an accept that fails on the stock proactor loop, the socket is found by this name of a local variable."""
    source = Path(asyncio.__file__).with_name("windows_events.py")
    if not source.exists():
        pytest.skip("this Python comes without the sources of asyncio")
    (proactor,) = (
        node
        for node in ast.parse(source.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef) and node.name == "IocpProactor"
    )
    (accept,) = (node for node in proactor.body if isinstance(node, ast.FunctionDef) and node.name == "accept")
    assigned = {node.id for node in ast.walk(accept) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    (task,) = (node for node in ast.walk(accept) if isinstance(node, ast.AsyncFunctionDef))
    assert "conn" in assigned, "look at _socket_in() in one_accept.py"
    assert "conn" in {argument.arg for argument in task.args.args}, "look at _Guard in one_accept.py"
