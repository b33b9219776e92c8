"""What a datagram transport of ours promises beyond what check_transport asks of every loop."""

from __future__ import annotations

import asyncio
import socket
import sys
from typing import Any

import pytest
from helpers.datagrams import EchoEndpoint, Endpoint, bind, close
from helpers.peers import WINE
from helpers.recording import Bench

from proactor_echo import loops
from proactor_echo.loops import private


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_every_size_is_echoed_once_in_order(ours: Bench, host: str) -> None:
    sizes = [0, 1, 0, 1472, 65507, 9000, 2]

    async def main() -> None:
        server, client = await bind(EchoEndpoint, host), await bind(host=host)
        for size in sizes:
            client.transport.sendto(b"d" * size, server.address)
        for size in sizes:
            data, addr = await client.received.get()
            assert (len(data), addr) == (size, server.address)
            assert type(data) is bytes
        assert client.received.empty()
        await close(server, client)

    ours.run(main())


def test_a_connected_endpoint_needs_no_address(ours: Bench) -> None:
    async def main() -> None:
        server = await bind(EchoEndpoint)
        client = await bind(remote_addr=server.address)
        for i in range(100):
            client.transport.sendto(b"%d" % i)
        assert [(await client.received.get())[0] for _ in range(100)] == [b"%d" % i for i in range(100)]
        with pytest.raises(ValueError, match="Invalid address"):
            client.transport.sendto(b"x", ("127.0.0.1", 1))
        await close(server, client)

    ours.run(main())


def test_one_burst_reaches_many_addresses(ours: Bench) -> None:
    async def main() -> None:
        sender = await bind()
        receivers = [await bind() for _ in range(20)]
        for round_ in range(5):
            for receiver in receivers:
                sender.transport.sendto(b"%d" % round_, receiver.address)
        for receiver in receivers:
            assert [await receiver.received.get() for _ in range(5)] == [(b"%d" % i, sender.address) for i in range(5)]
        await close(sender, *receivers)

    ours.run(main())


def test_a_host_name_is_resolved_as_the_socket_module_does(ours: Bench) -> None:
    async def main() -> None:
        server, client = await bind(EchoEndpoint), await bind()
        for host in ("localhost", "127.0.0.1", "localhost"):
            client.transport.sendto(host.encode(), (host, server.address[1]))
        assert [(await client.received.get())[0] for _ in range(3)] == [b"localhost", b"127.0.0.1", b"localhost"]
        await close(server, client)

    ours.run(main())


@pytest.mark.skipif(WINE, reason="after an ICMP error Wine completes no other receive that is pending")
def test_a_vanished_peer_is_an_error_and_the_endpoint_goes_on(ours: Bench) -> None:
    async def main() -> None:
        server = await bind(EchoEndpoint)
        gone = await bind()
        address = gone.address
        await close(gone)
        client = await bind(remote_addr=address)
        client.transport.sendto(b"anybody?")
        assert isinstance(await client.errors.get(), ConnectionError)
        back = await bind(EchoEndpoint, local_addr=address)
        client.transport.sendto(b"again")
        while client.received.empty():  # an error of the first may take one datagram with it
            client.transport.sendto(b"again")
            await asyncio.sleep(0.01)
        assert (await client.received.get())[0] == b"again"
        await close(server, client, back)

    ours.run(main())


def test_an_error_of_one_datagram_does_not_stop_the_next(ours: Bench) -> None:
    async def main() -> None:
        server, client = await bind(EchoEndpoint), await bind()
        client.transport.sendto(b"before", server.address)
        client.transport.sendto(b"x" * 70_000, server.address)
        client.transport.sendto(b"after", server.address)
        assert isinstance(await client.errors.get(), OSError)
        assert {(await client.received.get())[0] for _ in range(2)} == {b"before", b"after"}
        assert client.transport.get_write_buffer_size() == 0
        await close(server, client)

    ours.run(main())


def test_flow_control_counts_exactly(ours: Bench) -> None:
    async def main() -> list[str]:
        receiver, sender = await bind(), await bind()
        sender.transport.set_write_buffer_limits(high=20_000)
        for _ in range(200):
            for i in range(10):
                sender.transport.sendto(bytes(i * 100), receiver.address)
            await asyncio.sleep(0)
        await close(sender)
        assert sender.transport.get_write_buffer_size() == 0
        await close(receiver)
        calls: list[str] = sender.calls
        return calls

    calls = ours.run(main())
    assert calls.count("pause") == calls.count("resume")


def test_reading_can_be_paused(ours: Bench) -> None:
    class OneAtATime(Endpoint):
        def datagram_received(self, data: bytes, addr: Any) -> None:
            super().datagram_received(data, addr)
            self.transport.pause_reading()

    async def main() -> None:
        receiver, sender = await bind(OneAtATime), await bind()
        for i in range(10):
            sender.transport.sendto(b"%d" % i, receiver.address)
        for i in range(10):
            assert (await receiver.received.get())[0] == b"%d" % i
            assert receiver.received.empty()
            assert not receiver.transport.is_reading()
            receiver.transport.resume_reading()
        await close(receiver, sender)

    ours.run(main())


def test_abort_ends_at_once(ours: Bench) -> None:
    async def main() -> None:
        endpoint = await bind()
        endpoint.transport.sendto(b"lost", endpoint.address)
        endpoint.transport.abort()
        assert await endpoint.lost is None
        endpoint.transport.abort()
        endpoint.transport.sendto(b"ignored", ("127.0.0.1", 9))

    ours.run(main())


def test_unix_datagrams_work_too(ours: Bench, tmp_path: Any) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no Unix datagram sockets")
    unix = socket.AF_UNIX

    async def main() -> None:
        server = await bind(EchoEndpoint, local_addr=str(tmp_path / "server"), family=unix)
        client = await bind(local_addr=str(tmp_path / "client"), family=unix)
        for size in (0, 10, 100_000):
            client.transport.sendto(b"u" * size, str(tmp_path / "server"))
            data, addr = await client.received.get()
            assert (len(data), addr) == (size, str(tmp_path / "server"))
        await close(server, client)

    ours.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="recvmmsg is Linux's")
def test_plain_calls_do_what_batches_do(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    from proactor_echo.loops.readiness import mmsg

    monkeypatch.setattr(mmsg, "new_batch", lambda: None)
    test_every_size_is_echoed_once_in_order(ours, "127.0.0.1")
    test_an_error_of_one_datagram_does_not_stop_the_next(ours)
    test_a_vanished_peer_is_an_error_and_the_endpoint_goes_on(ours)


def test_an_empty_datagram_is_a_datagram_unlike_on_the_stock_loops(each: Bench) -> None:
    """asyncio does not send it before 3.13 (some release of 3.12 changed that); its proactor loop delivers none."""
    is_ours = each.factory is loops.new_event_loop

    async def main() -> bytes:
        receiver, sender = await bind(), await bind()
        sender.transport.sendto(b"", receiver.address)
        sender.transport.sendto(b"full", receiver.address)
        data, _ = await receiver.received.get()
        await close(receiver, sender)
        result: bytes = data
        return result

    first = each.run(main())
    if is_ours or (not private.WINDOWS and sys.version_info >= (3, 13)):
        assert first == b""
    elif sys.version_info < ((3, 15) if private.WINDOWS else (3, 12)):
        assert first == b"full"


class Together(Endpoint):
    """Takes batches, and sends each back in one call."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[Any] = []

    def datagrams_received(self, datagrams: Any) -> None:
        self.batches.append(datagrams)
        if datagrams[0][0] == b"fail":
            raise ValueError("on purpose")
        self.transport.sendto_many(datagrams)


def test_a_protocol_that_takes_batches_is_given_no_datagram_by_itself(ours: Bench) -> None:
    async def main() -> None:
        server, client = await bind(Together), await bind()
        sent = [b"%d" % i for i in range(40)]
        for data in sent:
            client.transport.sendto(data, server.address)
        back = [(await client.received.get())[0] for _ in sent]
        assert back == sent
        assert server.received.empty()
        assert [data for batch in server.batches for data, _ in batch] == sent
        await close(server, client)

    ours.run(main())


def test_a_batch_that_fails_costs_that_batch(ours: Bench) -> None:
    async def main() -> None:
        server, client = await bind(Together), await bind()
        client.transport.sendto(b"fail", server.address)
        await client_waits_for(server.batches)
        client.transport.sendto(b"well", server.address)
        assert (await client.received.get())[0] == b"well"
        await close(server, client)

    ours.run(main())
    assert [str(error["exception"]) for error in ours.errors] == ["on purpose"]


async def client_waits_for(something: list[Any]) -> None:
    while not something:
        await asyncio.sleep(0)


def test_a_batch_over_the_high_water_mark_pauses_the_protocol_once_and_is_sent_whole(ours: Bench) -> None:
    async def main() -> None:
        sender, receiver = await bind(), await bind()
        receiver.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        sender.transport.set_write_buffer_limits(high=2000, low=100)
        datas = [bytes([i]) * 100 for i in range(40)]
        sender.transport.sendto_many([(data, receiver.address) for data in datas])
        assert [(await receiver.received.get())[0] for _ in datas] == datas
        assert sender.transport.get_write_buffer_size() == 0
        assert sender.calls in ([], ["pause", "resume"])
        await close(sender, receiver)

    ours.run(main())


def test_after_closing_a_batch_is_dropped_like_single_datagrams(ours: Bench) -> None:
    async def main() -> None:
        sender, receiver = await bind(), await bind()
        sender.transport.close()
        sender.transport.sendto_many([(b"late", receiver.address)])
        assert sender.transport.get_write_buffer_size() == 0
        await close(sender, receiver)

    ours.run(main())
