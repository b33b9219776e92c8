"""Facts the Windows lane stands on: that it is Windows Python, with the completion-port loop."""

import asyncio
import importlib.metadata
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="facts of Windows Python")


def test_the_default_event_loop_is_the_proactor_loop() -> None:
    loop = asyncio.new_event_loop()
    try:
        assert type(loop).__name__ == "ProactorEventLoop"
    finally:
        loop.close()


def test_the_distribution_tells_its_version() -> None:
    assert importlib.metadata.version("proactor_echo")
