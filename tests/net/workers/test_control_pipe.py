"""What goes between a supervisor and a worker, with the sockets that are handed over."""

import os
import socket
import sys
from collections.abc import Iterator

import pytest

from proactor_echo.net.workers.control_pipe import ControlPipe


@pytest.fixture
def ends() -> Iterator[tuple[ControlPipe, ControlPipe]]:
    near, far = map(ControlPipe, socket.socketpair(), [os.getpid()] * 2)
    yield near, far
    near.close()
    far.close()


def test_messages_and_sockets_come_in_their_order(ends: tuple[ControlPipe, ControlPipe]) -> None:
    near, far = ends
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        near.send({"do": "listen", "number": 1}, one)
        near.send({"do": "ping"})
        near.send({"do": "listen", "number": 2}, other)
        received = [far.receive() for _ in range(3)]
        assert [message["do"] for message, _ in filter(None, received)] == ["listen", "ping", "listen"]
        for sock, wanted in zip([each[1] for each in received if each is not None], (one, None, other), strict=True):
            assert (sock is None) == (wanted is None)
            if sock is not None and wanted is not None:
                with sock:
                    assert sock.getsockname() == wanted.getsockname()
    near.close()
    assert far.receive() is None


def test_what_does_not_block_does_not_when_another_process_has_it_too(ends: tuple[ControlPipe, ControlPipe]) -> None:
    if sys.platform == "win32":
        pytest.skip("there each process has its own state")
    near, far = ends
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        near.send({"do": "listen"}, listener)
        received = far.receive()
        assert received is not None
        assert received[1] is not None
        with received[1]:
            assert not os.get_blocking(listener.fileno())
