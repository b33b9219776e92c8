"""Random sequences of calls, run on two loops: what is seen of each must be the same.

A seed makes a sequence: what the connection is like, and the steps. What was seen of it on a loop is a dict of plain
values that do not depend on time or on how bytes were cut. Two that differ are made smaller, a step at a time, as long
as the difference stays; what is left is short enough to understand.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

TIMEOUT = 1.0
"""Seconds to wait for what should come. What should, comes in a few iterations: only a defect takes so long."""

Step = tuple[str, Any]
Seen = dict[str, Any]
Difference = dict[str, tuple[Any, Any]]


@dataclass(frozen=True)
class Sequence:
    """A connection and what is done with it."""

    seed: int
    given: dict[str, Any] = field(default_factory=dict)
    """What the connection and its protocol are like."""
    steps: tuple[Step, ...] = ()

    def without(self, index: int) -> Sequence:
        """Return this sequence less one step."""
        return replace(self, steps=self.steps[:index] + self.steps[index + 1 :])

    def has(self, *names: str) -> bool:
        """Whether steps of these names are in it, in this order."""
        rest = iter(name for name, _ in self.steps)
        return all(name in rest for name in names)

    def __str__(self) -> str:
        given = ", ".join(f"{name}={value!r}" for name, value in self.given.items() if value)
        return f"seed {self.seed}: {given}\n  " + "\n  ".join(f"{name} {value}" for name, value in self.steps)


def choose_steps(rng: random.Random, weights: dict[str, int], argument: Callable[..., Any]) -> tuple[Step, ...]:
    """Choose 3 to 13 steps by their weights, and what each is done with."""
    names = rng.choices(list(weights), list(weights.values()), k=rng.randint(3, 13))
    return tuple((name, argument(name, rng)) for name in names)


class Run:
    """One sequence on the running loop. A step is a method, named as the step is."""

    loop: asyncio.AbstractEventLoop
    transport: Any

    def __init__(self, sequence: Sequence) -> None:
        self.sequence = sequence
        self.given = sequence.given
        self.loop = asyncio.get_running_loop()
        self.callbacks: list[str] = []
        self.results: list[str] = []
        self.errors: list[str] = []
        self.lost = False
        self.letter = ord("A") - 1  # what the step that is done sends is made of

    async def run(self) -> Seen:
        """Do the steps; return what was seen."""
        self.loop.set_exception_handler(lambda _loop, context: self.failed(context))
        await self.open()
        for name, argument in self.sequence.steps:
            self.letter += 1
            try:
                result = await getattr(self, name.replace(" ", "_"))(argument)
            except Exception as exc:
                result = type(exc).__name__
            self.results.append(f"{name}: {result}")
        await self.finish()
        state = "closing" if self.transport.is_closing() else "open"
        with contextlib.suppress(AttributeError):  # the stock selector loop's, of a transport that was lost
            self.transport.abort()
        await self.until(lambda: self.lost)
        await self.iterations(3)
        seen = {"results": self.results, "callbacks": self.callbacks, "errors": self.errors, "state": state}
        return seen | self.seen()

    def failed(self, context: dict[str, Any]) -> None:
        """Note what reached the loop's exception handler."""
        self.errors.append(type(context.get("exception")).__name__)

    def record(self, what: str | None, name: str = "", *, again: bool = True) -> None:
        """Write a callback down; fail in it, if this sequence wants it to."""
        if what and (again or what not in self.callbacks):
            self.callbacks.append(what)
        if (name or what) == self.given["failing"]:
            raise ZeroDivisionError

    def some(self, size: int) -> bytes:
        """Return bytes of this step's own."""
        return bytes([self.letter]) * size

    async def iterations(self, count: int) -> None:
        """Wait for so many iterations of the loop."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until it is so, or for longer than that takes."""
        deadline = self.loop.time() + TIMEOUT
        while not condition() and self.loop.time() < deadline:
            await asyncio.sleep(0)

    async def open(self) -> None:
        """Make the transport and its peer."""
        raise NotImplementedError

    async def finish(self) -> None:
        """Have everything arrive that is on its way."""
        raise NotImplementedError

    def seen(self) -> Seen:
        """Tell what arrived, and what else is to be compared; close the peer."""
        raise NotImplementedError


Runs = Callable[[Sequence], Run]


class Compared:
    """Two loops, and how a sequence is run on them."""

    def __init__(self, runs: Runs, ours: Callable[[], Any], stock: Callable[[], Any]) -> None:
        self.runs = runs
        self.ours = ours
        self.stock = stock

    def difference(self, sequence: Sequence) -> Difference:
        """Return what was seen on ours and on the stock loop, where that is not the same."""
        ours, stock = self.seen(self.ours, sequence), self.seen(self.stock, sequence)
        return {name: (ours[name], stock[name]) for name in ours if ours[name] != stock[name]}

    def seen(self, factory: Callable[[], asyncio.AbstractEventLoop], sequence: Sequence) -> Seen:
        """Run a sequence on a new loop."""

        async def main() -> Seen:
            return await self.runs(sequence).run()

        with asyncio.Runner(loop_factory=factory) as runner:
            return runner.run(main())

    def smallest(self, sequence: Sequence, difference: Difference) -> tuple[Sequence, Difference]:
        """Leave out each step without which something of the same kind is different."""
        index = 0
        while index < len(sequence.steps):
            smaller = sequence.without(index)
            still = self.difference(smaller)
            if still.keys() & difference.keys():
                sequence, difference, index = smaller, still, 0
            else:
                index += 1
        return sequence, difference
