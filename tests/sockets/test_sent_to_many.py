"""What was sent to many does not reach a server; tests/net/udp shows it on Linux, and no Wine has Windows' option."""

import socket
import sys
from typing import Any

import pytest

from proactor_echo.sockets.sent_to_many import drop_what_was_sent_to_many


class Asked(socket.socket):
    """Notes the options that are set, or refuses them."""

    refuses = False

    def setsockopt(self, *option: Any) -> None:
        self.option = option
        if self.refuses:
            raise OSError(10042, "not supported")


class Refusing(Asked):
    """A socket of a system that has no such option."""

    refuses = True


def test_windows_is_told_to_deliver_no_broadcasts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with Asked(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert drop_what_was_sent_to_many(sock)
        assert sock.option == (socket.IPPROTO_IP, 22, 0)  # IP_RECEIVE_BROADCAST of ws2ipdef.h


def test_a_system_that_has_no_such_option_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    with Refusing(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not drop_what_was_sent_to_many(sock)
    monkeypatch.setattr(sys, "platform", "darwin")
    with Asked(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert not drop_what_was_sent_to_many(sock)
        assert not hasattr(sock, "option")
