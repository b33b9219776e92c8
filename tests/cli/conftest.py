"""What several of the tests of the command line need."""

import signal
from collections.abc import Iterator

import pytest
from helpers.command_line import CommandLine

from proactor_echo.cli.stop_signals import STOP_SIGNALS


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[CommandLine]:
    handlers = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    line = CommandLine(monkeypatch, capsys)
    yield line
    for number, handler in handlers.items():  # a command leaves the signals ignored: its process is about to end
        signal.signal(number, handler)
    if hasattr(line, "_visit"):
        line._visit.result()
