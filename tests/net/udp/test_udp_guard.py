"""What a guarded UDP server does not answer: its own answers, responders, impossible addresses, floods."""

import ipaddress
import itertools
import random
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.net.udp.guard import REPEATS, Guard

ANYBODY = ("192.0.2.1", 40000)


class Recorded:
    """A guard, and what it refused."""

    def __init__(self, *, own: tuple[int, ...] = (9000,), **options: Any) -> None:
        self.refused: list[tuple[pe.GuardRule, Any]] = []
        self.guard = Guard(pe.UdpGuard(**options), lambda rule, address: self.refused.append((rule, address)))
        self.guard.own(own)

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
