"""What sending runs of datagrams as one promises: the same datagrams, in the same order, on every way out."""

from __future__ import annotations

import errno
import random
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform != "linux":
    pytest.skip("segmentation offload is Linux's", allow_module_level=True)

from proactor_echo.loops.readiness import mmsg
from proactor_echo.loops.readiness.datagram import BATCH
from proactor_echo.loops.readiness.gso import (
    MAX_BYTES,
    MAX_SEGMENTS,
    UDP_SEGMENT,
    EqualDatagrams,
    Segments,
    new_segments,
)

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
    rng = random.Random(seed)
    sender, *receivers = trio
    addresses = [sock.getsockname() for sock in receivers]
    datas: list[bytes] = []
    to: list[int] = []
    while len(datas) < BATCH:
        size, which = rng.choice([0, 1, 100, 1024, 1472]), rng.randrange(2)
        for _ in range(rng.choice([1, 3, 8])):
            datas.append(rng.randbytes(size))
            to.append(which)
    datas, to = datas[:BATCH], to[:BATCH]
    sent = 0
    while sent < BATCH:  # as the transport does
        sent += batch.send(sender, sender.family, datas[sent:], [addresses[which] for which in to[sent:]])
    for which, sock in enumerate(receivers):
        assert received(sock) == [data for data, its in zip(datas, to, strict=True) if its == which], f"{seed=}"


def test_a_connected_socket_sends_runs(batch: mmsg.Batch, trio: list[socket.socket]) -> None:
    sender, receiver, _ = trio
    sender.connect(receiver.getsockname())
    datas = [b"%03d" % i for i in range(BATCH)]
    assert batch.send(sender, sender.family, datas, None) == BATCH
    assert received(receiver) == datas


def test_where_the_system_refuses_runs_single_datagrams_are_sent(batch: mmsg.Batch, trio: list[socket.socket]) -> None:
    sender, receiver, _ = trio
    sender.setsockopt(socket.SOL_SOCKET, SO_NO_CHECK, 1)
    datas = [b"%03d" % i for i in range(8)]
    for _ in range(2):
        assert batch.send(sender, sender.family, datas, [receiver.getsockname()] * 8) == 8
        assert received(receiver) == datas


def test_a_refused_destination_is_not_tried_again() -> None:
    segments = Segments()
    assert segments.groups(3, [ONE] * 4, [10] * 4) == [EqualDatagrams(ONE, 10, 4)]
    assert segments.refused(errno.EINVAL, 3, EqualDatagrams(ONE, 10, 4))
    assert segments.groups(3, [ONE] * 4 + [OTHER] * 4, [10] * 8) == [EqualDatagrams(ONE, 10, 1)] * 4 + [
        EqualDatagrams(OTHER, 10, 4)
    ]


def test_other_errors_and_single_datagrams_say_nothing_about_runs() -> None:
    segments = Segments()
    assert not segments.refused(errno.ECONNREFUSED, 3, EqualDatagrams(ONE, 10, 4))
    assert not segments.refused(errno.EMSGSIZE, 3, EqualDatagrams(ONE, 70_000, 1))


@pytest.mark.parametrize(
    ("lengths", "groups"),
    [
        ([9] * 5, [(9, 5)]),
        ([9, 9, 8, 8, 8], [(9, 2), (8, 3)]),
        ([0, 0, 0, 0], [(0, 1)] * 4),
        ([1] * (MAX_SEGMENTS + 3), [(1, MAX_SEGMENTS), (1, 3)]),
        ([30_000] * 3, [(30_000, 2), (30_000, 1)]),
        ([MAX_BYTES] * 2, [(MAX_BYTES, 1)] * 2),
        ([66_000] * 2, [(66_000, 1)] * 2),
    ],
    ids=str,
)
def test_a_run_is_of_one_length_and_within_the_systems_bounds(lengths: list[int], groups: Any) -> None:
    found = Segments().groups(3, [ONE] * len(lengths), lengths)
    assert found == [EqualDatagrams(ONE, length, size) for length, size in groups]


def test_datagrams_to_changing_addresses_are_no_runs() -> None:
    assert Segments().groups(3, [ONE, OTHER] * 4, [10] * 8) is None


def test_ever_new_refusals_do_not_fill_the_memory() -> None:
    segments = Segments()
    for i in range(10_000):
        segments.refused(errno.EIO, 3, EqualDatagrams(b"%d" % i, 10, 4))
    assert len(segments._single) <= 4096


def test_datagrams_that_the_program_has_cut_are_cut_its_way(batch: mmsg.Batch, trio: list[socket.socket]) -> None:
    sender, receiver, _ = trio
    sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 2)
    assert batch.send(sender, sender.family, [b"abcd", b"efgh"], [receiver.getsockname()] * 2) == 2
    assert received(receiver) == [b"ab", b"cd", b"ef", b"gh"]


#: Two equal pings leave in one batch; prints the sequence numbers that the loop's own host was asked and answered.
PINGS = """
import asyncio, socket, struct, proactor_echo as pe

def ping(number):
    return struct.pack("!BBHHH", 8, 0, 0, 0, number) + b"payload!" * 4

class Pinger(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.answers = asyncio.Queue()

    def datagram_received(self, data, address):
        self.answers.put_nowait(struct.unpack("!H", data[6:8])[0])

async def main():
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP)
    sock.setblocking(False)
    sock = socket.socket(fileno=sock.detach(), family=socket.AF_INET, type=socket.SOCK_DGRAM, proto=0)  # as fromfd does
    transport, pinger = await asyncio.get_running_loop().create_datagram_endpoint(Pinger, sock=sock)
    transport.sendto_many([(ping(number), ("127.0.0.1", 0)) for number in range(4)])
    print([await asyncio.wait_for(pinger.answers.get(), 10) for _ in range(4)])
    transport.close()

pe.run(main())
"""


def test_pings_leave_one_by_one() -> None:
    """A ping socket is a datagram socket over IP too, and is not UDP."""
    prepare = "ip link set lo up && echo 0 0 > /proc/sys/net/ipv4/ping_group_range"
    namespace = ["unshare", "--net", "--map-root-user"]
    if subprocess.run([*namespace, "sh", "-c", prepare], capture_output=True, timeout=20, check=False).returncode:
        pytest.skip("this user may not make a network in which pings are allowed")
    command = [*namespace, "sh", "-c", f'{prepare} && exec "$0" -c "$1"', sys.executable, PINGS]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "[0, 1, 2, 3]\n", done.stderr
