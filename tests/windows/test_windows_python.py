"""Facts the Windows lane stands on: that it is Windows Python, with the completion-port loop."""

import asyncio
import importlib.metadata
import sys

import pytest

import proactor_echo

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="facts of Windows Python")


async def test_the_default_event_loop_is_the_proactor_loop() -> None:
    assert isinstance(asyncio.get_running_loop(), asyncio.ProactorEventLoop)


def test_the_installed_version_can_be_asked_for() -> None:
    assert importlib.metadata.version("proactor_echo")
    assert proactor_echo.__doc__
