"""What a guarded UDP server does not answer: its own answers, responders, impossible addresses, floods."""

import asyncio
import ipaddress
import itertools
import logging
import random
import shutil
import socket
import struct
import sys
from typing import Any

import pytest
from helpers.peers import eventually

import proactor_echo as pe
from proactor_echo.net import refusal_log
from proactor_echo.net.udp.guard import REPEATS, WINDOW, Guard

ANYBODY = ("192.0.2.1", 40000)


class Recorded:
    """A guard, and what it refused."""

    def __init__(self, *, own: tuple[int, ...] = (9000,), **options: Any) -> None:
        self.refused: list[tuple[pe.GuardRule, Any]] = []
        self.guard = Guard(pe.UdpGuard(**options), own, lambda rule, address: self.refused.append((rule, address)))

    def answers(self, address: Any, now: float, data: bytes = b"ping") -> bool:
        return bool(self.guard.filter([(data, address)], now))

    @property
    def rules(self) -> set[pe.GuardRule]:
        return {rule for rule, _ in self.refused}


# -- loops -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("round_trip", [0.00005, 0.001, 0.01, 0.03])
@pytest.mark.parametrize("circling", [1, 2, 40])
def test_two_echoes_set_on_each_other_go_quiet_within_a_second(round_trip: float, circling: int) -> None:
    """The other echo answers everything, at once."""
    guard = Recorded()
    on_the_way = [(b"%d" % number, round_trip * number / circling) for number in range(circling)]
    now = 0.0
    answered = 0
    while on_the_way:
        on_the_way.sort(key=lambda each: each[1])
        data, now = on_the_way.pop(0)
        if guard.answers(ANYBODY, now, data):
            answered += 1
            on_the_way.append((data, now + round_trip))
        assert now < 1.0
    assert answered <= circling * REPEATS
    assert guard.rules == {pe.GuardRule.LOOP}


@pytest.mark.parametrize("seed", range(5))
def test_a_client_that_repeats_a_ping_ten_times_a_second_is_never_muted(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    guard = Recorded()
    for number in range(36_000):  # an hour
        assert guard.answers(ANYBODY, number / 10 + rng.uniform(0, 0.05))
    assert guard.refused == []


def test_a_client_with_bytes_of_its_own_in_each_ping_may_be_as_fast_as_it_likes() -> None:
    guard = Recorded()
    assert all(guard.answers(ANYBODY, number / 100_000, b"%d" % number) for number in range(100_000))


def test_a_loop_that_comes_back_is_muted_for_twice_as_long() -> None:
    guard = Recorded()

    def loop_until_muted(now: float) -> float:
        """Return how long the address is muted."""
        for number in itertools.count():
            if not guard.answers(ANYBODY, now + number * 0.001):
                break
        muted = now + number * 0.001
        for tenth in itertools.count(1):
            if guard.answers(ANYBODY, muted + tenth / 10, b"%d" % tenth):
                return tenth / 10
        raise AssertionError

    waits = [round(loop_until_muted(now)) for now in (100.0, 110.0, 120.0, 500.0)]
    assert waits == [1, 2, 4, 1]


def test_another_address_is_answered_while_one_is_muted() -> None:
    guard = Recorded()
    while guard.answers(ANYBODY, 1.0):
        pass
    assert guard.answers(("192.0.2.1", 40001), 1.0, b"other")


def test_a_loop_among_much_traffic_is_found() -> None:
    guard = Recorded()
    number = itertools.count()
    circling = (b"loop", ANYBODY)
    for batch in range(400):
        others = [(b"%d" % next(number), ("198.51.100.1", 5000 + i)) for i in range(45)]
        datagrams = [*others, circling]
        random.Random(batch).shuffle(datagrams)
        if circling not in guard.guard.filter(datagrams, 1.0 + batch * 0.001):
            return
    raise AssertionError("it went on")


# -- addresses and ports ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *(("192.0.2.1", 0), ("0.0.0.0", 5), ("224.0.0.1", 5), ("239.255.255.250", 5), ("255.255.255.255", 5)),
        *(("::", 5, 0, 0), ("ff02::1", 5, 0, 2), ("2001:db8::1", 0, 0, 0), ("::ffff:224.0.0.1", 5, 0, 0)),
    ],
)
def test_an_address_that_cannot_answer_gets_no_answer(address: Any) -> None:
    guard = Recorded()
    assert not guard.answers(address, 1.0)
    assert guard.refused == [(pe.GuardRule.ADDRESS, address)]


@pytest.mark.parametrize("port", [7, 19, 53, 123, 9000])
def test_the_port_of_a_responder_or_of_this_server_gets_no_answer(port: int) -> None:
    guard = Recorded()
    assert not guard.answers(("192.0.2.1", port), 1.0)
    assert guard.rules == {pe.GuardRule.PORT}


def test_the_ports_of_responders_can_be_set() -> None:
    guard = Recorded(responders=[4000])
    assert guard.answers(("192.0.2.1", 53), 1.0)
    assert not guard.answers(("192.0.2.1", 4000), 1.0)


def test_the_peer_of_a_unix_socket_is_answered() -> None:
    assert Recorded(rate_per_source=1).answers("/run/client", 1.0)


# -- rates -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_rates_hold_for_random_traffic(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    guard = Recorded(rate=pe.Rate(300, burst=100), rate_per_source=pe.Rate(50, burst=20))
    answered: dict[str, list[float]] = {}
    now, number = 0.0, itertools.count()
    for _ in range(500):
        now += rng.choice([0.001, 0.01, 0.05])
        datagrams = [
            (b"%d" % next(number), (f"192.0.2.{rng.randrange(9)}", rng.randrange(2000, 2010)))
            for _ in range(rng.choice([1, 3, 30]))
        ]
        for _, (host, _port) in guard.guard.filter(datagrams, now):
            answered.setdefault(host, []).append(now)
    assert sum(map(len, answered.values())) <= 100 + 300 * now + 1
    assert all(len(times) <= 20 + 50 * now + 1 for times in answered.values())
    assert guard.rules <= {pe.GuardRule.RATE, pe.GuardRule.SOURCE_RATE}
    assert guard.refused


def test_a_source_over_its_rate_does_not_take_the_answers_of_another() -> None:
    guard = Recorded(rate_per_source=pe.Rate(1, burst=5))
    datagrams = [(b"%d" % number, ("192.0.2.1", 5000)) for number in range(10)] + [(b"x", ("192.0.2.2", 5000))]
    assert guard.guard.filter(datagrams, 1.0) == [*datagrams[:5], datagrams[10]]


def test_an_ipv6_source_is_a_64() -> None:
    guard = Recorded(rate_per_source=pe.Rate(1, burst=1))
    assert guard.answers(("2001:db8::1", 5, 0, 0), 1.0)
    assert not guard.answers(("2001:db8::2", 5, 0, 0), 1.0, b"other")


def test_loopback_has_no_rate_of_its_own() -> None:
    guard = Recorded(rate_per_source=pe.Rate(1, burst=1))
    assert all(guard.answers((host, 5), 1.0, b"%d" % n) for n in range(9) for host in ("127.0.0.1", "127.9.9.9"))


def test_logging_alone_counts_and_drops_nothing() -> None:
    guard = Recorded(mode="log", rate_per_source=pe.Rate(1, burst=1))
    assert all(guard.answers(("192.0.2.1", 53), 1.0) for _ in range(3))
    assert guard.refused == [(pe.GuardRule.PORT, ("192.0.2.1", 53))] * 3


def test_what_is_remembered_is_bounded() -> None:
    guard = Recorded(rate_per_source=1000)
    base = int(ipaddress.IPv4Address("10.0.0.0"))
    for number in range(200_000):
        assert guard.answers((str(ipaddress.IPv4Address(base + number)), 5), 1.0 + number / 1e6, b"%d" % number)
    state = guard.guard
    assert max(len(state._good), len(state._digests)) <= 65_537
    assert len(state._full_at) <= 65_537


# -- on the wire -----------------------------------------------------------------------------------------------------


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


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a datagram that was sent to many")
async def test_what_was_sent_to_a_multicast_address_gets_no_answer() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as member,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        here = socket.inet_aton("127.0.0.1")
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton("239.1.2.3") + here)
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, here)
        client.setblocking(False)
        async with (
            await pe.serve_udp(pe.EchoDatagramProtocol, "0.0.0.0") as server,
            await pe.serve_udp(pe.EchoDatagramProtocol, "0.0.0.0", guard=False) as free,
        ):
            client.sendto(b"many", ("239.1.2.3", server.port))
            client.sendto(b"one", ("127.0.0.1", server.port))
            assert await receive(client) == b"one"
            assert server.stats.datagrams_in == 1
            client.sendto(b"many", ("239.1.2.3", free.port))
            assert await receive(client) == b"many"


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
            assert server.stats.datagrams_in <= REPEATS + 2 + server.stats.guarded[pe.GuardRule.LOOP]
        finally:
            process.terminate()
            await process.wait()
