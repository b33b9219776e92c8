"""Whatever accepting a connection answers, the next client is served."""

import asyncio
import errno
import itertools
import logging
import re
import socket
import subprocess
import sys
from typing import Any

import pytest
import pytest_asyncio
from helpers.network import FailingListener
from helpers.peers import RawClient, echoes, eventually

import proactor_echo as pe
from proactor_echo.net.loop_api import native


class NumberedError(OSError):
    """An OSError as Windows makes them, on any system."""

    def __init__(self, winerror: int, text: str) -> None:
        super().__init__(errno.EINVAL, text)
        self.winerror = winerror


class OddError(BaseException):
    """Not even an Exception."""


ERRORS: list[Any] = [
    pytest.param(lambda: ConnectionAbortedError(errno.ECONNABORTED, "Software caused connection abort"), id="aborted"),
    pytest.param(lambda: NumberedError(64, "The specified network name is no longer available"), id="64"),
    pytest.param(lambda: NumberedError(10054, "An existing connection was forcibly closed"), id="10054"),
    pytest.param(lambda: NumberedError(121, "The semaphore timeout period has expired"), id="121"),
    pytest.param(lambda: NumberedError(59, "An unexpected network error occurred"), id="59"),
]
SHORTAGES: list[Any] = [
    pytest.param(lambda: OSError(errno.EMFILE, "Too many open files"), id="EMFILE"),
    pytest.param(lambda: OSError(errno.ENFILE, "Too many open files in system"), id="ENFILE"),
    pytest.param(lambda: NumberedError(10055, "No buffer space available"), id="10055"),
    pytest.param(MemoryError, id="MemoryError"),
]


@pytest_asyncio.fixture
async def failing_listener(monkeypatch: pytest.MonkeyPatch) -> type[FailingListener]:
    """Give a listener whose accepts fail, on every loop that can be made to see it."""
    loop = asyncio.get_running_loop()
    if sys.platform == "win32":
        if native(loop):
            pytest.skip("failing AcceptEx calls of our loop are in tests/loops/iocp/test_accepting.py")
        real = loop.sock_accept

        async def sock_accept(sock: socket.socket) -> Any:
            if isinstance(sock, FailingListener):
                sock.follow_plan()
            return await real(sock)

        monkeypatch.setattr(loop, "sock_accept", sock_accept)
    return FailingListener


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pause for half the usual time; what the pauses are is in tests/sockets/test_accept_policy.py."""
    monkeypatch.setattr("proactor_echo.sockets.accept_errors.FIRST_PAUSE", 0.05)


def said(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.name == "proactor_echo.net" and r.levelno == level]


@pytest.mark.parametrize(
    "error",
    [
        *ERRORS,
        *SHORTAGES,
        pytest.param(lambda: NumberedError(4711, "Nobody knows"), id="4711"),
        pytest.param(lambda: RuntimeError("from a loop of another kind"), id="RuntimeError"),
        pytest.param(lambda: OddError("what nobody expects"), id="BaseException"),
    ],
)
async def test_a_failed_accept_is_survived(failing_listener: type[FailingListener], error: Any) -> None:
    listener = failing_listener(error() for _ in range(2))
    async with await pe.serve_tcp(pe.echo, sockets=[listener], accepts=1) as server:
        assert await echoes(server.addresses[0])
        assert listener.failures == 2
        assert server.stats.accept_errors == 2
        assert server.stats.accepted == 1


@pytest.fixture
def endless_pauses(short_pauses: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a pause of accepting longer than any test has time."""
    for name in ("FIRST_PAUSE", "LONGEST_PAUSE"):
        monkeypatch.setattr(f"proactor_echo.sockets.accept_errors.{name}", 3600.0)


@pytest.mark.usefixtures("endless_pauses")
@pytest.mark.parametrize("error", ERRORS)
async def test_a_connection_that_died_in_the_backlog_costs_no_pause(
    failing_listener: type[FailingListener], caplog: pytest.LogCaptureFixture, error: Any
) -> None:
    listener = failing_listener(error() for _ in range(10))
    async with await pe.serve_tcp(pe.echo, sockets=[listener], accepts=1) as server, asyncio.timeout(20):
        assert await echoes(server.addresses[0])
    assert said(caplog, logging.WARNING) == []


async def test_running_out_of_something_is_logged_once_and_not_once_a_try(
    failing_listener: type[FailingListener], caplog: pytest.LogCaptureFixture
) -> None:
    listener = failing_listener(OSError(errno.EMFILE, "Too many open files") for _ in range(3))
    async with await pe.serve_tcp(pe.echo, sockets=[listener], accepts=1) as server:
        start = asyncio.get_running_loop().time()
        assert await echoes(server.addresses[0])
        assert asyncio.get_running_loop().time() - start > 0.2
    assert listener.failures == 3
    (line,) = said(caplog, logging.WARNING)
    assert line.startswith(f"accepting on 127.0.0.1:{server.addresses[0][1]} is paused")


async def test_a_shortage_that_comes_and_goes_is_still_logged_once(
    failing_listener: type[FailingListener], caplog: pytest.LogCaptureFixture
) -> None:
    short = OSError(errno.EMFILE, "Too many open files")
    listener = failing_listener([short, None] * 5)
    async with await pe.serve_tcp(pe.echo, sockets=[listener], accepts=1) as server:
        for _ in range(8):
            assert await echoes(server.addresses[0])
        assert server.stats.accept_errors == 5
    assert len(said(caplog, logging.WARNING)) == 1


@pytest.mark.parametrize("name", ["EBADF", "ENOTSOCK", "EINVAL", "EOPNOTSUPP"])
async def test_a_listener_that_is_wrong_is_tried_after_ever_longer_pauses(
    failing_listener: type[FailingListener], caplog: pytest.LogCaptureFixture, name: str
) -> None:
    listener = failing_listener(itertools.repeat(OSError(getattr(errno, name), name)))
    async with await pe.serve_tcp(pe.echo, sockets=[listener], accepts=1) as server:
        with socket.socket() as client:
            client.setblocking(False)
            client.connect_ex(server.addresses[0])  # a readiness loop accepts when somebody waits
            start = asyncio.get_running_loop().time()
            await eventually(lambda: listener.failures >= 3)
            assert listener.failures == 3
            assert asyncio.get_running_loop().time() - start > 0.11  # 0.05 and 0.1, less two ticks of Windows' clock
    assert len(said(caplog, logging.WARNING)) == 1


async def test_a_connection_whose_serving_cannot_begin_takes_no_place(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from proactor_echo.net.tcp.served import ServedConnection

    start, failures = ServedConnection.start, iter([MemoryError("injected"), OddError("injected")])

    def failing_start(self: ServedConnection) -> None:
        for error in failures:
            raise error
        start(self)

    monkeypatch.setattr(ServedConnection, "start", failing_start)
    async with await pe.serve_tcp(pe.echo, max_connections=1, accepts=1) as server:
        for _ in range(2):
            async with await RawClient.connect(server.addresses[0]) as client:
                assert await client.receive_all() == b""
        assert await echoes(server.addresses[0])
    assert len([line for line in said(caplog, logging.ERROR) if "could not begin" in line]) == 2


@pytest.mark.usefixtures("endless_pauses")
async def test_a_server_closes_while_accepting_is_paused(failing_listener: type[FailingListener]) -> None:
    listener = failing_listener(itertools.repeat(OSError(errno.EMFILE, "Too many open files")))
    server = await pe.serve_tcp(pe.echo, sockets=[listener])
    with socket.socket() as client:
        client.setblocking(False)
        client.connect_ex(server.addresses[0])  # a readiness loop accepts when somebody waits
        await eventually(lambda: server.stats.accept_errors)
        async with asyncio.timeout(20):
            await server.close()


async def test_nothing_of_asyncio_is_heard_when_accepts_fail(
    failing_listener: type[FailingListener], caplog: pytest.LogCaptureFixture
) -> None:
    """The stock loop says "Accept failed on a socket" and "Task exception was never retrieved"."""
    listener = failing_listener([OSError(errno.EMFILE, "Too many open files"), ConnectionAbortedError()] * 3)
    async with await pe.serve_tcp(pe.echo, sockets=[listener]) as server:
        assert await echoes(server.addresses[0])
    assert [r.getMessage() for r in caplog.records if r.name == "asyncio" and r.levelno >= logging.WARNING] == []


async def connect_send_reset(address: tuple[Any, ...]) -> None:
    client = await RawClient.connect(address)
    try:
        await client.send(b"x")
    finally:
        client.reset()


async def test_3000_clients_that_connect_send_a_byte_and_reset_cost_an_honest_one_nothing() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await RawClient.connect(server.addresses[0]) as honest:
        for turn in range(60):
            resets = [asyncio.create_task(connect_send_reset(server.addresses[0])) for _ in range(50)]
            message = b"turn %6d" % turn
            await honest.send(message)
            assert await honest.receive_exactly(len(message)) == message
            await asyncio.gather(*resets)
        assert await echoes(server.addresses[0])
        # Those that died before they were accepted count as errors of accepting.
        await eventually(lambda: server.stats.accepted + server.stats.accept_errors == 3002)
        await eventually(lambda: server.stats.open == 1)
        stats = server.stats
        assert stats.accepted == 1 + stats.refused + sum(stats.disconnects.values())
        assert stats.failed == 0


#: A stock echo server whose clients send a byte and reset until one is refused; it prints how many were not.
STOCK = """
import asyncio, logging, socket, struct, sys

class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)

async def main():
    logging.basicConfig(stream=sys.stdout, format="%(message)s")
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    for count in range(1000):
        try:
            with socket.create_connection(server.sockets[0].getsockname(), 5) as client:
                client.send(b"x")
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("hh", 1, 0))
        except (OSError, IndexError):
            break
        if count % 10 == 9:
            await asyncio.sleep(0.001)
    print("served", count)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform != "win32", reason="the stock proactor loop is there on Windows only")
def test_the_stock_create_server_is_soon_dead_of_such_clients() -> None:
    """gh-93821. When this fails, CPython has fixed it. In a process of its own, for it leaks sockets and tasks, too."""
    run = subprocess.run(
        [sys.executable, "-c", STOCK], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=True
    )
    assert "Accept failed on a socket" in run.stdout
    served = re.search(r"^served (\d+)", run.stdout, re.MULTILINE)
    assert served is not None
    assert int(served[1]) < 999
