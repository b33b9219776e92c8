"""Tests of the loops run a coroutine on a loop of their own, ours or the stock one."""

import gc
from collections.abc import Iterator

import pytest
from helpers.recording import Bench

from proactor_echo import loops
from proactor_echo.loops import private


@pytest.fixture(autouse=True)
def collected() -> Iterator[None]:
    """Find what a test left behind while its own filters of warnings hold; the stock loops leave things."""
    yield
    gc.collect()


@pytest.fixture
def ours() -> Bench:
    return Bench(loops.new_event_loop)


@pytest.fixture
def stock() -> Bench:
    return Bench(private.StockLoop)


@pytest.fixture(params=["stock", "ours"])
def each(request: pytest.FixtureRequest) -> Bench:
    return Bench(private.StockLoop if request.param == "stock" else loops.new_event_loop)
