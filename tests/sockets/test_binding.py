"""Listening and datagram sockets: every address of a host, one port, and one sentence for what went wrong."""

import errno
import socket
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from helpers.binding import Bind, both_kinds, closed_at_end
from helpers.network import needs_ipv6

from proactor_echo.errors import BindError
from proactor_echo.sockets.addresses import format_address
from proactor_echo.sockets.binding import PORT_ATTEMPTS, Target, bind_all, bind_udp_sockets, listen_tcp, open_socket
from proactor_echo.sockets.options import SocketOptions

# -- what is made ------------------------------------------------------------------------------------------------------


@both_kinds
async def test_sockets_are_non_blocking_and_not_inherited(bind: Bind) -> None:
    sockets = await bind("127.0.0.1", 0)
    with closed_at_end(sockets):
        [sock] = sockets
        assert not sock.getblocking()
        assert not sock.get_inheritable()


async def test_a_listener_listens() -> None:
    with closed_at_end(await listen_tcp("127.0.0.1", 0)) as [address]:
        socket.create_connection(address, timeout=10).close()


async def test_a_datagram_socket_receives() -> None:
    sockets = await bind_udp_sockets("127.0.0.1", 0)
    with closed_at_end(sockets) as [address], socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.sendto(b"hello", address)
        sockets[0].settimeout(10)
        assert sockets[0].recv(100) == b"hello"


@both_kinds
async def test_the_port_asked_for_is_the_port_bound(bind: Bind) -> None:
    with closed_at_end(await bind("127.0.0.1", 0)) as [(_, port)]:
        pass
    with closed_at_end(await bind("127.0.0.1", port)) as [address]:
        assert address == ("127.0.0.1", port)


async def test_options_reach_the_sockets() -> None:
    sockets = await listen_tcp("127.0.0.1", 0, options=SocketOptions(receive_buffer=50_000))
    with closed_at_end(sockets):
        doubled = 2 if sys.platform == "linux" else 1
        assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 50_000 * doubled


@pytest.mark.skipif(sys.platform == "win32", reason="with an exclusive port Windows may say in use for a while")
async def test_a_port_can_be_had_again_while_its_connections_are_in_time_wait() -> None:
    sockets = await listen_tcp("127.0.0.1", 0)
    with closed_at_end(sockets) as [address], socket.create_connection(address, timeout=10) as client:
        sockets[0].settimeout(10)
        accepted, _ = sockets[0].accept()
        accepted.close()  # who closes first is the one in TIME_WAIT
        assert client.recv(1) == b""
    with closed_at_end(await listen_tcp(*address)) as [again]:
        assert again == address


@pytest.mark.skipif(sys.platform != "win32", reason="SO_EXCLUSIVEADDRUSE is an option of Windows")
@both_kinds
async def test_so_reuseaddr_does_not_take_an_exclusive_port_over(bind: Bind) -> None:
    sockets = await bind("127.0.0.1", 0)
    with closed_at_end(sockets) as [address], socket.socket(socket.AF_INET, sockets[0].type) as thief:
        thief.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with pytest.raises(PermissionError):  # WSAEACCES
            thief.bind(address)


# -- several addresses, one port ---------------------------------------------------------------------------------------


@needs_ipv6
@both_kinds
@pytest.mark.parametrize("hosts", [["127.0.0.1", "::1"], ["::1", "127.0.0.1"], ["0.0.0.0", "::"], ["::", "0.0.0.0"]])
async def test_port_0_is_one_port_for_ipv4_and_ipv6(bind: Bind, hosts: list[str]) -> None:
    with closed_at_end(await bind(hosts, 0)) as addresses:
        assert [address[0] for address in addresses] == hosts
        assert len({address[1] for address in addresses}) == 1
        assert addresses[0][1] != 0


@both_kinds
@pytest.mark.parametrize(
    ("hosts", "bound"),
    [
        (["127.0.0.1", "127.0.0.1"], ["127.0.0.1"]),
        (["0.0.0.0", "127.0.0.1"], ["0.0.0.0"]),
        (["127.0.0.1", "0.0.0.0", "127.0.0.2"], ["0.0.0.0"]),
    ],
)
async def test_an_address_that_is_bound_already_is_bound_once(bind: Bind, hosts: list[str], bound: list[str]) -> None:
    with closed_at_end(await bind(hosts, 0)) as addresses:
        assert [address[0] for address in addresses] == bound


@needs_ipv6
@both_kinds
async def test_an_ipv6_address_that_is_bound_already_is_bound_once(bind: Bind) -> None:
    with closed_at_end(await bind(["::1", "[::1]", "::", "::1"], 0)) as addresses:
        assert [address[0] for address in addresses] == ["::"]


@both_kinds
async def test_localhost_is_every_loopback_address_it_names(bind: Bind) -> None:
    named = {info[4][0] for info in socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)}
    with closed_at_end(await bind(["localhost", "127.0.0.1"], 0)) as addresses:
        assert {address[0] for address in addresses} == named | {"127.0.0.1"}
        assert len({address[1] for address in addresses}) == 1


class Squatter(SocketOptions):
    """Takes the port that the IPv4 socket got on the IPv6 address too, just before that is bound."""

    held: list[socket.socket]
    ports: list[int]
    times: int
    tried: int
    last: socket.socket

    def apply_before_bind(self, sock: socket.socket, *, dual_stack: bool | None = None) -> None:
        super().apply_before_bind(sock, dual_stack=dual_stack)
        if sock.family == socket.AF_INET:
            Squatter.last = sock
        elif Squatter.tried < Squatter.times:
            Squatter.tried += 1
            rival = socket.socket(socket.AF_INET6, sock.type)
            Squatter.held.append(rival)
            rival.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            Squatter.ports.append(Squatter.last.getsockname()[1])
            rival.bind(("::1", Squatter.ports[-1]))  # fails if another program has it, which is as good
            if sock.type == socket.SOCK_STREAM:
                rival.listen()


@pytest.fixture
def squatter() -> Iterator[type[Squatter]]:
    Squatter.held, Squatter.ports, Squatter.tried = [], [], 0
    yield Squatter
    for sock in Squatter.held:
        sock.close()


@needs_ipv6
@both_kinds
async def test_a_port_that_is_taken_on_the_second_address_is_given_up_for_another(
    bind: Bind, squatter: type[Squatter]
) -> None:
    squatter.times = 5
    with closed_at_end(await bind(["127.0.0.1", "::1"], 0, options=squatter())) as addresses:
        assert squatter.tried == 5
        assert len({address[1] for address in addresses}) == 1
        assert addresses[0][1] not in squatter.ports


@needs_ipv6
@both_kinds
async def test_giving_up_ends(bind: Bind, squatter: type[Squatter]) -> None:
    squatter.times = 1000
    with pytest.raises(BindError, match="the port is in use"):
        await bind(["127.0.0.1", "::1"], 0, options=squatter())
    assert squatter.tried == PORT_ATTEMPTS


@needs_ipv6
@both_kinds
async def test_a_port_asked_for_by_number_is_tried_once(bind: Bind, squatter: type[Squatter]) -> None:
    with closed_at_end(await bind("127.0.0.1", 0)) as [(_, free)]:
        pass
    squatter.times = 1000
    with pytest.raises(BindError, match=f":{free}: the port is in use"):
        await bind(["127.0.0.1", "::1"], free, options=squatter())
    assert squatter.tried == 1


def test_a_port_that_turns_out_to_be_taken_when_listening_is_given_up_for_another() -> None:
    # On POSIX, SO_REUSEADDR lets two sockets bind one port, and the second to listen loses.
    seen = []

    def finish(sock: socket.socket) -> None:
        seen.append(sock.getsockname())
        if len(seen) < 3:
            raise OSError(errno.EADDRINUSE, "in use")
        sock.listen()

    target = Target(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 0))
    with closed_at_end(bind_all([target], SocketOptions(), finish)) as [address]:
        assert address == seen[2]


# -- every interface, IPv4 and IPv6 ------------------------------------------------------------------------------------


@needs_ipv6
async def test_every_interface_is_an_ipv4_and_an_ipv6_socket_on_one_port() -> None:
    with closed_at_end(await listen_tcp(None, 0)) as addresses:
        port = addresses[0][1]
        assert [address[:2] for address in addresses] == [("0.0.0.0", port), ("::", port)]
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=10).close()


@needs_ipv6
async def test_every_interface_shows_an_ipv4_peer_with_its_ipv4_address() -> None:
    sockets = await listen_tcp(None, 0)
    with closed_at_end(sockets) as [(_, port), _], socket.create_connection(("127.0.0.1", port)) as client:
        sockets[0].settimeout(10)
        accepted, peer = sockets[0].accept()
        accepted.close()
        assert peer == client.getsockname()


@needs_ipv6
async def test_a_dual_stack_socket_takes_both() -> None:
    sockets = await listen_tcp("::", 0)
    with closed_at_end(sockets) as [(_, port, *_)]:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, port), timeout=10).close()


@needs_ipv6
@pytest.mark.parametrize("options", [SocketOptions(dual_stack=False), SocketOptions(ipv6_only=True)])
async def test_without_dual_stack_an_ipv6_socket_refuses_ipv4(options: SocketOptions) -> None:
    with closed_at_end(await listen_tcp("::", 0, options=options)) as [(_, port, *_)]:
        socket.create_connection(("::1", port), timeout=10).close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=10)


@needs_ipv6
@both_kinds
async def test_ipv6_only_leaves_ipv4_out(bind: Bind) -> None:
    with closed_at_end(await bind(None, 0, options=SocketOptions(ipv6_only=True))) as addresses:
        assert [address[0] for address in addresses] == ["::"]


@both_kinds
async def test_ipv6_only_refuses_an_ipv4_address(bind: Bind) -> None:
    with pytest.raises(BindError, match=r"127\.0\.0\.1 is an IPv4 address, and only IPv6 is allowed"):
        await bind("127.0.0.1", 0, options=SocketOptions(ipv6_only=True))


@needs_ipv6
@both_kinds
async def test_an_ipv4_mapped_address_can_be_bound(bind: Bind) -> None:
    with closed_at_end(await bind("::ffff:127.0.0.1", 0)) as addresses:
        assert [address[0] for address in addresses] == ["::ffff:127.0.0.1"]


def _link_local() -> str | None:
    """A link-local address of this machine with its scope, or None."""
    if sys.platform == "linux":
        path = Path("/proc/net/if_inet6")
        for line in path.read_text().splitlines() if path.exists() else []:
            packed, _index, _prefix, _scope, flags, name = line.split()
            if packed.startswith("fe80") and not int(flags, 16) & 0x40:  # 0x40: tentative, not usable yet
                return f"{socket.inet_ntop(socket.AF_INET6, bytes.fromhex(packed))}%{name}"
        return None
    for info in socket.getaddrinfo(socket.gethostname(), 0, socket.AF_INET6, socket.SOCK_STREAM):
        host, _port, *more = info[4]
        if str(host).startswith("fe80:") and more[1]:
            return f"{str(host).partition('%')[0]}%{more[1]}"
    return None


@both_kinds
async def test_a_link_local_address_is_bound_on_its_interface(bind: Bind) -> None:
    host = _link_local() if socket.has_ipv6 else None
    if host is None:
        pytest.skip("this machine has no link-local address")
    with closed_at_end(await bind(host, 0)) as [address]:
        assert address[3] != 0
        assert format_address(address) == f"[{host}]:{address[1]}"


# -- what a client starts from -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_clients_socket_is_non_blocking_and_has_its_buffer_sizes(kind: int) -> None:
    with closing(open_socket(socket.AF_INET, kind, SocketOptions(send_buffer=60_000))) as sock:
        doubled = 2 if sys.platform == "linux" else 1
        assert not sock.getblocking()
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 60_000 * doubled
