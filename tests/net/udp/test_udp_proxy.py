"""A UDP server behind a load balancer: a PROXY header in every datagram."""

from typing import Any

import pytest
from helpers.peers import eventually, soon

import proactor_echo as pe
from proactor_echo.net.udp.guard import REPEATS

CLIENT, SERVER = ("203.0.113.9", 51234), ("192.0.2.1", 7)
HEADER = pe.ProxyHeader(CLIENT, SERVER, protocol="datagram").encode(checksum=True)
TRUSTED = pe.ProxyProtocol(["127.0.0.0/8"])


class Telling(pe.DatagramHandler):
    """Answers with the client's address."""

    def handle(self, data: bytes, addr: Any) -> None:
        self.send(data + b" from " + pe.format_address(addr.client).encode(), addr)


async def test_the_client_is_whom_the_header_says_and_the_proxy_gets_the_answer() -> None:
    async with await pe.serve_udp(Telling, proxy=TRUSTED) as server, await pe.bind_udp() as proxy:
        await proxy.send(HEADER + b"ping", server.address)
        assert await soon(proxy) == (b"ping from 203.0.113.9:51234", server.address)


async def test_a_handler_gets_the_whole_header() -> None:
    headers = []

    class Keeping(pe.DatagramHandler):
        def handle(self, data: bytes, addr: Any) -> None:
            headers.append(addr.header)

    header = pe.ProxyHeader(CLIENT, SERVER, protocol="datagram", tlvs=((0xE0, b"mine"),))
    async with await pe.serve_udp(Keeping, proxy=TRUSTED) as server, await pe.bind_udp() as proxy:
        await proxy.send(header.encode(), server.address)
        await eventually(lambda: headers == [header])


async def test_a_health_check_is_of_the_proxy_itself() -> None:
    async with await pe.serve_udp(Telling, proxy=TRUSTED) as server, await pe.bind_udp() as proxy:
        await proxy.send(pe.ProxyHeader(local=True, protocol="").encode() + b"there?", server.address)
        assert (await soon(proxy))[0] == b"there? from " + pe.format_address(proxy.address).encode()


@pytest.mark.parametrize("size", [0, 1, 60_000])
async def test_an_echo_answers_what_is_behind_the_header(size: int) -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol, proxy=TRUSTED) as server, await pe.bind_udp() as proxy:
        await proxy.send(HEADER + bytes(size), server.address)
        assert await soon(proxy) == (bytes(size), server.address)


@pytest.mark.parametrize(
    ("trusted", "data"),
    [
        ("127.0.0.0/8", b"no header"),
        ("127.0.0.0/8", HEADER[:-1]),
        ("127.0.0.0/8", HEADER[:20] + b"\xff" + HEADER[21:]),
        ("127.0.0.0/8", b""),
        ("192.0.2.0/24", HEADER + b"from a stranger"),
    ],
    ids=["none", "half", "checksum", "empty", "stranger"],
)
async def test_a_datagram_without_a_right_header_of_a_trusted_peer_gets_no_answer(trusted: str, data: bytes) -> None:
    proxy_protocol = pe.ProxyProtocol([trusted], max_header=1000)
    async with await pe.serve_udp(pe.EchoDatagramProtocol, proxy=proxy_protocol) as server:
        async with await pe.bind_udp() as peer:
            await peer.send(data, server.address)
            await eventually(lambda: server.stats.guarded == {pe.GuardRule.PROXY_HEADER: 1})
        assert server.stats.datagrams_out == 0


async def test_a_peer_that_is_served_directly_has_no_header() -> None:
    direct = pe.ProxyProtocol(["192.0.2.0/24"], untrusted="direct")
    async with await pe.serve_udp(pe.EchoDatagramProtocol, proxy=direct) as server, await pe.bind_udp() as peer:
        await peer.send(HEADER, server.address)
        assert await soon(peer) == (HEADER, server.address)


async def test_the_guard_looks_at_the_client() -> None:
    """One client's loop is muted; others behind the same load balancer are answered."""
    other = pe.ProxyHeader(("203.0.113.10", 51234), SERVER, protocol="datagram").encode()
    async with await pe.serve_udp(pe.EchoDatagramProtocol, proxy=TRUSTED) as server, await pe.bind_udp() as proxy:
        for _ in range(REPEATS + 5):
            await proxy.send(HEADER + b"loop", server.address)
        await eventually(lambda: server.stats.guarded[pe.GuardRule.LOOP])
        await proxy.send(other + b"ping", server.address)
        while (await soon(proxy))[0] != b"ping":
            pass
