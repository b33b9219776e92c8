"""Rows of the defect table: signals and the self-pipe that wakes the loop, on the stock loop and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)


from helpers.peers import iterations
from helpers.recording import Bench, Recorder, reset, tcp_pair
from helpers.windows_rows import bench, on_each, run, within

from proactor_echo import loops
from proactor_echo.loops.iocp import winapi

# -- row 17 ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def handlers_kept(*numbers: int) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@on_each
def test_a_signal_handler_can_be_added_and_is_taken_away_at_the_end(kind: str) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        arrived = asyncio.Event()

        def handler(number: int) -> None:
            seen.append(number)
            arrived.set()

        for number in numbers:
            loop.add_signal_handler(number, handler, int(number))
        for number in numbers:
            arrived.clear()
            thread = threading.Thread(target=signal.raise_signal, args=(number,))
            thread.start()  # the loop waits in the kernel
            await arrived.wait()
            thread.join()  # it writes to the loop's self-pipe after the signal is noted
        assert loop.remove_signal_handler(signal.SIGTERM)
        assert not loop.remove_signal_handler(signal.SIGTERM)
        return seen

    with handlers_kept(*numbers):
        before = [signal.getsignal(number) for number in numbers]
        if kind == "stock":
            with pytest.raises(NotImplementedError):
                run(bench(kind), main())
        else:
            assert run(bench(kind), main()) == numbers
        assert [signal.getsignal(number) for number in numbers] == before


def test_what_cannot_be_a_signal_handler_is_refused(ours: Bench) -> None:
    async def coroutine() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="coroutines"):
            loop.add_signal_handler(signal.SIGINT, coroutine)
        with pytest.raises(ValueError, match="invalid signal"):
            loop.add_signal_handler(1000, print)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGSEGV, print)
        with pytest.raises(RuntimeError, match="main thread"):
            await loop.run_in_executor(None, loop.add_signal_handler, signal.SIGINT, print)

    run(ours, main())


@on_each
def test_ctrl_c_ends_a_loop_that_waits_in_the_kernel(kind: str) -> None:
    async def main() -> None:
        thread.start()
        await asyncio.get_running_loop().create_future()

    thread = threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,))
    with asyncio.Runner(loop_factory=bench(kind).factory) as runner:
        with pytest.raises(KeyboardInterrupt):
            runner.run(main())
        thread.join()  # it writes to the loop's self-pipe after the signal is noted


def test_ctrl_c_that_raises_when_the_poll_returns_loses_no_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    loop: Any = loops.new_event_loop()
    here, there = tcp_pair()
    poll = winapi.GetQueuedCompletionStatusEx

    def interrupted(*args: Any) -> Any:
        if poll(*args):  # the call is over, its result not yet looked at: where Python runs the signal's handler
            raise KeyboardInterrupt
        return 0

    async def connect() -> Any:
        protocol = (await loop.connect_accepted_socket(Recorder, there))[1]
        await iterations(3)
        return protocol

    protocol = loop.run_until_complete(connect())
    for _ in range(3):
        here.send(b"x")
        with monkeypatch.context() as patch:
            patch.setattr(winapi, "GetQueuedCompletionStatusEx", interrupted)
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(loop.create_future())
        loop.run_until_complete(iterations(3))
    loop.run_until_complete(asyncio.wait_for(protocol.until(3), 5))
    protocol.transport.abort()
    loop.run_until_complete(protocol.lost)
    here.close()
    proactor = loop._proactor
    loop.close()
    assert proactor.pending == 0


def test_ctrl_c_wakes_a_loop_although_another_one_was_closed(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    poll = winapi.GetQueuedCompletionStatusEx

    def polling(port: int, entries: int, count: int, taken: int, timeout: int, alertable: bool) -> Any:
        if timeout > 1000:  # for the end of the time limit
            waiting.set()
        return poll(port, entries, count, taken, timeout, alertable)

    def raise_while_it_waits() -> None:
        waiting.wait(5)
        signal.raise_signal(signal.SIGTERM)

    async def main() -> None:
        other = loops.new_event_loop()
        other.close()  # CPython takes the wake-up descriptor away here
        await iterations(3)
        thread = threading.Thread(target=raise_while_it_waits)
        thread.start()
        monkeypatch.setattr(winapi, "GetQueuedCompletionStatusEx", polling)
        async with asyncio.timeout(5):
            await arrived.wait()
        thread.join()

    arrived = asyncio.Event()
    with handlers_kept(signal.SIGTERM), asyncio.Runner(loop_factory=ours.factory) as runner:
        runner.get_loop().add_signal_handler(signal.SIGTERM, arrived.set)
        runner.run(main())


# -- row 18 ----------------------------------------------------------------------------------------------------------


@on_each
def test_an_end_of_file_on_the_self_pipe_is_reported_and_does_not_spin(kind: str) -> None:
    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        iterations_before = count
        loop._csock.shutdown(socket.SHUT_WR)
        await within(0.3, loop.create_future())
        return count - iterations_before

    count = 0
    here = bench(kind)
    factory: Any = asyncio.ProactorEventLoop if kind == "stock" else loops.EventLoop

    class Counting(factory):  # type: ignore[misc]
        def _run_once(self) -> None:
            nonlocal count
            count += 1
            super()._run_once()

    here.factory = Counting
    count_of_iterations = run(here, main())
    if kind == "stock":
        assert count_of_iterations > 100
        assert here.errors == []
    else:
        assert count_of_iterations < 20
        assert [type(context["exception"]) for context in here.errors] == [EOFError]


@pytest.mark.parametrize("waiting", [True, False], ids=["while a receive waits", "before a receive began"])
def test_the_loop_can_be_woken_after_its_self_pipe_broke(ours: Bench, waiting: bool) -> None:
    def broken() -> Any:
        loop: Any = loops.new_event_loop()
        if not waiting:
            reset(loop._csock)
        return loop

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        if waiting:
            await iterations(2)
            reset(loop._csock)
        while not ours.errors:
            await asyncio.sleep(0.01)
        assert await loop.run_in_executor(None, lambda: 7) == 7

    ours.factory = broken
    with handlers_kept(signal.SIGTERM):
        run(ours, main())
    assert ["has a new one" in context["message"] for context in ours.errors] == [True]
