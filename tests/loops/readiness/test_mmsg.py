"""What batches of datagrams promise: the addresses and data that single calls would have given."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if sys.platform == "win32":
    pytest.skip("recvmmsg and sendmmsg are Linux's", allow_module_level=True)

from proactor_echo.loops import sockaddr
from proactor_echo.loops.readiness import mmsg
from proactor_echo.loops.readiness.datagram import BATCH

if TYPE_CHECKING:
    from proactor_echo.loops.readiness.mmsg import Batch


@pytest.fixture
def batch() -> Batch:
    made = mmsg.new_batch()
    if made is None:
        pytest.skip("this C library has no recvmmsg, or is not glibc")
    return made


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def pair(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    family, host = request.param
    with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(family, socket.SOCK_DGRAM) as other:
        for sock in (one, other):
            sock.bind((host, 0))
            sock.setblocking(False)
        yield one, other


def test_a_batch_arrives_as_single_calls_would_have_it(batch: Batch, pair: tuple[Any, Any]) -> None:
    one, other = pair
    datas = [b"x" * size for size in (0, 1, 0, 1472, 9000, 3)]
    assert batch.send(one, one.family, datas, [other.getsockname()] * len(datas)) == len(datas)
    assert batch.receive(other.fileno()) == [(data, one.getsockname()) for data in datas]
    one.sendto(b"again", other.getsockname())
    assert batch.receive(other.fileno()) == [(b"again", one.getsockname())]


def test_a_connected_socket_needs_no_addresses(batch: Batch, pair: tuple[Any, Any]) -> None:
    one, other = pair
    batch.send(one, one.family, [b"named"], [other.getsockname()])
    one.connect(other.getsockname())
    batch.send(one, one.family, [b"a", b"b"], None)
    assert [data for data, _ in batch.receive(other.fileno())] == [b"named", b"a", b"b"]


def test_no_more_than_a_batch_at_once(batch: Batch, pair: tuple[Any, Any]) -> None:
    one, other = pair
    for i in range(BATCH + 1):
        one.sendto(b"%d" % i, other.getsockname())
    assert [len(batch.receive(other.fileno())) for _ in range(2)] == [BATCH, 1]


def test_nothing_to_receive_would_block(batch: Batch, pair: tuple[Any, Any]) -> None:
    with pytest.raises(BlockingIOError):
        batch.receive(pair[0].fileno())


def test_an_error_of_the_first_datagram_is_raised(batch: Batch, pair: tuple[Any, Any]) -> None:
    one, other = pair
    with pytest.raises(OSError) as caught:
        batch.send(one, one.family, [b"x" * 66_000], [other.getsockname()])
    assert caught.value.errno == errno.EMSGSIZE


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ("192.0.2.1", 65535)),
        (socket.AF_INET6, ("2001:db8::1", 9, 0, 0)),
        (socket.AF_INET6, ("fe80::1", 9, 7, 12)),
    ],
)
def test_addresses_survive_the_round_trip(family: int, address: tuple[Any, ...]) -> None:
    assert sockaddr.unpack_address(sockaddr.pack_address(family, address)) == address


@pytest.mark.parametrize(
    ("family", "address"),
    [
        (socket.AF_INET, ("localhost", 9)),
        (socket.AF_INET, ("::1", 9)),
        (socket.AF_INET, ("127.0.0.1", 70000)),
        (socket.AF_INET, ("127.0.0.1", 9, 0, 0)),
        (socket.AF_INET6, ("fe80::1%lo", 9)),
        (socket.AF_INET, None),
    ],
)
def test_what_is_no_literal_is_left_to_the_socket_module(family: int, address: Any) -> None:
    with pytest.raises(LookupError):
        sockaddr.pack_address(family, address)


def test_ever_new_addresses_do_not_fill_the_memory(batch: Batch, pair: tuple[Any, Any]) -> None:
    one, _ = pair
    host = one.getsockname()[0]
    for start in range(10_000, 20_000, BATCH):
        batch.send(one, one.family, [b""] * BATCH, [(host, start + i) for i in range(BATCH)])
    assert len(batch._raw[one.family]) <= 4096
