"""The states of an operation, walked through on Windows' own kernel: idle, pending, cancelled, and idle again."""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

from helpers.peers import iterations
from helpers.recording import Bench, Recorder, connection, tcp_pair, until
from helpers.windows_rows import run

from proactor_echo.loops.iocp.lifetimes import Operation, State


def registered(operation: Operation) -> bool:
    """Tell whether the registry of the running loop's port holds it, and so its memory."""
    loop: Any = asyncio.get_running_loop()
    return operation in loop._proactor._operations.values()


class Watching(Recorder):
    """Notes in which state its transport's operations are when the connection is over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.handle = self.transport._sock.fileno()
        self.operations: list[Operation] = []

    def connection_lost(self, exc: BaseException | None) -> None:
        self.with_kernel = [operation._is_with_kernel() for operation in self.operations]
        self.open = self.transport._sock.fileno() == self.handle
        super().connection_lost(exc)


def test_a_receive_goes_from_idle_to_pending_and_back(ours: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, peer):
            receive = protocol.transport._receive
            await iterations(2)
            assert receive.state is State.PENDING
            assert registered(receive)
            protocol.transport.pause_reading()
            peer.send(b"x")
            await until(lambda: receive.state is State.IDLE)
            assert not registered(receive)
            protocol.transport.resume_reading()
            await until(lambda: receive.state is State.PENDING)
            assert protocol.received == b"x"

    run(ours, main())


def test_a_connection_is_closed_when_its_cancelled_receive_and_send_are_back(ours: Bench) -> None:
    async def main() -> None:
        peer, sock = tcp_pair()
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(Watching, sock)
        transport: Any = protocol.transport
        await iterations(2)
        while not transport._sending:  # until the system takes no more
            transport.write(bytes(1 << 20))
        protocol.operations = [transport._receive, transport._send]
        assert [operation.state for operation in protocol.operations] == [State.PENDING, State.PENDING]
        transport.abort()
        for operation in protocol.operations:
            assert operation.state is State.CANCELLED
            assert registered(operation)  # until its packet has been taken
        await protocol.lost
        assert protocol.open
        assert protocol.with_kernel == [False, False]
        await until(lambda: all(operation.state is State.IDLE for operation in protocol.operations))
        assert not any(registered(operation) for operation in protocol.operations)
        peer.close()

    run(ours, main())


def test_an_endpoint_is_closed_when_its_cancelled_receives_are_back(ours: Bench) -> None:
    class Lost(asyncio.DatagramProtocol):
        def connection_lost(self, exc: BaseException | None) -> None:
            with_kernel.extend(receive._is_with_kernel() for receive in receives)

    with_kernel: list[bool] = []
    receives: list[Operation] = []

    async def main() -> None:
        transport: Any
        transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(Lost, ("127.0.0.1", 0))
        receives.extend(transport._receives)
        await until(lambda: all(receive.state is State.PENDING for receive in receives))
        transport.abort()
        assert {receive.state for receive in receives} == {State.CANCELLED}
        assert all(registered(receive) for receive in receives)
        await transport.wait_closed()
        assert with_kernel == [False] * len(receives)
        await until(lambda: all(receive.state is State.IDLE for receive in receives))

    run(ours, main())


def test_an_accept_is_cancelled_by_closing_its_server_and_idle_when_it_is_back(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        (acceptor,) = loop._state.acceptors.values()
        accepts = list(acceptor._accepts)
        assert {accept.state for accept in accepts} == {State.PENDING}
        server.close()
        assert {accept.state for accept in accepts} == {State.CANCELLED}
        await until(lambda: all(accept.state is State.IDLE for accept in accepts))
        assert all(accept.conn.fileno() == -1 for accept in accepts)
        await server.wait_closed()

    run(ours, main())
