"""A connection that has ended is freed at once: nothing of it is left for the garbage collector to find."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from peers import RawClient, eventually

import proactor_echo as pe
from proactor_echo.loops import EventLoop


@pytest.fixture(autouse=True)
def no_collection() -> Iterator[None]:
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "form",
    [
        pytest.param({"handler": pe.echo}, id="handler"),
        pytest.param({"protocol_factory": pe.EchoProtocol}, id="protocol"),
    ],
)
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
