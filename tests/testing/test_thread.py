"""Servers in a background thread, for tests that block."""

import asyncio
import socket
import threading

import pytest
from helpers.peers import WINE_VERSION
from helpers.suites import Run

import proactor_echo as pe
from proactor_echo.testing import ServerThreadFactory, TcpServerThread, UdpServerThread
from proactor_echo.testing.faults import Corrupt, Latency, Loss, Refuse, Reset, Silent
from proactor_echo.testing.thread import LoopThread


def echoed(address: tuple[str, int], data: bytes) -> bytes:
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return sock.makefile("rb").read()


def test_a_blocking_client_is_echoed(echo_server_thread: TcpServerThread) -> None:
    assert echo_server_thread.address == (echo_server_thread.host, echo_server_thread.port)
    assert echoed(echo_server_thread.address, b"hello") == b"hello"
    assert echo_server_thread.received == echo_server_thread.sent == b"hello"
    assert echo_server_thread.stats.accepted == 1


def test_datagrams_too(udp_echo_server_thread: UdpServerThread) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.settimeout(10)
        sock.connect(udp_echo_server_thread.address)
        with udp_echo_server_thread.fault(Loss(towards="server")) as loss:
            sock.send(b"lost")
            sock.send(b"lost too")
            udp_echo_server_thread.wait_for(lambda server: loss.hits == 2)
        sock.send(b"hello")
        assert sock.recv(100) == b"hello"
    assert udp_echo_server_thread.received == udp_echo_server_thread.sent == [b"hello"]
    assert udp_echo_server_thread.stats.datagrams_in == 1


def test_faults_come_and_go(echo_server_thread: TcpServerThread) -> None:
    with echo_server_thread.fault(Corrupt(1.0, seed=1)) as corrupt:
        assert echoed(echo_server_thread.address, b"hello") != b"hello"
        assert (corrupt.hits, corrupt.seed, corrupt.fault) == (1, 1, Corrupt(1.0, seed=1))
    with echo_server_thread.fault(Refuse()), pytest.raises(OSError):
        echoed(echo_server_thread.address, b"hello")
    with (
        echo_server_thread.fault(Reset(1, towards="server")),
        socket.create_connection(echo_server_thread.address, timeout=10) as sock,
    ):
        sock.sendall(b"hello")
        if WINE_VERSION == 8:  # where a blocking receive takes a reset for an end of file
            assert sock.recv(100) == b""
        else:
            with pytest.raises(ConnectionError):
                sock.recv(100)
    assert echoed(echo_server_thread.address, b"hello") == b"hello"


def test_a_client_with_a_timeout_meets_a_silent_server(echo_server_thread: TcpServerThread) -> None:
    with (
        echo_server_thread.fault(Silent()),
        socket.create_connection(echo_server_thread.address, timeout=0.05) as sock,
    ):
        sock.sendall(b"hello")
        with pytest.raises(TimeoutError):
            sock.recv(100)


def test_connections_can_be_looked_at_and_waited_for(echo_server_thread: TcpServerThread) -> None:
    with socket.create_connection(echo_server_thread.address, timeout=10) as sock:
        sock.sendall(b"hello")
        assert sock.recv(5) == b"hello"
        (connection,) = echo_server_thread.connections
        assert connection == (pe.format_address(sock.getsockname()), b"hello", b"hello")
    echo_server_thread.wait_for(lambda server: not server.connections)


def test_the_factory_serves_handlers_proxies_and_datagrams_in_one_thread(
    server_thread_factory: ServerThreadFactory,
) -> None:
    async def shout(conn: pe.Connection) -> None:
        async for line in conn:
            await conn.send(line.upper())

    server = server_thread_factory(shout, codec=pe.LineCodec())
    proxy = server_thread_factory.fault_proxy(server.address)
    server_thread_factory.udp()
    with proxy.fault(Latency(0.01)):
        assert echoed(proxy.address, b"hello\n") == b"HELLO\n"
    assert proxy.received == server.received
    assert sum(thread.name == "proactor_echo servers" for thread in threading.enumerate()) == 1


def test_no_thread_is_left_behind_and_none_is_started_for_nothing(run: Run) -> None:
    result = run(
        """
import threading

def test_uses(echo_server_thread): ...

def test_does_not(server_thread_factory):
    assert [thread.name for thread in threading.enumerate()] == ["MainThread"]
"""
    )
    result.assert_outcomes(passed=2)


def test_an_error_in_the_thread_fails_the_test(run: Run) -> None:
    result = run(
        """
import asyncio, socket

async def broken(conn):
    1 / 0

async def careless(conn):
    asyncio.get_running_loop().call_soon(lambda: [][1])
    await asyncio.sleep(0)

def client(address):
    with socket.create_connection(address) as sock:
        assert sock.recv(10) == b""

def test_handler(server_thread_factory):
    client(server_thread_factory(broken).address)

def test_callback(server_thread_factory):
    client(server_thread_factory(careless).address)
"""
    )
    result.assert_outcomes(passed=2, errors=2)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_handler*", "E *ZeroDivisionError*"])
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_callback*", "E *IndexError*"])


def test_what_is_left_open_is_reported(run: Run) -> None:
    result = run(
        """
import socket

sockets = []

def test_careless(echo_server_thread):
    sockets.append(socket.create_connection(echo_server_thread.address))

def test_next():
    sockets.pop().close()
"""
    )
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*LeftOpenWarning: the test left open: a connection from 127.0.0.1:*"])


def test_the_faults_of_a_failed_test_are_shown(run: Run) -> None:
    result = run(
        """
from proactor_echo.testing.faults import Silent

def test_fails(echo_server_thread):
    with echo_server_thread.fault(Silent(seed=7)):
        assert False
"""
    )
    result.stdout.fnmatch_lines(["*- faults -*", "TcpTestServer 127.0.0.1:*: Silent(seed=7) hits=0"])


def test_a_thread_that_cannot_start_its_loop_says_why() -> None:
    def no_loop() -> asyncio.AbstractEventLoop:
        raise OSError("no more descriptors")

    with pytest.raises(OSError, match="no more descriptors"):
        LoopThread(no_loop)


def test_a_call_into_a_thread_that_has_ended_is_an_error() -> None:
    thread = LoopThread()
    thread.stop()
    thread.stop()  # twice is as good as once
    with pytest.raises(RuntimeError, match="has ended"):
        thread.call(print)
