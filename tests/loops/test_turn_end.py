"""``call_at_turn_end``, which our loops have beyond asyncio's: what gathers the writes of a turn writes them then."""

from __future__ import annotations

import asyncio
from typing import Any

from helpers.recording import Bench


def test_a_call_at_the_turns_end_comes_before_the_next_turn(ours: Bench) -> None:
    async def main() -> list[str]:
        loop: Any = asyncio.get_running_loop()
        calls: list[str] = []
        loop.call_soon(calls.append, "in the next turn")
        loop.call_at_turn_end(lambda: calls.append("at the end"))
        calls.append("in this turn")
        await asyncio.sleep(0)
        return calls

    assert ours.run(main()) == ["in this turn", "at the end", "in the next turn"]


def test_a_call_at_the_turns_end_that_fails_is_reported_and_the_others_are_made(ours: Bench) -> None:
    async def main() -> tuple[list[str], list[object]]:
        loop: Any = asyncio.get_running_loop()
        told: list[object] = []
        calls: list[str] = []
        loop.set_exception_handler(lambda _, context: told.append(type(context["exception"])))
        loop.call_at_turn_end(lambda: 1 / 0)
        loop.call_at_turn_end(lambda: calls.append("the other"))
        await asyncio.sleep(0)
        return calls, told

    assert ours.run(main()) == (["the other"], [ZeroDivisionError])


def test_a_call_asked_for_while_the_loop_does_not_run_is_made_in_its_first_turn(ours: Bench) -> None:
    calls: list[str] = []

    async def main() -> list[str]:
        await asyncio.sleep(0)
        return list(calls)

    loop: Any = ours.factory()
    try:
        loop.call_at_turn_end(lambda: calls.append("made"))
        assert loop.run_until_complete(main()) == ["made"]
    finally:
        loop.close()
