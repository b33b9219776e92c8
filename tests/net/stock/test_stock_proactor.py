"""What the stock ProactorEventLoop does wrong at the end of a connection, and that ours end well on it all the same."""

import asyncio
import socket
import sys

import pytest
from helpers.peers import RawClient, eventually
from helpers.stock import RecordingProtocol

import proactor_echo as pe

pytestmark = pytest.mark.skipif(
    sys.platform != "win32", reason="only the proactor transport shuts a socket down after connection_lost"
)


class FailingShutdownSocket(socket.socket):
    """A socket that the peer resets at the moment it is shut down; whether it does cannot be had at will."""

    def shutdown(self, how: int) -> None:
        raise ConnectionResetError(10054, "reset by the peer", None, 10054)


async def failing_shutdown_pair() -> tuple[FailingShutdownSocket, RawClient]:
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        client = await RawClient.connect(listener.getsockname())
        accepted, _ = await loop.sock_accept(listener)
    sock = FailingShutdownSocket(fileno=accepted.detach())
    sock.setblocking(False)
    return sock, client


@pytest.mark.loop_errors
@pytest.mark.stock_loop(because="it shows the defect of the stock loop that the next test shows both to be free of")
async def test_the_stock_transport_leaves_a_socket_open_that_is_reset_while_it_closes(
    caplog: pytest.LogCaptureFixture,
) -> None:
    sock, client = await failing_shutdown_pair()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_connection(asyncio.Protocol, sock=sock)
    transport.close()
    await eventually(lambda: "Exception in callback" in caplog.text)
    assert sock.fileno() != -1
    sock.close()
    client.close()
    vars(transport)["_sock"] = None  # or it complains about itself whenever it is collected


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_an_owned_connection_closes_its_socket_that_is_reset_while_it_closes(how: str) -> None:
    sock, client = await failing_shutdown_pair()
    loop = asyncio.get_running_loop()
    protocol = RecordingProtocol()
    protocol.attach(None, sock)
    await loop.create_connection(lambda: protocol, sock=sock)
    getattr(protocol, how)()
    await eventually(lambda: protocol.disconnect)
    assert sock.fileno() == -1
    client.close()


async def test_clients_that_reset_while_the_server_closes_leave_no_socket_and_no_noise(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended: list[pe.Disconnect] = []

    class Leaving(pe.FramedProtocol):
        def connection_opened(self) -> None:
            self.send_frame(b"!")

        def frame_received(self, frame: bytes) -> None:
            self.close()

        def connection_closed(self, disconnect: pe.Disconnect) -> None:
            ended.append(disconnect)

    async with await pe.serve_tcp(protocol_factory=Leaving) as server:
        for _ in range(50):
            client = await RawClient.connect(server.addresses[0])
            await client.receive()
            await client.send(b"x")
            client.reset()
        await eventually(lambda: len(ended) == 50)
    assert not [record for record in caplog.records if record.name == "asyncio" and record.levelno >= 30]
