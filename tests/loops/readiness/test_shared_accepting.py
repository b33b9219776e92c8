"""Accepting on a listener that other processes accept on too; that each gets its part is in tests/net/workers."""

import asyncio
import contextlib
import errno
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.peers import eventually

from proactor_echo.loops import new_event_loop

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the readiness engine is for POSIX")


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        sock.setblocking(False)
        yield sock


class Accepting:
    """A loop that accepts on the listener, and the connections it got."""

    def __init__(self, listener: socket.socket, report: Any = pytest.fail) -> None:
        self.got: list[socket.socket] = []
        self.listener = listener
        loop: Any = asyncio.get_running_loop()
        self.loop: Any = loop
        self.acceptor = loop.accept_connections(listener, lambda sock, peer: self.got.append(sock), report, shared=True)

    def __enter__(self) -> "Accepting":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.acceptor.close()
        for sock in self.got:
            sock.close()


def on_ours(test: Any) -> None:
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        runner.run(test)


def test_a_burst_is_taken_whole_and_what_comes_later_too(listener: socket.socket) -> None:
    async def test() -> None:
        with Accepting(listener) as accepting, contextlib.ExitStack() as clients:
            for count in (5, 6, 9):
                while len(accepting.got) + 1 < count:
                    clients.enter_context(socket.create_connection(listener.getsockname()))
                    await asyncio.sleep(0)
                clients.enter_context(socket.create_connection(listener.getsockname()))
                await eventually(lambda: len(accepting.got) == count)  # noqa: B023

    on_ours(test())


def test_a_connection_that_another_process_was_woken_for_is_found(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proactor_echo.loops.readiness.accept.LOOK_AGAIN", 0.05)

    async def test() -> None:
        with Accepting(listener) as accepting, socket.create_connection(listener.getsockname()):
            accepting.loop._selector.forget(listener.fileno())
            await eventually(lambda: accepting.got)

    on_ours(test())


def test_nothing_is_taken_while_it_is_stopped(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactor_echo.loops.readiness.accept.LOOK_AGAIN", 0.01)

    async def test() -> None:
        with Accepting(listener) as accepting, socket.create_connection(listener.getsockname()):
            accepting.acceptor.stop()
            accepting.acceptor.stop()
            await asyncio.sleep(0.05)
            assert not accepting.got
            accepting.acceptor.start()
            await eventually(lambda: accepting.got)

    on_ours(test())


def test_a_listener_that_is_closed_behind_its_back_is_left_alone(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proactor_echo.loops.readiness.accept.LOOK_AGAIN", 0.01)

    async def test() -> None:
        with Accepting(listener):
            listener.close()
            await asyncio.sleep(0.05)  # a failure would be in the log

    on_ours(test())


def test_what_the_system_refuses_is_tried_again(listener: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactor_echo.loops.readiness.accept.LOOK_AGAIN", 0.01)
    reported: list[BaseException] = []

    async def test() -> None:
        with Accepting(listener, lambda error, pause: reported.append(error)) as accepting:
            poller = accepting.loop._selector
            watch = poller.watch_shared

            def refuse(fd: int, handler: Any) -> None:
                monkeypatch.setattr(poller, "watch_shared", watch)
                raise OSError(errno.ENOSPC, "no more watches")

            monkeypatch.setattr(poller, "watch_shared", refuse)
            await eventually(lambda: reported)
            with socket.create_connection(listener.getsockname()):
                await eventually(lambda: accepting.got)

    on_ours(test())
