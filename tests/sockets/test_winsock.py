"""The Winsock controls that socket.ioctl does not know are really set on Windows, and nothing happens elsewhere."""

import errno
import logging
import socket
import sys
from collections.abc import Iterator

import pytest

from proactor_echo.sockets import refusals, winsock

only_windows = pytest.mark.skipif(sys.platform != "win32", reason="a fact of Windows")


@pytest.fixture
def udp() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield sock


@pytest.fixture(autouse=True)
def nothing_reported_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "_reported", set())


@pytest.mark.skipif(sys.platform == "win32", reason="what other systems do")
def test_elsewhere_there_is_nothing_to_turn_off(udp: socket.socket, caplog: pytest.LogCaptureFixture) -> None:
    winsock.disable_udp_connreset(udp)
    assert not caplog.records


if sys.platform == "win32":

    @pytest.mark.parametrize("code", [winsock.SIO_UDP_CONNRESET, winsock.SIO_UDP_NETRESET])
    def test_pythons_own_ioctl_refuses_the_codes(udp: socket.socket, code: int) -> None:
        # When this fails, CPython has learnt them and ctypes is no longer needed.
        with pytest.raises(ValueError, match="invalid ioctl command"):
            udp.ioctl(code, False)

    def test_connreset_is_accepted(udp: socket.socket) -> None:
        winsock.ioctl(udp, winsock.SIO_UDP_CONNRESET, bytes(4))

    def test_connreset_of_a_closed_socket_is_an_oserror_with_its_number() -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.close()
        with pytest.raises(OSError) as caught:
            winsock.ioctl(sock, winsock.SIO_UDP_CONNRESET, bytes(4))
        assert caught.value.winerror == 10038  # WSAENOTSOCK

    def test_a_code_the_system_does_not_know_is_an_oserror_with_its_number(udp: socket.socket) -> None:
        with pytest.raises(OSError) as caught:
            winsock.ioctl(udp, 0x98000FFF, bytes(4))
        assert caught.value.winerror in (10022, 10045)  # WSAEINVAL, WSAEOPNOTSUPP

    @pytest.mark.parametrize("first", [socket.SO_REUSEADDR, socket.SO_EXCLUSIVEADDRUSE])
    def test_a_port_cannot_be_exclusive_and_reusable(udp: socket.socket, first: int) -> None:
        [second] = {socket.SO_REUSEADDR, socket.SO_EXCLUSIVEADDRUSE} - {first}
        udp.setsockopt(socket.SOL_SOCKET, first, 1)
        with pytest.raises(OSError) as caught:
            udp.setsockopt(socket.SOL_SOCKET, second, 1)
        assert caught.value.winerror == 10022  # WSAEINVAL

    def test_a_refusal_is_one_warning_for_the_process(caplog: pytest.LogCaptureFixture) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.close()  # both controls are refused
        for _ in range(3):
            winsock.disable_udp_connreset(sock)
        warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
        assert len(warnings) == 2
        assert "SIO_UDP_CONNRESET" in warnings[0]
        assert "SIO_UDP_NETRESET" in warnings[1]


@pytest.mark.parametrize("repeat", range(3))
def test_an_unconnected_socket_that_sent_to_a_closed_port_still_receives(udp: socket.socket, repeat: int) -> None:
    udp.bind(("127.0.0.1", 0))
    udp.settimeout(10)
    winsock.disable_udp_connreset(udp)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()
        closed.close()
        udp.sendto(b"to nobody", nobody)
        peer.sendto(b"hello", udp.getsockname())
        assert udp.recv(100) == b"hello"


@pytest.mark.skipif(sys.platform != "linux", reason="shows that the ICMP message of the test above really comes")
def test_a_connected_socket_that_sent_to_a_closed_port_hears_of_it_on_linux(udp: socket.socket) -> None:
    closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    closed.bind(("127.0.0.1", 0))
    udp.connect(closed.getsockname())
    closed.close()
    udp.settimeout(10)
    udp.send(b"to nobody")
    with pytest.raises(ConnectionRefusedError) as caught:
        udp.recv(100)
    assert caught.value.errno == errno.ECONNREFUSED
