"""UDP and addresses: several sockets on one port, both families, and who may be talked to."""

import re
import socket

import pytest
from helpers.network import Network, closed_udp_port, needs_ipv6
from helpers.peers import WINE_VERSION, iterations, soon

import proactor_echo as pe

#: No datagram socket can be connected there: everybody, or (since Wine 10 allows that) an interface that is not there.
NO_WAY = "fe80::1%99999" if WINE_VERSION >= 10 else "255.255.255.255"


@needs_ipv6
async def test_ipv6_both_ways() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol, "::1") as server:
        async with await pe.connect_udp("::1", server.addresses[0][1]) as connected:
            await connected.send(b"six")
            assert (await soon(connected))[0] == b"six"
            await connected.send(b"six", ("::1", server.addresses[0][1]))
            assert (await soon(connected))[0] == b"six"
        async with await pe.bind_udp("::1") as endpoint:
            for address in (server.addresses[0], server.addresses[0][:2]):
                await endpoint.send(b"six", address)
                assert (await soon(endpoint)) == (b"six", server.addresses[0])


@needs_ipv6
async def test_a_name_with_two_addresses_is_one_endpoint_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch)
    network.names["both.example"] = [("127.0.0.1", 0), ("::1", 0, 0, 0)]
    async with await pe.bind_udp("both.example") as endpoint:
        four, six = endpoint.addresses
        assert four[1] == six[1]
        for host, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            with socket.socket(family, socket.SOCK_DGRAM) as peer:
                peer.bind((host, 0))
                peer.settimeout(5)
                peer.sendto(b"question", (host, four[1]))
                data, addr = await soon(endpoint)
                await endpoint.send(b"answer to " + data, addr)
                assert peer.recvfrom(100) == (b"answer to question", four if family == socket.AF_INET else six)
                await endpoint.send(b"again", peer.getsockname())
                assert peer.recvfrom(100)[0] == b"again"


async def test_with_several_sockets_of_a_family_the_answer_leaves_from_where_the_question_came() -> None:
    # On ports of their own: Wine and macOS have one loopback address to a port.
    sockets = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(3)]
    for sock in sockets:
        sock.bind(("127.0.0.1", 0))
    async with await pe.bind_udp(sockets=sockets) as endpoint:
        for address in endpoint.addresses:
            async with await pe.connect_udp(*address) as peer:  # it hears nobody else
                await peer.send(b"question")
                data, addr = await soon(endpoint)
                assert addr == peer.address
                await endpoint.send(b"answer to " + data, addr)
                assert await soon(peer) == (b"answer to question", address)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.settimeout(5)
            await endpoint.send(b"hello", stranger.getsockname())
            assert stranger.recvfrom(100) == (b"hello", endpoint.addresses[0])


@needs_ipv6
async def test_a_dual_stack_endpoint_talks_to_ipv4() -> None:
    async with await pe.bind_udp("::") as endpoint, await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        await endpoint.send(b"four over six", server.addresses[0])
        data, addr = await soon(endpoint)
        assert data == b"four over six"
        await endpoint.send(b"again", addr)
        assert (await soon(endpoint)) == (b"again", addr)


async def test_an_ipv4_endpoint_says_that_it_cannot_talk_to_ipv6() -> None:
    async with await pe.bind_udp() as endpoint:
        with pytest.raises(ValueError, match=r"no IPv6 socket to send from to \[::1\]:9"):
            await endpoint.send(b"x", ("::1", 9))


@pytest.mark.parametrize("host", ["localhost", "no.such.host", "", "127.1", "::g", "::1\0"])
async def test_a_name_is_refused_because_looking_it_up_would_hold_up_the_loop(host: str) -> None:
    async with await pe.bind_udp() as endpoint:
        with pytest.raises(ValueError, match="is not an IP address"):
            await endpoint.send(b"x", (host, 9))


async def test_an_unconnected_endpoint_needs_an_address() -> None:
    async with await pe.bind_udp() as endpoint:
        assert endpoint.peer is None
        with pytest.raises(ValueError, match="not connected"):
            await endpoint.send(b"x")


async def test_a_connected_endpoint_talks_to_its_peer_alone() -> None:
    peer, stranger = await pe.bind_udp(), await pe.bind_udp()
    async with peer, stranger, await pe.connect_udp(*peer.address) as endpoint:
        with pytest.raises(ValueError, match=f"connected to {pe.format_address(peer.address)}"):
            await endpoint.send(b"x", stranger.address)
        await stranger.send(b"unheard", endpoint.address)
        await peer.send(b"heard", endpoint.address)
        assert await soon(endpoint) == (b"heard", peer.address)
        await iterations(10)
        assert endpoint.stats.datagrams_in == 1


async def test_an_endpoint_knows_its_addresses() -> None:
    async with await pe.bind_udp() as endpoint:
        assert endpoint.address == endpoint.addresses[0]
        assert endpoint.address[1] != 0
        assert repr(endpoint) == f"<UdpEndpoint {pe.format_address(endpoint.address)}>"


async def test_sockets_made_elsewhere_are_used_and_closed() -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    async with await pe.serve_udp(pe.EchoDatagramProtocol, sockets=[sock]) as server:
        assert server.addresses == [sock.getsockname()]
        async with await pe.connect_udp(*server.addresses[0]) as endpoint:
            await endpoint.send(b"x")
            assert (await soon(endpoint))[0] == b"x"
    assert sock.fileno() == -1


async def test_sockets_made_elsewhere_stay_the_callers_when_nothing_comes_of_it() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ValueError, match="queue"):
            await pe.bind_udp(sockets=[sock], queue=0)
        assert sock.fileno() != -1


async def test_a_port_in_use_is_one_sentence() -> None:
    async with await pe.bind_udp() as endpoint:
        with pytest.raises(pe.BindError, match=f"cannot bind udp 127.0.0.1:{endpoint.address[1]}: "):
            await pe.bind_udp("127.0.0.1", endpoint.address[1])


async def test_connecting_to_an_unknown_host_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch)
    network.names["nowhere.example"] = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    network.names["empty.example"] = []
    with pytest.raises(pe.ConnectFailed, match=r"unknown host 'nowhere\.example'"):
        await pe.connect_udp("nowhere.example", 9)
    with pytest.raises(pe.ConnectFailed, match=r"cannot connect to empty\.example:9: it has no address"):
        await pe.connect_udp("empty.example", 9)


async def test_connecting_where_there_is_no_way_is_one_sentence() -> None:
    with pytest.raises(pe.ConnectFailed, match=rf"cannot connect to \[?{re.escape(NO_WAY)}\]?:9: ") as caught:
        await pe.connect_udp(NO_WAY, 9)
    assert len(caught.value.errors) == 1
    assert caught.value.errno


async def test_the_first_address_with_a_way_there_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network(monkeypatch)
    port = closed_udp_port()
    network.names["name.example"] = [(NO_WAY, port), ("127.0.0.1", port)]
    async with await pe.connect_udp("name.example", port) as endpoint:
        assert endpoint.peer == ("127.0.0.1", port)
