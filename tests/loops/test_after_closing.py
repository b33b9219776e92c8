"""What is left over when its loop is closed may still be called: a sentence or nothing, as with asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from helpers.recording import Bench, let_go, tcp_pair

from proactor_echo.loops import private

CLOSED = "Event loop is closed"

#: What is called, and what asyncio's selector loop answers.
CALLS: dict[str, tuple[Callable[[Any], object], str | None]] = {
    "close": (lambda transport: transport.close(), CLOSED),
    "abort": (lambda transport: transport.abort(), CLOSED),
    "pause_reading": (lambda transport: transport.pause_reading(), None),
    "resume_reading": (lambda transport: transport.resume_reading(), CLOSED),
    "write": (lambda transport: transport.write(b"x"), None),
    "write of what the system has no room for": (lambda transport: transport.write(bytes(1 << 26)), CLOSED),
    "write_eof": (lambda transport: transport.write_eof(), None),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_stream_transport_whose_loop_is_closed(each: Bench, call: str) -> None:
    if private.WINDOWS and each.factory is private.StockLoop:
        pytest.skip("the proactor loop has no say of its own: its writes are AttributeErrors about None")
    here, there = tcp_pair()
    loop = each.factory()
    errors: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _loop, context: errors.append(context))
    held: list[Any] = [*loop.run_until_complete(loop.connect_accepted_socket(asyncio.Protocol, there))]
    if call == "resume_reading":
        held[0].pause_reading()
    loop.close()
    function, sentence = CALLS[call]
    if sentence is None:
        function(held[0])
    else:
        with pytest.raises(RuntimeError, match=sentence):
            function(held[0])
    assert not errors
    here.close()
    there.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        let_go(held)


def test_a_server_whose_loop_is_closed_can_be_closed(each: Bench) -> None:
    if private.WINDOWS and each.factory is private.StockLoop:
        pytest.skip("the proactor loop raises an AttributeError about None")
    loop = each.factory()
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    listener = server.sockets[0]
    loop.close()
    server.close()
    assert listener.fileno() == -1
