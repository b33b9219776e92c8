"""No exception while accepting ends the loop or the listener: it costs that connection, or a pause."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest
from helpers.faults import ERRORS, Fault, FaultySocket
from helpers.recording import Bench

from proactor_echo.loops import private
from proactor_echo.sockets import accept_errors

each_error = pytest.mark.parametrize("error", ERRORS)


class Listener(socket.socket):
    """Accepts connections of which the first cannot be made non-blocking."""

    fault: Fault

    def accept(self) -> Any:
        self.fault.check("accept")
        conn, peer = super().accept()
        return FaultySocket.of(conn, self.fault), peer


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accept_errors, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(accept_errors, "LONGEST_PAUSE", 0.01)


@each_error
@pytest.mark.parametrize("call", ["accept", "setblocking", "deliver", "report", "factory", "connection_made"])
def test_whatever_is_raised_the_listener_goes_on(ours: Bench, call: str, error: str) -> None:
    if private.WINDOWS and call in ("accept", "setblocking", "report"):
        pytest.skip("the completion engine makes no such call")
    fault = Fault(call, ERRORS[error])

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport: Any = transport
            fault.check("connection_made")

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    def factory() -> Echo:
        fault.check("factory")
        return Echo()

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        listener = Listener() if not private.WINDOWS else socket.socket()
        if isinstance(listener, Listener):
            listener.fault = fault
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.setblocking(False)

        def deliver(conn: socket.socket, peer: Any) -> None:
            fault.check("deliver")
            loop.open_accepted(factory(), conn, peer)

        def report(exc: BaseException, pause: float) -> None:
            fault.check("report")

        acceptor = loop.accept_connections(listener, deliver, report)
        if call == "report":
            fault.armed = True
            acceptor.failed(OSError("some error of an accept"))
        else:
            fault.armed = True
            with socket.create_connection(listener.getsockname()):
                async with asyncio.timeout(10):
                    while not fault.hits:
                        await asyncio.sleep(0.001)  # with nothing else to do, it is called straight from the poll
        fault.armed = False
        with socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            await loop.sock_sendall(client, b"served")
            assert await asyncio.wait_for(loop.sock_recv(client, 10), 10) == b"served"
        await asyncio.sleep(0.01)
        acceptor.close()
        listener.close()
        for _ in range(3):
            await asyncio.sleep(0)

    ours.run(main())


def test_accepts_that_fail_together_take_one_pause(ours: Bench) -> None:
    """Many are out on Windows. Each took a pause of its own, twice as long, and the timers of all but one were lost."""
    pauses: list[float] = []

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            acceptor = loop.accept_connections(
                listener, lambda conn, peer: conn.close(), lambda exc, pause: pauses.append(pause)
            )
            assert not any(list(map(acceptor.failed, [MemoryError()] * 10)))
            timers = [handle for handle in loop._scheduled if handle._callback == acceptor._go_on]
            assert len(timers) == 1
            acceptor.close()
            assert timers[0].cancelled()

    ours.run(main())
    assert len(pauses) == 10
    assert all(0 < pause <= 0.011 for pause in pauses)
