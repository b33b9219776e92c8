"""Lists of networks that may connect: the longest prefix wins."""

import ipaddress
import random

import pytest

from proactor_echo.net.networks import AccessList, networks


def access(allow: list[str], deny: list[str]) -> AccessList:
    return AccessList(networks("allow", allow), networks("deny", deny))


def lets_in(rules: AccessList, host: str) -> bool:
    return rules.lets_in((host, 9000, 0, 0) if ":" in host else (host, 9000))


def test_without_a_list_everybody_is_let_in() -> None:
    assert not access([], [])
    assert lets_in(access([], []), "192.0.2.1")


def test_with_deny_alone_the_others_are_let_in() -> None:
    rules = access([], ["192.0.2.0/24", "2001:db8::/32"])
    assert not lets_in(rules, "192.0.2.1")
    assert lets_in(rules, "198.51.100.1")
    assert not lets_in(rules, "2001:db8::1")


def test_with_allow_nobody_else_is_let_in() -> None:
    rules = access(["192.0.2.0/24"], [])
    assert lets_in(rules, "192.0.2.1")
    assert not lets_in(rules, "198.51.100.1")
    assert not lets_in(rules, "::1")


def test_the_longest_prefix_wins() -> None:
    rules = access(["192.0.2.0/24", "192.0.2.13"], ["192.0.2.8/29", "0.0.0.0/0"])
    assert lets_in(rules, "192.0.2.1")
    assert not lets_in(rules, "192.0.2.9")
    assert lets_in(rules, "192.0.2.13")
    assert not lets_in(rules, "203.0.113.1")


def test_ipv4_addresses_in_ipv6_are_ipv4_addresses() -> None:
    assert not lets_in(access([], ["192.0.2.0/24"]), "::ffff:192.0.2.1")
    assert not lets_in(access([], ["::ffff:192.0.2.0/120"]), "192.0.2.1")


def test_the_peer_of_a_unix_socket_is_let_in() -> None:
    assert access(["192.0.2.0/24"], []).lets_in("")


@pytest.mark.parametrize("seed", range(4))
def test_random_lists_decide_as_a_search_through_all_networks_does(seed: int) -> None:
    rng = random.Random(seed)

    def some() -> list[str]:
        return [
            str(ipaddress.ip_network((rng.getrandbits(8) << 24, rng.randint(1, 8)), strict=False)) for _ in range(4)
        ]

    allow = some()
    deny = [network for network in some() if network not in allow]
    rules = access(allow, deny)
    listed = [(ipaddress.ip_network(text), text in allow) for text in allow + deny]
    for first in range(256):
        address = ipaddress.ip_address(f"{first}.1.2.3")
        found = [(network.prefixlen, allowed) for network, allowed in listed if address in network]
        assert lets_in(rules, str(address)) == (max(found)[1] if found else False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("192.0.2.1/24", 'write "192.0.2.0/24"'),
        ("here", "is no network: write one as in"),
        ("", "is no network"),
        ("192.0.2.0/33", "is no network"),
        ("fe80::%eth0/64", "has a zone"),
    ],
)
def test_text_that_is_no_network_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        networks("deny", [text])


@pytest.mark.parametrize("value", ["192.0.2.0/24", 5, None, [5]])
def test_what_is_no_list_of_text_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="deny must be"):
        networks("deny", value)


def test_a_network_in_both_lists_is_refused() -> None:
    with pytest.raises(ValueError, match="is in both allow and deny"):
        access(["192.0.2.0/24"], ["192.0.2.0/24"])
