"""``call_at_iteration_end``, which our loops have beyond asyncio's: a connection writes then what it has joined."""

from __future__ import annotations

import asyncio
from typing import Any

from helpers.recording import Bench


def test_a_call_at_the_end_of_an_iteration_comes_before_the_next(ours: Bench) -> None:
    async def main() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        calls: list[str] = []
        loop.call_soon(calls.append, "in the next iteration")
        loop.call_at_iteration_end(lambda: calls.append("at the end"))
        calls.append("in this iteration")
        await asyncio.sleep(0)
        return calls

    assert ours.run(main()) == ["in this iteration", "at the end", "in the next iteration"]


def test_a_call_at_the_end_that_fails_is_reported_and_the_others_are_made(ours: Bench) -> None:
    async def main() -> tuple[list[str], list[object]]:
        loop: Any = asyncio.get_running_loop()
        reported: list[object] = []
        calls: list[str] = []
        loop.set_exception_handler(lambda _, context: reported.append(type(context["exception"])))
        loop.call_at_iteration_end(lambda: 1 / 0)
        loop.call_at_iteration_end(lambda: calls.append("the other"))
        await asyncio.sleep(0)
        return calls, reported

    assert ours.run(main()) == (["the other"], [ZeroDivisionError])


def test_a_call_asked_for_while_the_loop_does_not_run_is_made_in_its_first_iteration(ours: Bench) -> None:
    calls: list[str] = []

    async def main() -> list[str]:
        await asyncio.sleep(0)
        return list(calls)

    loop: Any = ours.factory()
    try:
        loop.call_at_iteration_end(lambda: calls.append("made"))
        assert loop.run_until_complete(main()) == ["made"]
    finally:
        loop.close()
