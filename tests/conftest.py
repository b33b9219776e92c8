"""What every test relies on: nothing is left behind, and no event loop complains unseen."""

import asyncio
import gc
import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

pytest_plugins = ["pytester"]


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "loop_errors: asyncio may log errors here, because the test provokes them")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Keep what is there before the first test out of the garbage collections after each."""
    gc.collect()
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


@pytest_asyncio.fixture(autouse=True)
async def nothing_left_behind() -> AsyncIterator[None]:
    """Fail when a test leaves a task running, and make unclosed resources show themselves where they were left."""
    before = asyncio.all_tasks()
    yield
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    gc.collect()
    assert not left, f"tasks left running: {left}"
