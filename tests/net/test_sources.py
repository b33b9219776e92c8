"""Which source an address belongs to, and tables of sources that stay small whoever comes."""

import random

import pytest

from proactor_echo.net.sources import RecentTable, Source, SourceGroups, SourceTable

#: What the two tables of 65,536 sources may take.
MOST_BYTES = 16 << 20


def of(host: str, *rest: int, ipv4: int = 32, ipv6: int = 64) -> Source | None:
    return SourceGroups(ipv4, ipv6).of((host, 9000, *rest))


def test_an_ipv4_address_is_a_source() -> None:
    assert str(of("192.0.2.7")) == "192.0.2.7"
    assert of("192.0.2.7") != of("192.0.2.8")


def test_an_ipv6_network_of_64_bits_is_a_source() -> None:
    assert str(of("2001:db8:1:2:3:4:5:6", 0, 0)) == "2001:db8:1:2::/64"
    assert of("2001:db8:1:2::1", 0, 0) == of("2001:db8:1:2:ffff::1", 0, 0) != of("2001:db8:1:3::1", 0, 0)


def test_the_prefixes_can_be_set() -> None:
    assert str(of("192.0.2.7", ipv4=24)) == "192.0.2.0/24"
    assert str(of("2001:db8:1:2::1", 0, 0, ipv6=48)) == "2001:db8:1::/48"
    assert str(of("2001:db8::1", 0, 0, ipv6=128)) == "2001:db8::1"


def test_an_ipv4_address_in_ipv6_is_an_ipv4_source() -> None:
    assert of("::ffff:192.0.2.7", 0, 0) == of("192.0.2.7")


def test_a_link_local_source_is_one_of_its_interface() -> None:
    assert of("fe80::1%eth0", 0, 2) != of("fe80::1%eth1", 0, 3)
    assert str(of("fe80::1%eth0", 0, 2)) == "fe80::%2/64"


@pytest.mark.parametrize("address", ["", "/run/echo", b"\0name", None, (), ("localhost", 9000)])
def test_what_has_no_ip_address_is_no_source(address: object) -> None:
    assert SourceGroups().of(address) is None


@pytest.mark.parametrize(("ipv4", "ipv6"), [(33, 64), (0, 64), (32, 129), (32, 0)])
def test_a_prefix_that_there_is_not_is_refused(ipv4: int, ipv6: int) -> None:
    with pytest.raises(ValueError, match="source's prefix must be from 1 to"):
        SourceGroups(ipv4, ipv6)


@pytest.mark.parametrize("seed", range(5))
def test_the_least_recently_set_entries_go_first(seed: int) -> None:
    rng = random.Random(seed)
    most = rng.choice([2, 7, 64])
    table: RecentTable[int, int] = RecentTable(most)
    recent: dict[int, int] = {}  # all of them, in the order of their last change
    for value in range(3000):
        key = rng.randrange(3 * most)
        recent.pop(key, None)
        if rng.random() < 0.9:
            table.set(key, value)
            recent[key] = value
        else:
            table.pop(key)
        kept = [table.get(key, -1) == recent[key] for key in recent]
        assert len(table) == sum(kept) <= most
        assert kept == sorted(kept), "an entry was dropped that is younger than one which stays"


def test_the_youngest_half_stays() -> None:
    table: RecentTable[int, int] = RecentTable(100)
    for key in range(1234):
        table.set(key, key)
        assert all(table.get(recent, -1) == recent for recent in range(max(0, key - 48), key + 1))


def test_ipv6_sources_push_no_ipv4_source_out() -> None:
    table = SourceTable(64)
    known = Source(4, 1, 32)
    table.set(known, 5.0)
    for number in range(1000):
        table.set(Source(6, number, 64), 1.0)
    assert table.get(known, 0.0) == 5.0


def test_a_flood_of_sources_takes_16_mib_at_most() -> None:
    """200,000 of each kind fill the tables; ten million take no more (tests/tools/many_sources.py)."""
    rng = random.Random(1)
    table = SourceTable()
    tracemalloc = pytest.importorskip("tracemalloc", reason="PyPy does not count memory", exc_type=ImportError)
    tracemalloc.start()
    try:
        for number in range(200_000):
            table.set(Source(4, rng.getrandbits(32), 32), number + 0.5)
            table.set(Source(6, rng.getrandbits(64), 64), number + 0.5)
        assert tracemalloc.get_traced_memory()[1] < MOST_BYTES
    finally:
        tracemalloc.stop()
