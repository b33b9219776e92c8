"""A UDP server with a guard, on the wire: what it does not answer, and what it says of that."""

import asyncio
import contextlib
import logging
import shutil
import socket
import struct
import sys
from typing import Any

import pytest
from helpers.peers import eventually, settled

import proactor_echo as pe
from proactor_echo.net import refusal_log
from proactor_echo.net.udp.guard import REPEATS, WINDOW


@pytest.fixture
def client() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        yield sock


async def receive(sock: socket.socket) -> bytes:
    async with asyncio.timeout(20):
        while True:
            try:
                return sock.recv(65536)
            except BlockingIOError:
                await asyncio.sleep(0.001)


async def repeat(client: socket.socket, server: pe.UdpServer) -> None:
    """Send the same as often as is answered, and five times more."""
    for _ in range(REPEATS):
        client.sendto(b"same", server.address)
        assert await receive(client) == b"same"
    for _ in range(5):
        client.sendto(b"same", server.address)


async def test_an_echo_is_guarded_without_being_asked(client: socket.socket) -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        await repeat(client, server)
        await eventually(lambda: server.stats.datagrams_in == REPEATS + 5)
        stats = server.stats
        assert (stats.datagrams_out, stats.guarded) == (REPEATS, {pe.GuardRule.LOOP: 5})


async def test_a_handler_is_guarded_when_asked(client: socket.socket) -> None:
    class Answers(pe.DatagramHandler):
        def handle(self, data: bytes, addr: pe.Address) -> None:
            self.send(data, addr)

    guard = pe.UdpGuard(responders=[client.getsockname()[1]])
    async with await pe.serve_udp(Answers, guard=guard) as server, await pe.serve_udp(Answers) as free:
        client.sendto(b"guarded", server.address)
        client.sendto(b"free", free.address)
        assert await receive(client) == b"free"
        await eventually(lambda: server.stats.guarded == {pe.GuardRule.PORT: 1})
        assert server.stats.datagrams_out == 0


async def test_without_a_guard_everything_is_answered(client: socket.socket) -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol, guard=False) as server:
        for _ in range(50):
            client.sendto(b"same", server.address)
            assert await receive(client) == b"same"


async def test_an_answer_is_never_longer_than_its_question(client: socket.socket) -> None:
    class Doubles(pe.DatagramHandler):
        guard = pe.UdpGuard()

        def handle(self, data: bytes, addr: pe.Address) -> None:
            self.send(data, addr)
            self.send(data, addr)  # which would be twice as much in all
            self.send(b"", addr)

    async with await pe.serve_udp(Doubles) as server:
        client.sendto(b"four", server.address)
        assert [await receive(client), await receive(client)] == [b"four", b""]
        assert server.stats.guarded == {pe.GuardRule.LONGER: 1}


class Beginning(pe.EchoDatagramProtocol):
    """Sends the first datagram of a loop."""

    def begin(self, addr: pe.Address) -> None:
        self.send(b"round and round", addr)


async def test_two_servers_set_on_each_other_by_one_datagram_go_quiet() -> None:
    """What a forged source does, done by the one way that needs no privilege: one server sends the first."""

    made: list[Beginning] = []

    def factory() -> Beginning:
        made.append(Beginning())
        return made[-1]

    async with await pe.serve_udp(factory) as one, await pe.serve_udp(pe.EchoDatagramProtocol) as other:
        made[0].begin(other.address)
        await eventually(lambda: one.stats.guarded or other.stats.guarded)
        assert max(one.stats.datagrams_in, other.stats.datagrams_in) <= REPEATS + 2


@pytest.mark.skipif(sys.platform != "linux", reason="a forged source needs a raw socket of Linux")
async def test_a_datagram_with_a_forged_source_starts_no_loop() -> None:
    try:
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        pytest.skip("only root may forge a source")
    async with (
        await pe.serve_udp(pe.EchoDatagramProtocol) as one,
        await pe.serve_udp(pe.EchoDatagramProtocol) as other,
    ):
        with raw:
            raw.sendto(forged(source=one.port, destination=other.port), ("127.0.0.1", 0))
        await eventually(lambda: one.stats.guarded or other.stats.guarded, within=1.0)
        assert max(one.stats.datagrams_in, other.stats.datagrams_in) <= REPEATS + 2


def forged(source: int, destination: int, data: bytes = b"loop") -> bytes:
    """Return an IPv4 packet from and to 127.0.0.1."""
    here = socket.inet_aton("127.0.0.1")
    header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(data), 1, 0, 64, socket.IPPROTO_UDP, 0, here, here)
    return header + struct.pack("!HHHH", source, destination, 8 + len(data), 0) + data


@pytest.mark.skipif(sys.platform != "linux", reason="Windows has an option, which Wine has not; macOS has nothing")
@pytest.mark.parametrize("kind", ["multicast", "broadcast", "everybody"])
async def test_what_was_sent_to_many_gets_no_answer(kind: str) -> None:
    here = socket.inet_aton("127.0.0.1")
    many = {"multicast": "239.1.2.3", "everybody": "255.255.255.255"}.get(kind) or broadcast_address()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member,
    ):
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if kind == "multicast":
            member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(many) + here)
            client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
        async with (
            await pe.serve_udp(pe.EchoDatagramProtocol, "0.0.0.0") as server,
            await pe.serve_udp(pe.EchoDatagramProtocol, "0.0.0.0", guard=False) as free,
        ):
            try:
                client.sendto(b"many", (many, server.port))
            except OSError as exc:
                pytest.skip(f"no route to {many}: {exc.strerror}")
            client.sendto(b"one", ("127.0.0.1", server.port))
            assert await receive(client) == b"one"
            assert server.stats.datagrams_in == 1
            client.sendto(b"many", (many, free.port))
            assert await receive(client) == b"many"


def broadcast_address() -> str:
    """Return the broadcast address of one of this machine's interfaces; a test without one is skipped."""
    if sys.platform == "win32":
        pytest.skip("Windows has no such call")
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # an interface without an address
                answer = fcntl.ioctl(sock, 0x8919, struct.pack("256s", name.encode()))  # SIOCGIFBRDADDR
                if any(answer[20:24]):
                    return socket.inet_ntoa(answer[20:24])
    pytest.skip("no interface with a broadcast address")


async def test_one_line_a_second_says_what_was_not_answered(
    client: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refusal_log, "INTERVAL", 0.2)
    caplog.set_level(logging.INFO, "proactor_echo")
    name = pe.format_address(client.getsockname())

    def lines() -> list[str]:
        return [record.getMessage() for record in caplog.records if "answer" in record.getMessage()]

    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        await repeat(client, server)
        await eventually(lambda: len(lines()) == 2)
    assert lines() == [
        f"did not answer a datagram from {name}: our own answers come back",
        f"did not answer 4 more datagrams from one source, {name}: our own answers come back",
    ]


def test_the_window_is_wider_than_what_an_honest_client_does() -> None:
    assert 10 * WINDOW < REPEATS


@pytest.mark.skipif(shutil.which("socat") is None, reason="needs the program socat")
async def test_another_programs_echo_set_on_ours_goes_quiet() -> None:
    """socat sends back what comes, over a pipe, and knows nothing of loops."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        other = free.getsockname()
    made: list[Beginning] = []

    def factory() -> Beginning:
        made.append(Beginning())
        return made[-1]

    async with await pe.serve_udp(factory) as server:
        process = await asyncio.create_subprocess_exec("socat", f"UDP4-LISTEN:{other[1]},bind=127.0.0.1", "PIPE")
        try:

            def begun() -> bool:
                made[0].begin(other)  # nobody listens yet, at first
                return server.stats.datagrams_in > 0

            await eventually(begun)
            await eventually(lambda: server.stats.guarded)
            await settled(lambda: server.stats.datagrams_in)  # it would go on for ever
        finally:
            process.terminate()
            await process.wait()
