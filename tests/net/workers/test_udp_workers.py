"""Several processes that serve one UDP port, where the system shares it out."""

import asyncio
import contextlib
import os
import signal
import sys

import pytest
from helpers.peers import eventually

import proactor_echo as pe
from proactor_echo.net.workers import supervisor

TELLING = "helpers.worker_targets:telling_udp"
QUESTION = b"which process are you?"  # no shorter than the answer


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "PING", 0.05)


needs_shared_ports = pytest.mark.skipif(sys.platform != "linux", reason="the system does not share a port out")


async def asked(client: pe.UdpEndpoint) -> int:
    """Return the number of the process that answers; a datagram may be lost while that one is replaced."""
    for _ in range(40):
        await client.send(QUESTION)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                return int((await client.receive())[0])
    raise AssertionError("no answer")


async def all_asked(workers: pe.UdpWorkers, count: int = 40) -> set[int]:
    found = set()
    for _ in range(count):
        async with await pe.connect_udp("127.0.0.1", workers.port) as client:
            found.add(await asked(client))
    return found


@needs_shared_ports
async def test_clients_are_shared_out_and_each_stays_with_its_worker() -> None:
    async with await pe.serve_udp_workers(TELLING, workers=2) as workers:
        assert await all_asked(workers) == set(workers.pids)
        async with await pe.connect_udp("127.0.0.1", workers.port) as client:
            assert len({await asked(client) for _ in range(20)}) == 1


@needs_shared_ports
async def test_they_are_replaced_when_they_end_and_when_asked() -> None:
    async with await pe.serve_udp_workers(TELLING, workers=2) as workers:
        first = set(workers.pids)
        os.kill(workers.pids[0], int(getattr(signal, "SIGKILL", signal.SIGTERM)))
        await eventually(lambda: len(set(workers.pids) - first) == 1 and len(workers.pids) == 2)
        assert await all_asked(workers) == set(workers.pids)
        await workers.reload()
        assert not first & set(workers.pids)
        await eventually(lambda: len(workers._workers) == 2)  # the old ones have ended
        assert await all_asked(workers) == set(workers.pids)


@needs_shared_ports
async def test_their_counters_are_those_of_all_and_of_the_dead() -> None:
    guard = pe.UdpGuard(rate=pe.Rate(1e-4, burst=1))
    async with await pe.serve_udp_workers(TELLING, workers=2, arguments=[guard]) as workers:
        await all_asked(workers, 1)
        async with await pe.connect_udp("127.0.0.1", workers.port) as client:
            for _ in range(200):
                await client.send(b"?")
        await eventually(lambda: workers.stats.datagrams_in == 201)
        await workers.reload()
        await eventually(lambda: workers.stats.datagrams_in == 201)
        stats = workers.stats
        assert stats.bytes_in == len(QUESTION) + 200
        assert stats.guarded.total() == 201 - stats.datagrams_out > stats.guarded[pe.GuardRule.RATE] > 0
        names = {metric.name for metric in workers.metrics()}
        assert {"proactor_echo_workers_ready", "proactor_echo_received_datagrams_total"} <= names


async def test_they_are_refused_where_the_system_shares_nothing_out() -> None:
    if sys.platform == "linux":
        pytest.skip("Linux does")
    with pytest.raises(ValueError, match="shares no port out"):
        await pe.serve_udp_workers(TELLING, workers=2)
