"""Facts the Windows lane stands on: that it is Windows Python, with the completion-port loop."""

import asyncio
import importlib.metadata
import socket
import sys

import pytest
from helpers.peers import WINE_VERSION

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="facts of Windows Python")


def test_the_default_event_loop_is_the_proactor_loop() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert type(loop).__name__ == "ProactorEventLoop"
    finally:
        loop.close()


def test_the_distribution_knows_its_version() -> None:
    assert importlib.metadata.version("proactor_echo")


@pytest.mark.parametrize(("wine", "says", "keepalive_times"), [(8, (6, 1), False), (10, (10, 0), True)])
def test_each_wine_is_another_windows(wine: int, says: tuple[int, int], keepalive_times: bool) -> None:
    if wine != WINE_VERSION:
        pytest.skip(f"what Wine {wine} says to be")
    assert sys.getwindowsversion()[:2] == says  # type: ignore[attr-defined, unused-ignore]
    assert hasattr(socket, "TCP_KEEPIDLE") == keepalive_times
