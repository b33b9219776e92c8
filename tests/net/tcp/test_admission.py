"""Who is let in, decided without a socket: random arrivals beside a model that remembers everything."""

import ipaddress
import random
from collections import Counter
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.errors import DisconnectReason
from proactor_echo.net.tcp.admission import Admission, RefusalReason


class Model:
    """The rules of :class:`pe.Limits`, written as they read."""

    def __init__(self, limits: pe.Limits) -> None:
        self.limits = limits
        self.open: list[tuple[Any, ...]] = []
        self.taken: dict[object, list[float]] = {}
        self.offences: dict[object, tuple[float, bool]] = {}

    def network(self, address: tuple[Any, ...], ipv4: int, ipv6: int) -> object:
        host = ipaddress.ip_address(address[0])
        return ipaddress.ip_network((host, ipv4 if host.version == 4 else ipv6), strict=False)

    def source(self, address: tuple[Any, ...]) -> object:
        return self.network(address, self.limits.ipv4_prefix, self.limits.ipv6_prefix)

    def wider(self, address: tuple[Any, ...]) -> object:
        return self.network(address, 32, self.limits.network_prefix)

    def admit(self, address: tuple[Any, ...], now: float) -> RefusalReason | None:
        limits, source = self.limits, self.source(address)
        host = ipaddress.ip_address(address[0])
        denied = [ipaddress.ip_network(each) for each in limits.deny]
        if any(host in network for network in denied):
            return RefusalReason.DENIED
        until, enforced = self.offences.get(source, (0.0, False))
        if enforced and until > now:
            return RefusalReason.PENALTY
        most = limits.connections_per_source
        if most and Counter(map(self.source, self.open))[source] >= most:
            return RefusalReason.SOURCE_CONNECTIONS
        most = limits.connections_per_network
        if most and host.version == 6 and Counter(map(self.wider, self.open))[self.wider(address)] >= most:
            return RefusalReason.NETWORK_CONNECTIONS
        if isinstance(limits.accept_rate_per_source, pe.Rate):
            rate, tokens, last = limits.accept_rate_per_source, None, now
            if source in self.taken:
                tokens, last = self.taken[source]
            tokens = rate.most if tokens is None else min(rate.most, tokens + (now - last) * rate.per_second)
            if tokens < 1 - 1e-6:
                self.taken[source] = [tokens, now]
                return RefusalReason.SOURCE_RATE
            self.taken[source] = [tokens - 1, now]
        self.open.append(address)
        return None

    def left(self, address: tuple[Any, ...], reason: DisconnectReason | None, now: float) -> None:
        self.open.remove(address)
        penalties = self.limits.penalties
        if penalties is None or reason is not DisconnectReason.FRAMING or penalties.framing is None:
            return
        until, enforced = self.offences.get(self.source(address), (0.0, False))
        if until <= now:
            until, enforced = now, False
        until = min(until + penalties.framing, now + penalties.maximum)
        self.offences[self.source(address)] = until, enforced or until - now > penalties.threshold


@pytest.mark.parametrize("seed", range(20))
def test_random_arrivals_are_decided_as_a_model_decides(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    limits = pe.Limits(
        connections_per_source=rng.choice([None, 1, 2, 4]),
        connections_per_network=rng.choice([None, 3, 6]),
        accept_rate_per_source=rng.choice([None, pe.Rate(2), pe.Rate(0.5, burst=3)]),
        deny=rng.choice([[], ["192.0.2.1", "2001:db8:0:3::/64"]]),
        penalties=rng.choice([None, pe.Penalties(framing=3, threshold=5, maximum=20)]),
        ipv4_prefix=rng.choice([32, 31]),
    )
    admission, model = Admission(limits), Model(limits)
    now = 100.0
    for _ in range(600):
        now += rng.choice([0, 0.01, 0.3, 2])
        if model.open and rng.random() < 0.45:
            address = rng.choice(model.open)
            reason = rng.choice([None, DisconnectReason.END_OF_FILE, DisconnectReason.FRAMING])
            admission.left(address, reason, now)
            model.left(address, reason, now)
        else:
            address = rng.choice(
                [(f"192.0.2.{rng.randrange(4)}", 5), (f"2001:db8:0:{rng.randrange(4)}::{rng.randrange(3)}", 5, 0, 0)]
            )
            assert admission.admit(address, now) == model.admit(address, now)


def test_a_peer_without_an_ip_address_is_let_in() -> None:
    admission = Admission(pe.Limits(connections_per_source=1, accept_rate_per_source=1, deny=["0.0.0.0/0"]))
    for _ in range(3):
        assert admission.admit("", 1.0) is None
    admission.left("", DisconnectReason.FRAMING, 2.0)


def test_the_connections_of_a_source_are_remembered_however_many_others_come() -> None:
    admission = Admission(pe.Limits(connections_per_source=1))
    assert admission.admit(("192.0.2.1", 5), 1.0) is None
    for number in range(200_000):
        address = (str(ipaddress.IPv4Address(0x0A000000 + number)), 5)
        assert admission.admit(address, 2.0) is None
        admission.left(address, None, 2.0)
    assert admission.admit(("192.0.2.1", 6), 3.0) is RefusalReason.SOURCE_CONNECTIONS


def test_a_penalty_ends() -> None:
    admission = Admission(pe.Limits(penalties=pe.Penalties(framing=10, threshold=15, maximum=30)))
    address = ("192.0.2.1", 5)

    def offend(now: float) -> None:
        assert admission.admit(address, now) is None
        admission.left(address, DisconnectReason.FRAMING, now)

    offend(100.0)  # until 110
    assert admission.admit(address, 100.0) is None
    admission.left(address, DisconnectReason.FRAMING, 100.0)  # until 120: 20 are more than 15
    assert admission.admit(address, 119.9) is RefusalReason.PENALTY
    assert admission.admit(address, 120.1) is None


def test_a_penalty_has_a_maximum() -> None:
    admission = Admission(pe.Limits(penalties=pe.Penalties(framing=10, threshold=25, maximum=30)))
    address = ("192.0.2.1", 5)
    for _ in range(9):
        assert admission.admit(address, 100.0) is None
    for _ in range(9):
        admission.left(address, DisconnectReason.FRAMING, 100.0)
    assert admission.admit(address, 129.9) is RefusalReason.PENALTY
    assert admission.admit(address, 130.1) is None
