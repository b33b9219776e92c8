"""What sending runs of datagrams as one promises: the same datagrams, in the same order, on every way out."""

from __future__ import annotations

import errno
import random
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("segmentation offload is Linux's", allow_module_level=True)

from proactor_echo.loops import mmsg
from proactor_echo.loops.readiness_udp import BATCH
from proactor_echo.loops.segments import LONGEST_RUN, MOST_BYTES, Run, Segments, new_segments

SO_NO_CHECK = 11  # <asm-generic/socket.h>: a socket that has it set is refused segmentation, with EINVAL
ONE, OTHER = b"one", b"other"


@pytest.fixture
def batch() -> mmsg.Batch:
    made = mmsg.new_batch()
    if made is None or new_segments() is None:
        pytest.skip("this system has no sendmmsg in glibc, or no UDP_SEGMENT")
    return made


@pytest.fixture(params=[(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")], ids=["IPv4", "IPv6"])
def trio(request: pytest.FixtureRequest) -> Iterator[list[socket.socket]]:
    """A sender and two receivers."""
    family, host = request.param
    sockets = [socket.socket(family, socket.SOCK_DGRAM) for _ in range(3)]
    for sock in sockets:
        sock.bind((host, 0))
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    yield sockets
    for sock in sockets:
        sock.close()


def received(sock: socket.socket) -> list[bytes]:
    datas = []
    while True:
        try:
            datas.append(sock.recv(65536))
        except BlockingIOError:
            return datas


@pytest.mark.parametrize("seed", range(20))
def test_runs_arrive_as_single_datagrams_would(batch: mmsg.Batch, trio: list[socket.socket], seed: int) -> None:
    dice = random.Random(seed)
    sender, *receivers = trio
    addresses = [sock.getsockname() for sock in receivers]
    datas: list[bytes] = []
    to: list[int] = []
    while len(datas) < BATCH:
        size, which = dice.choice([0, 1, 100, 1024, 1472]), dice.randrange(2)
        for _ in range(dice.choice([1, 3, 8])):
            datas.append(dice.randbytes(size))
            to.append(which)
    datas, to = datas[:BATCH], to[:BATCH]
    sent = 0
    while sent < BATCH:  # as the transport does
        sent += batch.send(sender.fileno(), sender.family, datas[sent:], [addresses[which] for which in to[sent:]])
    for which, sock in enumerate(receivers):
        assert received(sock) == [data for data, its in zip(datas, to, strict=True) if its == which], f"{seed=}"


def test_a_connected_socket_sends_runs(batch: mmsg.Batch, trio: list[socket.socket]) -> None:
    sender, receiver, _ = trio
    sender.connect(receiver.getsockname())
    datas = [b"%03d" % i for i in range(BATCH)]
    assert batch.send(sender.fileno(), sender.family, datas, None) == BATCH
    assert received(receiver) == datas


def test_where_the_system_refuses_runs_single_datagrams_are_sent(batch: mmsg.Batch, trio: list[socket.socket]) -> None:
    sender, receiver, _ = trio
    sender.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    datas = [b"%03d" % i for i in range(8)]
    for _ in range(2):
        assert batch.send(sender.fileno(), sender.family, datas, [receiver.getsockname()] * 8) == 8
        assert received(receiver) == datas


def test_a_refused_destination_is_not_tried_again() -> None:
    segments = Segments()
    assert segments.runs(3, [ONE] * 4, [10] * 4) == [Run(ONE, 10, 4)]
    assert segments.refused(errno.EINVAL, 3, Run(ONE, 10, 4))
    assert segments.runs(3, [ONE] * 4 + [OTHER] * 4, [10] * 8) == [Run(ONE, 10, 1)] * 4 + [Run(OTHER, 10, 4)]


def test_other_errors_and_single_datagrams_tell_nothing_about_runs() -> None:
    segments = Segments()
    assert not segments.refused(errno.ECONNREFUSED, 3, Run(ONE, 10, 4))
    assert not segments.refused(errno.EMSGSIZE, 3, Run(ONE, 70_000, 1))


@pytest.mark.parametrize(
    ("lengths", "runs"),
    [
        ([9] * 5, [(9, 5)]),
        ([9, 9, 8, 8, 8], [(9, 2), (8, 3)]),
        ([0, 0, 0, 0], [(0, 1)] * 4),
        ([1] * (LONGEST_RUN + 3), [(1, LONGEST_RUN), (1, 3)]),
        ([30_000] * 3, [(30_000, 2), (30_000, 1)]),
        ([MOST_BYTES] * 2, [(MOST_BYTES, 1)] * 2),
        ([66_000] * 2, [(66_000, 1)] * 2),
    ],
    ids=str,
)
def test_a_run_is_of_one_length_and_within_the_systems_bounds(lengths: list[int], runs: Any) -> None:
    found = Segments().runs(3, [ONE] * len(lengths), lengths)
    assert found == [Run(ONE, length, size) for length, size in runs]


def test_datagrams_to_changing_addresses_are_no_runs() -> None:
    assert Segments().runs(3, [ONE, OTHER] * 4, [10] * 8) is None


def test_ever_new_refusals_do_not_fill_the_memory() -> None:
    segments = Segments()
    for i in range(10_000):
        segments.refused(errno.EIO, 3, Run(b"%d" % i, 10, 4))
    assert len(segments._single) <= 4096
