"""What every test relies on: nothing is left behind, and no event loop complains unseen."""

import asyncio
import gc
import inspect
import logging
import sys
from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from proactor_echo.loops import new_event_loop

pytest_plugins = ["pytester", "helpers.shards"]

STOCK_LOOP: type[asyncio.AbstractEventLoop]
if sys.platform == "win32":
    STOCK_LOOP = asyncio.ProactorEventLoop
else:
    STOCK_LOOP = asyncio.SelectorEventLoop

ON_BOTH_LOOPS = ("net", "testing")
"""Folders of tests that run on the stock loop and on ours."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "loop_errors: asyncio may log errors here, because the test provokes them")
    config.addinivalue_line(
        "markers",
        "stock_loop(ours=, because=): on the stock loop alone; the test that says the same of ours, or why none does",
    )


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep what is there before the first test out of the garbage collections after each."""
    set_aside_what_is_kept()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
    """Keep what pytest holds of a module's tests out of them too; each would take longer than the one before."""
    try:
        return (yield)
    finally:
        if nextitem is None or nextitem.path != item.path:  # nothing of a test or of the module is alive any more
            set_aside_what_is_kept()


def set_aside_what_is_kept() -> None:
    gc.collect()  # what is garbage now must not be kept with the rest
    if hasattr(gc, "freeze"):  # PyPy has none
        gc.freeze()


@pytest.fixture(autouse=True)
def quiet_event_loop(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail when asyncio logs an error ("Exception in callback", "Task exception was never retrieved", ...)."""
    caplog.set_level(logging.DEBUG, logger="proactor_echo")
    yield
    if request.node.get_closest_marker("loop_errors") is None:
        records = [record for when in ("setup", "call") for record in caplog.get_records(when)]
        errors = [r.getMessage() for r in records if r.name == "asyncio" and r.levelno >= logging.ERROR]
        assert not errors, f"asyncio logged: {errors}"


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what must hold on any loop on the system's stock loop and on ours."""
    if (
        item.path.relative_to(Path(__file__).parent).parts[0] in ON_BOTH_LOOPS
        and item.get_closest_marker("stock_loop") is None
    ):
        return {"stock": STOCK_LOOP, "ours": new_event_loop}
    return {"stock": STOCK_LOOP}


@pytest.fixture(autouse=True)
def tidy(request: pytest.FixtureRequest) -> None:
    """Watch over every test that runs on a loop; the others need not wait for one to be made."""
    if inspect.iscoroutinefunction(getattr(request, "function", None)):
        request.getfixturevalue("nothing_left_behind")


@pytest_asyncio.fixture
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fail when a test leaves a task running, and make unclosed resources show themselves where they were left."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    gc.collect()
    assert not left, f"tasks left running: {left}"
