"""Ctrl+C, Ctrl+Break, SIGTERM and SIGHUP as something to await. The signals are real ones, raised in this process."""

import asyncio
import signal
import sys
from typing import Any

import pytest

from proactor_echo.cli.stop_signals import STOP_SIGNALS, StopSignals

SIGHUP: Any = getattr(signal, "SIGHUP", None)

all_signals = pytest.mark.parametrize("number", STOP_SIGNALS, ids=lambda number: number.name)


def test_ctrl_break_is_one_of_them_on_windows_and_sighup_elsewhere() -> None:
    assert {number.name for number in STOP_SIGNALS} == {"SIGINT", "SIGTERM"} | (
        {"SIGBREAK"} if hasattr(signal, "SIGBREAK") else {"SIGHUP"}
    )


@all_signals
async def test_next_waits_for_a_signal(number: signal.Signals) -> None:
    with StopSignals() as signals:
        waiting = asyncio.create_task(signals.next())
        await asyncio.sleep(0)
        assert not waiting.done()
        signal.raise_signal(number)
        assert await waiting is number


@all_signals
async def test_a_signal_wakes_a_loop_that_has_nothing_else_to_do(number: signal.Signals) -> None:
    # Raised in another thread, as Windows does it: nothing interrupts the wait of this thread's loop.
    loop = asyncio.get_running_loop()
    with StopSignals() as signals:
        raising = loop.run_in_executor(None, signal.raise_signal, number)
        async with asyncio.timeout(10):
            assert await signals.next() is number
        await raising


async def test_signals_that_nobody_waited_for_yet_are_kept_in_order() -> None:
    with StopSignals() as signals:
        signal.raise_signal(signal.SIGTERM)
        assert await signals.next() is signal.SIGTERM
        signal.raise_signal(signal.SIGINT)
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGTERM)
        assert [await signals.next(), await signals.next()] == [signal.SIGINT, signal.SIGTERM]


async def test_cancelling_next_loses_no_signal() -> None:
    with StopSignals() as signals:
        waiting = asyncio.create_task(signals.next())
        await asyncio.sleep(0)
        waiting.cancel()
        signal.raise_signal(signal.SIGTERM)
        assert await signals.next() is signal.SIGTERM


@all_signals
async def test_what_was_there_before_comes_back(number: signal.Signals) -> None:
    seen: list[int] = []

    def mine(number: int, frame: object) -> None:
        seen.append(number)

    before = signal.signal(number, mine)
    try:
        with StopSignals():
            assert signal.getsignal(number) is not mine
        assert signal.getsignal(number) is mine
        signal.raise_signal(number)
        assert seen == [number]
    finally:
        signal.signal(number, before)


def test_it_goes_before_the_handler_of_asyncio_runner_which_comes_back() -> None:
    async def work() -> signal.Signals:
        runners = signal.getsignal(signal.SIGINT)
        assert runners is not signal.default_int_handler
        with StopSignals() as signals:
            signal.raise_signal(signal.SIGINT)
            stopped_by = await signals.next()
        assert signal.getsignal(signal.SIGINT) is runners
        return stopped_by

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with asyncio.Runner() as runner:
            assert runner.run(work()) is signal.SIGINT
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


@all_signals
async def test_afterwards_they_can_be_ignored_instead(number: signal.Signals) -> None:
    before = {each: signal.getsignal(each) for each in STOP_SIGNALS}
    try:
        with StopSignals(ignore_afterwards=True):
            pass
        signal.raise_signal(number)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


async def test_sighup_stays_ignored_under_nohup() -> None:
    if sys.platform == "win32":
        pytest.skip("there is none on Windows")
    before = signal.signal(SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals():
            assert signal.getsignal(SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(SIGHUP, before)


async def test_the_interpreter_s_wakeup_descriptor_comes_back() -> None:
    before = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(before, warn_on_full_buffer=False)
    with StopSignals():
        pass
    after = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(after, warn_on_full_buffer=False)
    assert after == before


@pytest.mark.skipif(SIGHUP is None, reason="Windows has no SIGHUP")
@pytest.mark.parametrize("before", [signal.SIG_DFL, signal.SIG_IGN], ids=["alone", "under nohup"])
async def test_with_a_function_for_it_a_hang_up_calls_that_and_stops_nothing(before: signal.Handlers) -> None:
    called = asyncio.Event()
    old = signal.signal(SIGHUP, before)
    try:
        with StopSignals(hung_up=called.set) as signals:
            signal.raise_signal(SIGHUP)
            await called.wait()
            signal.raise_signal(signal.SIGTERM)
            assert await signals.next() is signal.SIGTERM
        assert signal.getsignal(SIGHUP) is before
    finally:
        signal.signal(SIGHUP, old)
