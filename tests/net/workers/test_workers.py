"""Several processes that serve one port: who gets what, and what happens when one ends."""

import asyncio
import collections
import contextlib
import errno
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.peers import RawClient, eventually, iterations

import proactor_echo as pe
from proactor_echo.net.workers import supervisor

TELLING = "helpers.worker_targets:telling"


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "PING", 0.05)


async def asked(client: RawClient) -> int:
    """Return the number of the process that serves a client."""
    await client.send(b"?")
    answer = await client.receive()
    assert answer.endswith(b"\n"), answer
    return int(answer)


def kill(pid: int) -> None:
    os.kill(pid, int(getattr(signal, "SIGKILL", signal.SIGTERM)))


BALANCES = ["handoff"]
if sys.platform != "win32":
    BALANCES += ["inherit"]
if sys.platform == "linux":
    BALANCES += ["reuseport"]

balances = pytest.mark.parametrize("balance", BALANCES)


async def test_connections_that_are_handed_over_are_shared_evenly() -> None:
    workers = await pe.serve_workers(TELLING, workers=2, balance="handoff")
    async with workers, contextlib.AsyncExitStack() as stack:
        served: collections.Counter[int] = collections.Counter()
        for _ in range(100):
            client = await stack.enter_async_context(await RawClient.connect(workers.address))
            served[await asked(client)] += 1
        assert sorted(served) == sorted(workers.pids)
        assert set(served.values()) == {50}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems promise nothing")
@pytest.mark.parametrize("balance", ["inherit", "reuseport"])
async def test_workers_that_accept_themselves_have_about_as_many_connections(balance: Any) -> None:
    workers = await pe.serve_workers(TELLING, workers=2, balance=balance)
    async with workers, contextlib.AsyncExitStack() as stack:
        served: collections.Counter[int] = collections.Counter()
        for _ in range(400):
            client = await stack.enter_async_context(await RawClient.connect(workers.address))
            served[await asked(client)] += 1
        most, least = sorted(served.values(), reverse=True)
        # The system draws lots with reuseport: five standard deviations, once in a million times.
        assert most / least < {"inherit": 1.3, "reuseport": 1.67}[balance]


@balances
async def test_a_killed_worker_costs_its_own_connections_and_is_replaced(
    balance: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        await pe.serve_workers(TELLING, workers=2, balance=balance) as workers,
        contextlib.AsyncExitStack() as stack,
    ):
        served: dict[int, RawClient] = {}
        while len(served) < 2:
            client = await stack.enter_async_context(await RawClient.connect(workers.address))
            served[await asked(client)] = client
        (victim, one), (survivor, other) = served.items()
        kill(victim)
        with contextlib.suppress(OSError):
            assert await one.receive_all() == b""
        assert await asked(other) == survivor
        await eventually(lambda: len(workers.pids) == 2 and victim not in workers.pids)
        async with await RawClient.connect(workers.address) as later:
            assert await asked(later) in workers.pids
    assert f"(process {victim}) ended, " in caplog.text


@balances
async def test_reloading_replaces_all_and_refuses_nobody(balance: Any) -> None:
    stop = asyncio.Event()

    async def load() -> int:
        count = 0
        while not stop.is_set():
            async with await RawClient.connect(workers.address) as client:
                for _ in range(5):
                    await asked(client)
                count += 1
        return count

    async with await pe.serve_workers(TELLING, workers=2, balance=balance) as workers:
        loads = [asyncio.create_task(load()) for _ in range(8)]
        seen = set(workers.pids)
        for _ in range(2):
            await workers.reload()
            assert not seen & set(workers.pids)
            seen |= set(workers.pids)
        stop.set()
        assert sum(await asyncio.gather(*loads)) > 20


async def test_reloading_replaces_one_that_waits_to_be_replaced_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.5)
    async with await pe.serve_workers(TELLING, workers=2) as workers:
        before = workers.pids
        kill(before[0])
        await eventually(lambda: len(workers.pids) == 1)
        await workers.reload()
        after = workers.pids
        assert len(after) == 2
        await eventually(lambda: not workers._pauses)
        await iterations(3)
        assert sorted(worker.number for worker in workers._workers if not worker.is_draining) == [0, 1]
        assert workers.pids == after


async def test_reloading_replaces_one_that_is_just_being_started_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async with await pe.serve_workers(TELLING, workers=1) as workers:
        (before,) = workers.pids
        kill(before)
        await eventually(lambda: workers._workers and workers._workers[0].pid != before)  # not ready yet
        await workers.reload()
        await eventually(lambda: len(workers._workers) == 1)
        assert len(workers.pids) == 1
        async with await RawClient.connect(workers.address) as client:
            assert await asked(client) in workers.pids


async def test_a_process_that_the_system_does_not_start_is_an_error_of_the_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def no_more_processes(*arguments: Any, **options: Any) -> Any:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(subprocess, "Popen", no_more_processes)
    with pytest.raises(pe.WorkerError, match="a worker cannot be started: "):
        await pe.serve_workers(TELLING, workers=1)


async def test_a_worker_that_cannot_start_stops_everything_with_its_own_sentence(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    flag.touch()
    with pytest.raises(pe.WorkerError, match=r"^ValueError: the flag is there$"):
        await pe.serve_workers("helpers.worker_targets:failing", workers=2, arguments=[str(flag)])


@pytest.mark.parametrize(
    ("target", "sentence"),
    [("no_such_module:start", "No module named 'no_such_module'"), ("helpers.worker_targets:nothing", "nothing")],
)
async def test_a_target_that_is_not_there_is_told(target: str, sentence: str) -> None:
    with pytest.raises(pe.WorkerError, match=sentence):
        await pe.serve_workers(target, workers=1)


async def test_when_a_new_worker_cannot_start_the_old_ones_stay(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    target = "helpers.worker_targets:failing"
    async with await pe.serve_workers(target, workers=2, arguments=[str(flag)]) as workers:
        before = workers.pids
        flag.touch()
        with pytest.raises(pe.WorkerError, match="the flag is there"):
            await workers.reload()
        assert workers.pids == before
        async with await RawClient.connect(workers.address) as client:
            assert await asked(client) in before


async def test_a_reload_that_fails_while_a_worker_is_missing_forgets_it_not(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    target = "helpers.worker_targets:failing"
    async with await pe.serve_workers(target, workers=1, arguments=[str(flag)]) as workers:
        (before,) = workers.pids
        flag.touch()
        kill(before)
        await eventually(lambda: not workers.pids)
        with pytest.raises(pe.WorkerError, match="the flag is there"):
            await workers.reload()
        flag.unlink()
        await eventually(lambda: len(workers.pids) == 1)


async def test_cancelling_the_start_leaves_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> Any:
        started.append(popen(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", noted)
    starting = asyncio.create_task(pe.serve_workers(TELLING, workers=2))
    await eventually(lambda: len(started) == 2)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert all(process.poll() is not None for process in started)


async def test_workers_that_never_hold_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MOST_FAILURES", 3)
    async with await pe.serve_workers("helpers.worker_targets:ending", workers=1) as workers:
        with pytest.raises(pe.WorkerError, match="the workers do not hold: 3 ended in a row"):
            async with asyncio.timeout(60):
                await workers.failed


async def test_a_worker_whose_loop_is_stuck_is_reported_and_killed_when_asked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(supervisor, "SILENT", 0.3)
    caplog.set_level(logging.INFO)
    target = "helpers.worker_targets:sticking"
    async with await pe.serve_workers(target, workers=1, worker_timeout=1.0) as workers:
        (stuck,) = workers.pids
        async with await RawClient.connect(workers.address):
            # PyPy's faulthandler shows no other thread than its own.
            place = "stuck_here" if sys.implementation.name == "cpython" else "does this:"
            await eventually(lambda: place in caplog.text, within=60)
            await eventually(lambda: workers.pids and stuck not in workers.pids, within=60)
    assert f"(process {stuck}) has not turned its loop for " in caplog.text
    assert f"(process {stuck}) is killed: silent for " in caplog.text


async def test_counters_are_those_of_all_and_of_the_dead() -> None:
    async with await pe.serve_workers(TELLING, workers=2) as workers:
        for _ in range(4):
            async with await RawClient.connect(workers.address) as client:
                await asked(client)
        await eventually(lambda: workers.stats.frames_in == 4)
        await workers.reload()
        async with await RawClient.connect(workers.address) as client:
            await asked(client)
        await workers.close()
        assert (workers.stats.frames_in, workers.stats.accepted, workers.stats.open) == (5, 5, 0)


async def test_what_workers_measure_is_added_up_and_outlives_them() -> None:
    def counts() -> dict[str, int]:
        histograms = {metric.name: metric.histogram for metric in workers.metrics() if metric.histogram is not None}
        return {name.removeprefix("proactor_echo_"): [*each.cumulative()][-1][1] for name, each in histograms.items()}

    async with await pe.serve_workers(TELLING, workers=2) as workers:
        assert counts() == {}
        workers.measure()
        for _ in range(3):
            async with await RawClient.connect(workers.address) as client:
                await asked(client)
        await eventually(lambda: counts().get("connection_duration_seconds") == 3)
        lags = counts()["loop_lag_seconds"]
        await workers.reload()  # the new ones measure too
        async with await RawClient.connect(workers.address) as client:
            await asked(client)
        await eventually(lambda: counts()["connection_duration_seconds"] == 4)
        await eventually(lambda: counts()["loop_lag_seconds"] > lags)


@balances
async def test_closing_lets_connections_finish(balance: Any) -> None:
    workers = await pe.serve_workers("helpers.worker_targets:echoing", workers=2, balance=balance)
    async with workers, await RawClient.connect(workers.address) as client:
        sent = asyncio.create_task(client.send(bytes(8 << 20)))
        await client.receive_exactly(1 << 20)  # so much is on the way that it does not end at once
        closing = asyncio.create_task(workers.close(drain=20))
        assert await client.receive_exactly(7 << 20) == bytes(7 << 20)
        await sent
        report = await closing
    assert (report.finished, report.aborted) == (1, 0)


@pytest.mark.parametrize("balance", [balance for balance in BALANCES if balance != "reuseport"])
async def test_connections_that_no_worker_has_a_place_for_wait(balance: Any) -> None:
    limits = pe.Limits(connections=1)
    target = "helpers.worker_targets:echoing"
    workers = await pe.serve_workers(target, workers=2, arguments=[limits], balance=balance)
    async with workers, contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(await RawClient.connect(workers.address)) for _ in range(3)]
        for client in clients:
            await client.send(b"x")
        for client in clients[:2]:
            assert await client.receive_exactly(1) == b"x"
        clients[0].close()
        clients[1].close()
        assert await clients[2].receive_exactly(1) == b"x"


@pytest.mark.skipif(sys.platform == "win32", reason="there is no cheap way to ask Windows for a process by its number")
async def test_workers_end_when_the_supervisor_is_gone() -> None:
    code = f"""
import asyncio, os, sys
sys.path[:] = {sys.path!r}
import proactor_echo as pe
async def main():
    workers = await pe.serve_workers({TELLING!r}, workers=2)
    print(*workers.pids, flush=True)
    os._exit(0)
asyncio.run(main())
"""
    done = await asyncio.to_thread(subprocess.run, [sys.executable, "-c", code], capture_output=True, timeout=60)
    pids = [int(word) for word in done.stdout.split()]
    assert len(pids) == 2
    await eventually(lambda: not any(is_running(pid) for pid in pids))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return False


@pytest.mark.parametrize(
    ("arguments", "kind", "sentence"),
    [
        ({"target": "module"}, ValueError, 'target must be "module:function"'),
        ({"workers": 0}, ValueError, "workers must be"),
        ({"workers": "many"}, TypeError, "workers must be"),
        ({"loop": "uv"}, ValueError, "loop must be"),
        ({"drain": -1}, ValueError, "drain must be"),
        ({"balance": "lots"}, ValueError, "balance must be"),
        ({"balance": "reuseport", "sockets": []}, ValueError, "is not for Windows|takes none made elsewhere"),
    ],
)
async def test_a_wrong_argument_is_refused(arguments: dict[str, Any], kind: type[Exception], sentence: str) -> None:
    with pytest.raises(kind, match=sentence):
        await pe.serve_workers(**{"target": TELLING} | arguments)
