"""What the tests of the defect table share: each runs on the stock ProactorEventLoop, where it must fail, and on ours.

A row that CPython repairs makes its test fail on the stock loop, so that the table can be corrected.
"""

from __future__ import annotations

import asyncio
import gc
from asyncio import proactor_events
from collections.abc import Awaitable, Coroutine
from typing import Any, TypeVar

import pytest
from helpers.recording import Bench

from proactor_echo import loops

T = TypeVar("T")

#: Whether this library's datagrams are mended (rows 4 to 6, in 3.14.10). It may be newer than what sys.version says.
DATAGRAMS_MENDED = "_force_close" in vars(proactor_events._ProactorDatagramTransport)  # type: ignore[attr-defined]

# Several of the defects leak a socket: allowed on the stock loop alone.
LEAKS = (
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
)

on_each = pytest.mark.parametrize("kind", [pytest.param("stock", marks=LEAKS), "ours"])


def bench(kind: str) -> Bench:
    return Bench(asyncio.ProactorEventLoop if kind == "stock" else loops.new_event_loop)  # type: ignore[attr-defined,unused-ignore]


def run(here: Bench, main: Coroutine[Any, Any, T]) -> T:
    """Run `main`, then collect what it left while this test's filters of warnings hold."""
    try:
        return here.run(main)
    finally:
        gc.collect()


async def within(seconds: float, awaitable: Awaitable[T]) -> T | None:
    """The result, or None when it does not come: how the stock loop shows that it has gone deaf."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        return None
