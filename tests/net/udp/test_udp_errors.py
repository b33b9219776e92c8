"""UDP and what the network says back: it costs a line in the statistics, and nothing else.

Windows reports a datagram that nobody listened for as an error of a later receive, in four ways. Wine does not, for an
unconnected socket, so those errors are put in at the loop's own call, and everything else is real.
"""

import asyncio
import errno
import logging
import select
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from helpers.network import closed_udp_port
from helpers.peers import WINE, eventually, iterations, soon

import proactor_echo as pe


async def exchange(endpoint: pe.UdpEndpoint, address: Any, text: bytes) -> None:
    await endpoint.send(text, address)
    assert await soon(endpoint) == (text, address)


@pytest.mark.parametrize("connected", [False, True], ids=["bound", "connected"])
async def test_a_peer_that_vanishes_and_comes_back_is_heard_again(connected: bool) -> None:
    if connected and WINE:
        pytest.skip("Wine leaves a receive pending for ever that was posted after an ICMP error")
    server = await pe.serve_udp(pe.EchoDatagramProtocol)
    address = server.addresses[0]
    async with await (pe.connect_udp(*address) if connected else pe.bind_udp()) as endpoint:
        await exchange(endpoint, address, b"first")
        await server.close()
        for _ in range(20):
            await endpoint.send(b"anybody there?", address)
            await iterations(3)
        if connected and sys.platform == "linux":
            await eventually(lambda: endpoint.stats.unreachable)
        async with await pe.serve_udp(pe.EchoDatagramProtocol, *address):
            await exchange(endpoint, address, b"back again")
        assert endpoint.stats.errors == 0
        assert endpoint.stats.datagrams_out == 22


@pytest.mark.skipif(sys.platform == "win32", reason="a completion loop is not told that a socket is readable")
@pytest.mark.stock_loop(because="the transport of our loop asks no loop for an add_reader")
async def test_a_loop_that_forgets_a_socket_after_an_error_is_reminded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As libuv does, and so uvloop: the callback is called for the error, and then never again."""
    loop = asyncio.get_running_loop()
    add, remove = loop.add_reader, loop.remove_reader
    calls = 0

    def add_reader(sock: socket.socket, callback: Callable[[], None]) -> None:
        nonlocal calls
        calls += 1

        def events() -> None:
            failed, before = has_error(sock), calls
            callback()
            if failed and calls == before:
                remove(sock)

        add(sock, events)

    monkeypatch.setattr(loop, "add_reader", add_reader)
    server = await pe.bind_udp()
    async with await pe.connect_udp(*server.address) as endpoint:
        await server.close()
        await endpoint.send(b"anybody there?")
        await eventually(lambda: endpoint.stats.unreachable)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(server.address)
            late.sendto(b"yes", endpoint.address)
            assert (await soon(endpoint))[0] == b"yes"


def has_error(sock: socket.socket) -> bool:
    """Whether poll() says POLLERR, which does not use the error up."""
    if sys.platform == "win32":
        pytest.skip("Windows has no poll()")
    poll = select.poll()
    poll.register(sock, 0)
    return bool(poll.poll(0))


async def test_a_peer_that_is_not_there_disturbs_no_other() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.bind_udp() as endpoint:
        nobody = ("127.0.0.1", closed_udp_port())
        for number in range(100):
            await endpoint.send(b"anybody there?", nobody)
            await exchange(endpoint, server.addresses[0], bytes([number]))


async def test_every_send_to_a_peer_that_is_not_there_goes_out() -> None:
    """An error about an earlier datagram comes with a later send, and must not cost that one."""
    port = closed_udp_port()
    async with await pe.connect_udp("127.0.0.1", port) as endpoint:
        for _ in range(10):
            await endpoint.send(b"lost")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as late:
            late.bind(("127.0.0.1", port))
            late.settimeout(5)
            await endpoint.send(b"the first one somebody listens for")
            assert late.recv(100) == b"the first one somebody listens for"
        assert endpoint.stats.datagrams_out == 11


@pytest.mark.skipif(
    sys.platform != "linux", reason="what a refused route is differs; Linux forbids broadcast by EACCES"
)
async def test_a_send_that_the_system_refuses_is_an_error_of_that_send() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.bind_udp() as endpoint:
        for _ in range(3):
            with pytest.raises(PermissionError):
                await endpoint.send(b"x", ("255.255.255.255", 9))
        assert endpoint.stats.datagrams_out == 0
        await exchange(endpoint, server.addresses[0], b"and on")


async def test_an_answer_that_cannot_be_sent_is_counted_and_costs_nothing_else(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Confused(pe.EchoDatagramProtocol):
        def handle(self, data: bytes, addr: Any) -> None:
            self.send(data, ("255.255.255.255", 9) if data == b"bad" else addr)

    async with await pe.serve_udp(Confused) as server, await pe.bind_udp() as endpoint:
        for _ in range(3):
            await endpoint.send(b"bad", server.addresses[0])
        await exchange(endpoint, server.addresses[0], b"good")
        stats = server.stats
        assert stats.errors + stats.unreachable == 3
        events = [record for record in caplog.records if "not delivered" in record.getMessage()]
        assert [record.levelno for record in events] == [logging.INFO, logging.DEBUG, logging.DEBUG]


def windows_error(number: int) -> OSError:
    if sys.platform == "win32":
        return OSError(None, "", None, number)
    return OSError(number, "")


def inject(monkeypatch: pytest.MonkeyPatch, answers: list[Any]) -> Callable[[], int]:
    """Let the loop's receive give these answers first; return how often it was called."""
    loop = asyncio.get_running_loop()
    real = loop.sock_recvfrom_into
    calls = 0

    async def sock_recvfrom_into(sock: socket.socket, buffer: Any, nbytes: int = 0) -> Any:
        nonlocal calls
        calls += 1
        if not answers:
            return await real(sock, buffer, nbytes)
        answer = answers.pop()
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(loop, "sock_recvfrom_into", sock_recvfrom_into)
    return lambda: calls


FOR_EVER = OSError(errno.EIO, "the adapter is gone")
completion_loop = pytest.mark.skipif(sys.platform != "win32", reason="only a completion loop is asked to receive")


@completion_loop
@pytest.mark.stock_loop(ours="tests/loops/iocp/test_datagrams.py::test_an_endpoint_hears_after_a_receive_failed")
@pytest.mark.parametrize(
    ("answer", "counted"),
    [
        (windows_error(10054), "unreachable"),
        (windows_error(1234), "unreachable"),
        (windows_error(10052), "unreachable"),
        (ConnectionResetError(0, "", None, 64), "unreachable"),
        ((0, None), "unreachable"),
        (windows_error(10055), "errors"),
    ],
    ids=["10054", "1234", "10052", "64", "swallowed", "10055"],
)
async def test_an_error_of_a_receive_is_counted_once_and_receiving_goes_on(
    answer: Any, counted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inject(monkeypatch, [answer] * 5)
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.bind_udp() as endpoint:
        await exchange(endpoint, server.addresses[0], b"still heard")
        assert server.stats.unreachable + server.stats.errors + getattr(endpoint.stats, counted) == 5
        assert getattr(server.stats, counted) + getattr(endpoint.stats, counted) == 5


async def while_spinning() -> float:
    """Give a socket many chances to be read; return how often it may be in that time: 64 times, then every 0.1 s."""
    loop = asyncio.get_running_loop()
    started = loop.time()
    await iterations(1000)
    return 64 * (2 + (loop.time() - started) / 0.1)


@completion_loop
@pytest.mark.stock_loop(
    ours="tests/loops/iocp/test_datagrams.py::test_a_socket_that_only_fails_does_not_keep_the_loop_busy"
)
@pytest.mark.parametrize("answer", [FOR_EVER, (0, None)], ids=["error", "swallowed"])
async def test_a_broken_socket_does_not_spin_on_a_completion_loop(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = inject(monkeypatch, [answer] * 100_000)
    async with await pe.bind_udp():
        allowed = await while_spinning()
        assert 0 < calls() <= allowed


class Broken(socket.socket):
    """Readable, and fails to be read."""

    reads = 0

    def recvfrom_into(self, *args: Any) -> Any:
        Broken.reads += 1
        raise FOR_EVER

    recvfrom = recvfrom_into


@pytest.mark.skipif(sys.platform == "win32", reason="a completion loop is not told that a socket is readable")
async def test_a_broken_socket_does_not_spin_on_a_readiness_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("proactor_echo.loops.readiness.datagram._is_udp", lambda sock: False)  # so, one by one
    sock = Broken(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.sendto(b"never read", sock.getsockname())
    Broken.reads = 0
    async with await pe.bind_udp(sockets=[sock]) as endpoint:
        await eventually(lambda: Broken.reads)
        allowed = await while_spinning()
        assert Broken.reads <= allowed
        assert endpoint.stats.errors == Broken.reads


@pytest.mark.skipif(sys.platform != "win32", reason="elsewhere it is the loop of every other test")
def test_datagrams_on_the_stock_selector_loop_of_windows() -> None:
    async def main() -> None:
        async with await pe.serve_udp(pe.EchoDatagramProtocol) as server, await pe.bind_udp() as endpoint:
            for size in (0, 1, 1472, 65507):
                await exchange(endpoint, server.addresses[0], bytes(size))

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        runner.run(main())


@pytest.mark.stock_loop(  # to whom the loop's exception handler is told, as by asyncio's transports
    ours="tests/loops/test_datagram_faults.py::test_a_callback_that_raises_is_reported_and_costs_an_endpoint_at_most"
)
@pytest.mark.parametrize("where", ["handle", "error_received", "connection_made", "connection_lost"])
@pytest.mark.parametrize("mistake", [ZeroDivisionError, asyncio.CancelledError])
async def test_an_exception_in_a_protocol_costs_one_record_and_nothing_else(
    where: str, mistake: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    error = mistake("made on purpose")

    class Failing(pe.EchoDatagramProtocol):
        def _fail(self, here: str) -> None:
            if here == where:
                raise error

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self._fail("connection_made")

        def handle(self, data: bytes, addr: Any) -> None:
            super().handle(data, addr)
            if data == b"bad":
                self._transport.sendto(b"", ("255.255.255.255", 9))
                self._fail("handle")

        def error_received(self, exc: Exception) -> None:
            super().error_received(exc)
            self._fail("error_received")

        def connection_lost(self, exc: Exception | None) -> None:
            self._fail("connection_lost")

    async with await pe.serve_udp(Failing) as server, await pe.bind_udp() as endpoint:
        await endpoint.send(b"bad", server.addresses[0])
        await soon(endpoint)
        await exchange(endpoint, server.addresses[0], b"good")
    loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(loud) == 1
    assert loud[0].exc_info is not None
    assert loud[0].exc_info[1] is error
    assert loud[0].name.startswith("proactor_echo")


async def test_a_handler_works_in_a_stock_endpoint_too() -> None:
    loop = asyncio.get_running_loop()
    transport, protocol = await loop.create_datagram_endpoint(pe.EchoDatagramProtocol, local_addr=("127.0.0.1", 0))
    async with await pe.connect_udp(*transport.get_extra_info("sockname")) as endpoint:
        await endpoint.send(b"x")
        assert (await soon(endpoint))[0] == b"x"
        with pytest.raises(pe.DatagramTooLong):
            protocol.send(bytes(65508), endpoint.address)
        transport.close()
        protocol.send(b"too late", endpoint.address)
        assert protocol.stats == pe.DatagramStats(1, 1, 1, 1, dropped=1)
