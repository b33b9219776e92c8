"""When a datagram leaves, and what becomes of those that do not: the same on both loops."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from helpers.datagrams import Endpoint, Full, bind, close
from helpers.recording import Bench

from proactor_echo.loops import private


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    """A plain socket that receives without the loop's help."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.settimeout(5)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        yield sock


@pytest.fixture
def each(each: Bench) -> Bench:
    """The stock loop too, but not the proactor: that one leaves a datagram to the kernel, and loses it in an abort."""
    if each.factory is private.StockLoop and private.WINDOWS:
        pytest.skip("the stock proactor loop promises nothing of this")
    return each


@pytest.mark.parametrize("connected", [True, False])
def test_datagrams_have_left_when_sendto_returns(each: Bench, receiver: socket.socket, connected: bool) -> None:
    address = receiver.getsockname()

    async def main() -> None:
        sender = await bind(remote_addr=address) if connected else await bind()
        for data in (b"one", b"two", b"three"):
            sender.transport.sendto(data, None if connected else address)
            assert receiver.recv(100) == data  # blocks: the loop does not run meanwhile
        await close(sender)

    each.run(main())


def test_datagrams_have_left_although_the_transport_is_aborted_at_once(each: Bench, receiver: socket.socket) -> None:
    async def main() -> None:
        sender = await bind()
        sender.transport.sendto(b"last", receiver.getsockname())
        sender.transport.sendto(b"words", receiver.getsockname())
        sender.transport.abort()
        assert await sender.lost is None
        assert [receiver.recv(100), receiver.recv(100)] == [b"last", b"words"]

    each.run(main())


def test_an_answer_has_left_although_the_protocol_goes_on_computing(each: Bench, receiver: socket.socket) -> None:
    heard: list[bytes] = []

    class Busy(Endpoint):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)
            heard.append(receiver.recv(100))  # as long as this takes, nothing else happens in the loop
            super().datagram_received(data, addr)

    async def main() -> None:
        server = await bind(Busy)
        for data in (b"one", b"two", b"three"):  # they arrive together
            receiver.sendto(data, server.address)
        for _ in range(3):
            await server.received.get()
        await close(server)

    each.run(main())
    assert heard == [b"one", b"two", b"three"]


def test_a_batch_has_left_when_sendto_many_returns(ours: Bench, receiver: socket.socket) -> None:
    datas = [bytes([number]) * 100 for number in range(100)]

    async def main() -> None:
        sender = await bind()
        sender.transport.sendto_many([(data, receiver.getsockname()) for data in datas])
        assert [receiver.recv(200) for _ in datas] == datas
        await close(sender)

    ours.run(main())


def test_an_error_of_a_datagram_is_reported_before_sendto_returns(each: Bench, receiver: socket.socket) -> None:
    async def main() -> None:
        sender = await bind()
        sender.transport.sendto(b"x" * 70_000, receiver.getsockname())
        assert isinstance(sender.errors.get_nowait(), OSError)
        sender.transport.sendto(b"after", receiver.getsockname())
        assert receiver.recv(100) == b"after"
        await close(sender)

    each.run(main())


def test_what_an_error_makes_the_protocol_send_leaves_after_the_rest_of_the_batch(
    ours: Bench, receiver: socket.socket
) -> None:
    class Answering(Endpoint):
        def error_received(self, exc: Exception) -> None:
            self.transport.sendto(b"failed", receiver.getsockname())

    async def main() -> None:
        sender = await bind(Answering)
        address = receiver.getsockname()
        sender.transport.sendto_many([(b"one", address), (b"x" * 70_000, address), (b"two", address)])
        assert [receiver.recv(100) for _ in range(3)] == [b"one", b"two", b"failed"]
        await close(sender)

    ours.run(main())


@pytest.mark.parametrize("many", [False, True])
def test_an_endpoint_that_is_aborted_by_its_own_error_ends_once(ours: Bench, many: bool) -> None:
    class Giving(Endpoint):
        def error_received(self, exc: Exception) -> None:
            self.transport.abort()

    async def main() -> None:
        sender = await bind(Giving)
        datagrams = [(b"x" * 70_000, ("127.0.0.1", 9)), (b"more", ("127.0.0.1", 9))]
        if many:
            sender.transport.sendto_many(datagrams)
        else:
            for datagram in datagrams:
                sender.transport.sendto(*datagram)
        assert await sender.lost is None
        assert sender.transport.get_write_buffer_size() == 0

    ours.run(main())
    assert ours.errors == []


@pytest.mark.skipif(sys.platform == "win32", reason="there the kernel has the datagram and waits for room itself")
def test_datagrams_wait_for_a_writable_socket_and_leave_in_order(ours: Bench, receiver: socket.socket) -> None:
    async def main() -> None:
        sender = await bind()
        transport, address = sender.transport, receiver.getsockname()
        transport._sock = full = Full(transport._sock)
        transport._batch = None  # it would not ask that socket
        transport.set_write_buffer_limits(high=10)
        transport.sendto(b"one", address)
        assert transport.get_write_buffer_size() == 3 + 8
        assert sender.calls == ["pause"]
        transport.sendto_many([(b"two", address), (b"three", address)])
        transport.sendto(b"four", address)
        assert sender.calls == ["pause"]
        full.writable = True
        while transport.get_write_buffer_size():
            await asyncio.sleep(0)
        assert sender.calls == ["pause", "resume"]
        assert [receiver.recv(100) for _ in range(4)] == [b"one", b"two", b"three", b"four"]
        await close(sender)

    ours.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="there receives are always with the kernel")
def test_an_icmp_error_does_not_cost_the_datagram_that_waits(ours: Bench) -> None:
    """An error that is pending comes from whichever call is next; receiving must be that call, and not sending."""

    async def main() -> None:
        gone = await bind()
        await close(gone)
        sender = await bind(remote_addr=gone.address)
        sender.transport._sock = full = Full(sender.transport._sock)
        sender.transport.sendto(b"waits")
        full.sock.send(b"anybody?")  # answered by ICMP: the error is pending when this returns
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
            back.bind(gone.address)
            back.settimeout(5)
            full.writable = True
            while sender.transport.get_write_buffer_size():
                await asyncio.sleep(0)
            assert back.recv(100) == b"waits"
        assert isinstance(await sender.errors.get(), ConnectionRefusedError)
        assert sender.errors.empty()
        await close(sender)

    ours.run(main())


@pytest.mark.parametrize("call", ["close", "abort", "sendto"])
def test_after_the_end_of_the_loop_a_transport_says_what_asyncio_says(
    each: Bench, call: str, receiver: socket.socket
) -> None:
    loop = each.factory()
    endpoint = loop.run_until_complete(bind())
    sock = endpoint.transport._sock
    loop.close()
    try:
        if call == "sendto":
            endpoint.transport.sendto(b"late", receiver.getsockname())
        else:
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                getattr(endpoint.transport, call)()
    finally:
        endpoint.transport._sock = None
        sock.close()
