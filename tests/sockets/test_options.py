"""Socket options are really set, by the call that each system wants."""

import logging
import math
import socket
import sys
from asyncio.trsock import TransportSocket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from proactor_echo.sockets import refusals
from proactor_echo.sockets.options import KeepAlive, SocketOptions

WINDOWS = sys.platform == "win32"
needs_tcp_keep = pytest.mark.skipif(
    not (hasattr(socket, "TCP_KEEPINTVL") and (hasattr(socket, "TCP_KEEPIDLE") or sys.platform == "darwin")),
    reason="this system's socket module has no TCP_KEEPIDLE and TCP_KEEPINTVL (Windows before 10 1709, Wine 8)",
)
only_windows = pytest.mark.skipif(not WINDOWS, reason="a fact of Windows")
only_posix = pytest.mark.skipif(WINDOWS, reason="a fact of POSIX systems")


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection."""
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        socket.create_connection(listener.getsockname()) as client,
        listener.accept()[0] as accepted,
    ):
        yield client, accepted


@contextmanager
def unbound(family: int = socket.AF_INET, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
    with socket.socket(family, kind) as sock:
        yield sock


def is_on(sock: socket.socket, option: int, level: int = socket.SOL_SOCKET) -> bool:
    return bool(sock.getsockopt(level, option))


# -- KeepAlive ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf, 32768])
@pytest.mark.parametrize("name", ["idle", "interval"])
def test_keepalive_refuses_times_that_some_system_would_refuse(name: str, seconds: float) -> None:
    with pytest.raises(ValueError, match=f"keepalive {name} must be"):
        KeepAlive(**{name: seconds})  # type: ignore[arg-type]


@pytest.mark.parametrize("count", [0, -1, 128, 2.5])
def test_keepalive_refuses_counts_that_some_system_would_refuse(count: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="keepalive count must be"):
        KeepAlive(count=count)


@needs_tcp_keep
@pytest.mark.parametrize("wanted", [KeepAlive(), KeepAlive(7, 3, 2), KeepAlive(32767, 32767, 127), KeepAlive(1, 1, 1)])
def test_keepalive_reads_back_what_was_applied(wanted: KeepAlive, pair: tuple[socket.socket, socket.socket]) -> None:
    for sock in pair:
        wanted.apply(sock)
        assert is_on(sock, socket.SO_KEEPALIVE)
        assert KeepAlive.read(sock) == wanted


@needs_tcp_keep
def test_keepalive_rounds_fractions_of_a_second_up(pair: tuple[socket.socket, socket.socket]) -> None:
    KeepAlive(0.25, 2.5, 3).apply(pair[0])
    assert KeepAlive.read(pair[0]) == KeepAlive(1, 3, 3)


def test_keepalive_that_is_off_reads_as_none(pair: tuple[socket.socket, socket.socket]) -> None:
    assert KeepAlive.read(pair[0]) is None


def test_keepalive_is_accepted_by_this_system(pair: tuple[socket.socket, socket.socket]) -> None:
    KeepAlive(30, 2.5, 4).apply(pair[1])
    assert is_on(pair[1], socket.SO_KEEPALIVE)


def test_keepalive_is_accepted_on_asyncios_wrapped_socket(pair: tuple[socket.socket, socket.socket]) -> None:
    # On Windows this is WSAIoctl: the wrapper hides socket.ioctl.
    KeepAlive(30, 2.5, 4).apply(TransportSocket(pair[1]))
    assert is_on(pair[1], socket.SO_KEEPALIVE)


class RecordingSocket(socket.socket):
    """A real socket that notes ioctl calls, which only Windows has."""

    def __init__(self) -> None:
        super().__init__()
        self.controls: list[tuple[int, object]] = []

    def ioctl(self, control: int, option: object, /) -> None:
        self.controls.append((control, option))


@pytest.fixture
def old_windows(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Make the socket module look like that of a Windows without TCP_KEEP*."""
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_KEEPALIVE"):
        monkeypatch.delattr(socket, name, raising=False)
    monkeypatch.setattr(socket, "SIO_KEEPALIVE_VALS", 0x98000004, raising=False)
    return monkeypatch


@pytest.mark.usefixtures("old_windows")
def test_without_tcp_keep_options_keepalive_is_sio_keepalive_vals_in_milliseconds() -> None:
    with RecordingSocket() as sock:
        KeepAlive(60, 5, 10).apply(sock)
        assert sock.controls == [(0x98000004, (1, 60_000, 5_000))]
        assert is_on(sock, socket.SO_KEEPALIVE)


@pytest.mark.usefixtures("old_windows")
def test_sio_keepalive_vals_keeps_fractions_of_a_second() -> None:
    with RecordingSocket() as sock:
        KeepAlive(0.0005, 2.5).apply(sock)
        assert sock.controls == [(0x98000004, (1, 1, 2_500))]


@pytest.mark.usefixtures("old_windows")
def test_sio_keepalive_vals_cannot_be_read_back() -> None:
    with RecordingSocket() as sock:
        KeepAlive().apply(sock)
        assert KeepAlive.read(sock) is None


@pytest.mark.skipif(not hasattr(socket, "TCP_KEEPCNT"), reason="needs the real TCP_KEEPCNT")
def test_a_windows_that_has_only_the_count_gets_times_and_count(old_windows: pytest.MonkeyPatch) -> None:
    # Windows 10 1703 knows TCP_KEEPCNT, and only 1709 the other two.
    old_windows.undo()
    count = socket.TCP_KEEPCNT
    for name in ("TCP_KEEPIDLE", "TCP_KEEPINTVL"):
        old_windows.delattr(socket, name)
    old_windows.setattr(socket, "SIO_KEEPALIVE_VALS", 0x98000004, raising=False)
    with RecordingSocket() as sock:
        KeepAlive(60, 5, 3).apply(sock)
        assert sock.controls == [(0x98000004, (1, 60_000, 5_000))]
        assert sock.getsockopt(socket.IPPROTO_TCP, count) == 3


def test_a_system_without_any_keepalive_times_gets_keepalive_alone(old_windows: pytest.MonkeyPatch) -> None:
    old_windows.delattr(socket, "SIO_KEEPALIVE_VALS")
    with RecordingSocket() as sock:
        KeepAlive().apply(sock)
        assert sock.controls == []
        assert is_on(sock, socket.SO_KEEPALIVE)


if sys.platform == "linux":  # lends Linux's option number to the name that macOS uses

    def test_macos_calls_the_idle_time_tcp_keepalive(monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(socket, "TCP_KEEPALIVE", socket.TCP_KEEPIDLE, raising=False)
        monkeypatch.delattr(socket, "TCP_KEEPIDLE")
        monkeypatch.setattr(sys, "platform", "darwin")
        with unbound() as sock:
            KeepAlive(42, 3, 2).apply(sock)
            assert KeepAlive.read(sock) == KeepAlive(42, 3, 2)


# -- SocketOptions -----------------------------------------------------------------------------------------------------


def test_a_connection_gets_nodelay_and_keepalive_by_default(pair: tuple[socket.socket, socket.socket]) -> None:
    SocketOptions().apply_stream(pair[0])
    assert is_on(pair[0], socket.TCP_NODELAY, socket.IPPROTO_TCP)
    assert is_on(pair[0], socket.SO_KEEPALIVE)


def test_nodelay_that_is_turned_off_is_off_whoever_turned_it_on(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    SocketOptions(nodelay=False, keepalive=None).apply_stream(pair[0])
    assert not is_on(pair[0], socket.TCP_NODELAY, socket.IPPROTO_TCP)
    assert not is_on(pair[0], socket.SO_KEEPALIVE)


if sys.platform != "win32":  # Python has no Unix sockets on Windows

    def test_a_unix_socket_gets_no_tcp_options(caplog: pytest.LogCaptureFixture) -> None:
        with unbound(socket.AF_UNIX) as sock:
            SocketOptions().apply_stream(sock)
            assert not is_on(sock, socket.SO_KEEPALIVE)
        assert not caplog.records


def test_a_refused_option_is_one_warning_for_the_process_and_never_an_exception(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(refusals, "_reported", set())
    caplog.set_level(logging.DEBUG, logger="proactor_echo")
    sock = socket.socket()
    sock.close()  # every option of a closed socket is refused
    for _ in range(3):
        SocketOptions(send_buffer=65536).apply_stream(sock)
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "TCP_NODELAY" in warnings[0]
    assert "SO_KEEPALIVE" in warnings[1]
    assert sum(record.levelno == logging.DEBUG for record in caplog.records) == 4


@only_posix
def test_a_tcp_listener_can_be_restarted_while_old_connections_are_closing() -> None:
    with unbound() as sock:
        SocketOptions().apply_before_bind(sock)
        assert is_on(sock, socket.SO_REUSEADDR)


@only_posix
def test_a_udp_port_is_never_shared() -> None:
    with unbound(kind=socket.SOCK_DGRAM) as sock:
        SocketOptions(exclusive=False).apply_before_bind(sock)
        assert not is_on(sock, socket.SO_REUSEADDR)


@only_windows
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_is_exclusive_on_windows(kind: int) -> None:
    with unbound(kind=kind) as sock:
        SocketOptions().apply_before_bind(sock)
        assert is_on(sock, getattr(socket, "SO_EXCLUSIVEADDRUSE"))  # noqa: B009 (unknown to mypy elsewhere)
        assert not is_on(sock, socket.SO_REUSEADDR)


@only_windows
@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_opting_out_of_the_exclusive_port_sets_nothing_on_windows(kind: int) -> None:
    with unbound(kind=kind) as sock:
        SocketOptions(exclusive=False).apply_before_bind(sock)
        assert not is_on(sock, getattr(socket, "SO_EXCLUSIVEADDRUSE"))  # noqa: B009
        assert not is_on(sock, socket.SO_REUSEADDR)


@pytest.mark.skipif(not socket.has_ipv6, reason="Python was built without IPv6")
@pytest.mark.parametrize(
    ("options", "asked", "ipv6_alone"),
    [
        (SocketOptions(), None, False),
        (SocketOptions(dual_stack=False), None, True),
        (SocketOptions(ipv6_only=True), None, True),
        (SocketOptions(), False, True),
        (SocketOptions(dual_stack=False), True, False),
        (SocketOptions(ipv6_only=True), True, True),
    ],
)
def test_ipv4_on_an_ipv6_socket_is_said_either_way(
    options: SocketOptions, asked: bool | None, ipv6_alone: bool
) -> None:
    with unbound(socket.AF_INET6) as sock:
        options.apply_before_bind(sock, dual_stack=asked)
        assert is_on(sock, socket.IPV6_V6ONLY, socket.IPPROTO_IPV6) is ipv6_alone


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_buffer_sizes_are_set_before_bind(kind: int) -> None:
    with unbound(kind=kind) as sock:
        SocketOptions(receive_buffer=50_000, send_buffer=60_000).apply_before_bind(sock)
        doubled = 2 if sys.platform == "linux" else 1
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) == 50_000 * doubled
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) == 60_000 * doubled


@pytest.mark.parametrize("size", [0, -1, 2**31])
@pytest.mark.parametrize("name", ["receive_buffer", "send_buffer"])
def test_a_senseless_buffer_size_is_refused(name: str, size: int) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        SocketOptions(**{name: size})  # type: ignore[arg-type]


def test_options_are_a_value() -> None:
    assert SocketOptions() == SocketOptions(keepalive=KeepAlive(60, 5, 10))
    assert len({SocketOptions(), SocketOptions(), SocketOptions(nodelay=False)}) == 2


def test_sockets_share_a_port_when_asked() -> None:
    if sys.platform != "linux":
        with pytest.raises(ValueError, match="reuse_port: this system shares no port out among several sockets"):
            SocketOptions(reuse_port=True)
        return
    with socket.socket() as one, socket.socket() as other:
        for sock in (one, other):
            SocketOptions(reuse_port=True).apply_before_bind(sock)
        one.bind(("127.0.0.1", 0))
        one.listen()
        other.bind(one.getsockname())
        other.listen()
