"""What another process, or the system, asks of a server on Windows. The events themselves are in test_workers.py."""

import threading

import pytest

from proactor_echo.cli import control_events
from proactor_echo.cli.control_events import ControlEvents

CTRL_C, CTRL_BREAK, CLOSE, LOGOFF, SHUTDOWN = 0, 1, 2, 5, 6


@pytest.mark.parametrize("event", [CLOSE, LOGOFF, SHUTDOWN])
def test_a_console_that_ends_is_held_up_until_the_server_has_ended(event: int) -> None:
    asked: list[str] = []
    handled: list[bool] = []
    stopped = threading.Event()

    def ask(request: str) -> None:
        asked.append(request)
        stopped.set()

    with ControlEvents(ask) as events:
        thread = threading.Thread(target=lambda: handled.append(events.console_event(event)))
        thread.start()
        assert stopped.wait(20)
        assert (asked, handled) == (["stop"], [])
    thread.join(20)
    assert handled == [True]


def test_it_is_not_held_up_for_longer_than_windows_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control_events, "CONSOLE_SECONDS", 0.01)
    with ControlEvents(lambda request: None) as events:
        assert events.console_event(CLOSE)


@pytest.mark.parametrize("event", [CTRL_C, CTRL_BREAK])
def test_ctrl_c_and_ctrl_break_are_left_to_the_signals(event: int) -> None:
    with ControlEvents(pytest.fail) as events:
        assert not events.console_event(event)
