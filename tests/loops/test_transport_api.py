"""What programs ask of a stream transport beside bytes: its names, its attributes, and calls out of time."""

from __future__ import annotations

import asyncio
import contextvars
import socket
import sys
from typing import Any

import pytest
from helpers.recording import Bench, BufferedRecorder, Recorder, connection, reset

from proactor_echo.loops import private


def test_a_method_of_a_transport_may_be_replaced_as_tests_do(each: Bench) -> None:
    async def main() -> list[bytes]:
        async with connection() as (protocol, _):
            written: list[bytes] = []
            protocol.transport.write = written.append
            protocol.transport.write(b"caught")
            del protocol.transport.write
            return written

    assert each.run(main()) == [b"caught"]


class Addresses(Recorder):
    """Asks for the addresses when the connection is lost and not before."""

    def connection_lost(self, exc: BaseException | None) -> None:
        self.names = [self.transport.get_extra_info(name) for name in ("sockname", "peername")]
        super().connection_lost(exc)


async def open_end(kind: str) -> tuple[socket.socket, Addresses]:
    """A connection of the running loop made in the way of `kind`, and its peer."""
    loop = asyncio.get_running_loop()
    if kind == "create_server":
        made: list[Addresses] = []

        def factory() -> Addresses:
            made.append(Addresses())
            return made[-1]

        server = await loop.create_server(factory, "127.0.0.1", 0)
        peer = socket.create_connection(server.sockets[0].getsockname())
        while not made:
            await asyncio.sleep(0)
        await made[0].made
        server.close()
        return peer, made[0]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        there: Any
        if kind == "create_connection":
            _, protocol = await loop.create_connection(Addresses, *listener.getsockname())
            peer, _ = listener.accept()
        else:
            peer = socket.create_connection(listener.getsockname())
            there, _ = listener.accept()
            there.setblocking(False)
            _, protocol = await loop.connect_accepted_socket(Addresses, there)
    return peer, protocol


@pytest.mark.parametrize("kind", ["create_server", "create_connection", "connect_accepted_socket"])
def test_connection_lost_can_still_ask_who_the_peer_was(each: Bench, kind: str) -> None:
    async def main() -> None:
        peer, protocol = await open_end(kind)
        expected = [peer.getpeername(), peer.getsockname()]
        reset(peer)
        await protocol.lost
        assert protocol.names == expected

    each.run(main())


def test_who_resumes_a_transport_does_not_lend_it_a_context(each: Bench) -> None:
    """Shows the defect of asyncio's loops before 3.15 (gh-140947): callbacks of the connection see what a task set."""
    variable = contextvars.ContextVar("variable", default="the connection's")

    class Named(Recorder):
        seen = ""

        def data_received(self, data: bytes) -> None:
            self.seen = variable.get()
            super().data_received(data)

    async def main() -> str:
        async with connection(Named()) as (protocol, peer):
            transport = protocol.transport
            transport.pause_reading()
            peer.send(b"x")
            while getattr(transport, "_pending_data_length", 0) < 0:  # the stock proactor loop has not received yet
                await asyncio.sleep(0)

            async def resume() -> None:
                variable.set("the task's")
                transport.resume_reading()

            await asyncio.create_task(resume())
            await protocol.until(1)
            seen: str = protocol.seen
            return seen

    defect = each.factory is private.StockLoop and sys.version_info < (3, 15)
    assert each.run(main()) == ("the task's" if defect else "the connection's")


def test_what_was_received_before_a_buffered_protocol_took_over_reaches_it_whole(ours: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, _):
            second = BufferedRecorder(2)
            protocol.transport.set_protocol(second)
            protocol.transport._received(b"hello")  # as an engine does whose receive was out already
            assert second.chunks == [b"he", b"ll", b"o"]
            protocol.transport.set_protocol(protocol)

    ours.run(main())


@pytest.mark.skipif(private.WINDOWS, reason="done here by hand; there the completion engine does it")
def test_the_error_is_reported_when_the_system_has_given_back_what_it_had(ours: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, _):
            transport = protocol.transport
            cancel_pending = transport._cancel_pending
            transport._cancel_pending = lambda: cancel_pending() and False  # something is still outstanding
            error = ConnectionResetError("injected")
            transport._receive_failed(error)
            for _ in range(3):
                await asyncio.sleep(0)
            assert protocol.calls == ["made"]
            transport._all_completed()
            assert await protocol.lost is error

    ours.run(main())
