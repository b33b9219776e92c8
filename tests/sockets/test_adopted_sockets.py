"""Sockets that somebody else bound are taken over, or refused with one sentence."""

import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from proactor_echo.errors import BindError
from proactor_echo.sockets.binding import adopt_datagram_sockets, adopt_listeners


def bound_socket(kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET, kind)
    sock.bind(("127.0.0.1", 0))
    return sock


@pytest.mark.parametrize("listening", [True, False])
def test_a_bound_socket_is_taken_over_and_listens(listening: bool) -> None:
    with bound_socket() as sock:
        if listening:
            sock.listen()
        assert adopt_listeners([sock]) == [sock]
        assert not sock.getblocking()
        socket.create_connection(sock.getsockname(), timeout=10).close()


def test_a_bound_datagram_socket_is_taken_over() -> None:
    with bound_socket(socket.SOCK_DGRAM) as sock:
        assert adopt_datagram_sockets(iter([sock])) == [sock]
        assert not sock.getblocking()


if sys.platform != "win32":

    def test_a_unix_socket_is_taken_over(tmp_path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(tmp_path / "s"))
            assert adopt_listeners([sock]) == [sock]


@pytest.mark.parametrize("adopt", [adopt_listeners, adopt_datagram_sockets])
def test_no_socket_at_all_is_said(adopt: Callable[[list[socket.socket]], object]) -> None:
    with pytest.raises(ValueError, match="sockets is empty: give one or more"):
        adopt([])


def test_a_socket_of_the_wrong_type_is_said() -> None:
    with bound_socket(socket.SOCK_DGRAM) as udp, pytest.raises(BindError, match="it is not a stream socket"):
        adopt_listeners([udp])
    with bound_socket() as tcp, pytest.raises(BindError, match="it is not a datagram socket"):
        adopt_datagram_sockets([tcp])


@pytest.mark.parametrize(
    ("adopt", "kind"), [(adopt_listeners, socket.SOCK_STREAM), (adopt_datagram_sockets, socket.SOCK_DGRAM)]
)
def test_a_socket_that_is_not_bound_is_said(adopt: Callable[[list[socket.socket]], object], kind: int) -> None:
    with socket.socket(socket.AF_INET, kind) as sock, pytest.raises(BindError, match="it is not bound"):
        adopt([sock])


def test_a_connection_is_not_a_listener() -> None:
    with bound_socket() as listener:
        listener.listen()
        with (
            socket.create_connection(listener.getsockname()) as client,
            pytest.raises(BindError, match=r"it is connected to 127"),
        ):
            adopt_listeners([client])


def test_a_closed_socket_is_said() -> None:
    sock = bound_socket()
    sock.close()
    with pytest.raises(BindError, match="it is closed"):
        adopt_listeners([sock])


def test_what_is_not_a_socket_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="each of sockets must be a socket, not 7"):
        adopt_listeners([7])  # type: ignore[list-item]


def test_a_refused_socket_stays_the_callers() -> None:
    with bound_socket() as good, bound_socket(socket.SOCK_DGRAM) as bad:
        with pytest.raises(BindError):
            adopt_listeners([good, bad])
        assert good.getblocking()
        assert good.fileno() >= 0
