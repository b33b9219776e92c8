"""Exceptions keep what they carry, and every number of every system has one reason."""

import asyncio
import concurrent.futures
import copy
import errno
import pickle
import re
import socket
import ssl
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from proactor_echo.errors import (
    BindError,
    ConnectFailed,
    DatagramTooLong,
    Disconnected,
    DisconnectReason,
    EndOfStream,
    FrameCorrupt,
    FrameTooLong,
    FrameTruncated,
    FramingError,
    ProactorEchoError,
    ProtocolStateError,
    classify,
    is_resource_error,
)
from proactor_echo.errors.numbers import POSIX, RESOURCE_ERRNOS, RESOURCE_WINERRORS, WINDOWS, WINSOCK_BASE

R = DisconnectReason


class WindowsError(OSError):
    """An OSError as Windows makes it, on any system: ``winerror`` set, ``errno`` what CPython translates it to."""

    def __init__(self, winerror: int, translated: int = errno.EINVAL) -> None:
        super().__init__(translated, "a message of Windows")
        self.winerror = winerror


EVERY_EXCEPTION = [
    FramingError("bad", frames=[b"one"]),
    FrameTooLong("too long", length=9, limit=8, frames=[b"one", b"two"]),
    FrameCorrupt("corrupt"),
    FrameTruncated("cut", partial=b"par"),
    DatagramTooLong("too long", length=65508, limit=65507),
    ProtocolStateError("not now"),
    EndOfStream("the end"),
    Disconnected("gone", reason=R.PEER_GONE, number=64),
    BindError("in use", errno=errno.EADDRINUSE),
    ConnectFailed("nobody there", errors=[ValueError("a"), OSError(1, "b")], errno=1),
]


@pytest.mark.parametrize("exc", EVERY_EXCEPTION, ids=lambda exc: type(exc).__name__)
def test_every_exception_is_ours_and_shows_only_its_sentence(exc: ProactorEchoError) -> None:
    assert isinstance(exc, ProactorEchoError)
    assert str(exc) == exc.args[0]


@pytest.mark.parametrize("copied", [copy.copy, lambda exc: pickle.loads(pickle.dumps(exc))], ids=["copy", "pickle"])
@pytest.mark.parametrize("exc", EVERY_EXCEPTION, ids=lambda exc: type(exc).__name__)
def test_every_exception_survives_copying_and_pickling(exc: ProactorEchoError, copied) -> None:  # type: ignore[no-untyped-def]
    again = copied(exc)
    assert type(again) is type(exc)
    assert again.args == exc.args
    assert repr(vars(again)) == repr(vars(exc))
    assert getattr(again, "errno", None) == getattr(exc, "errno", None)


@pytest.mark.parametrize(
    ("ours", "builtin"),
    [
        (FrameTooLong, ValueError),
        (FrameCorrupt, FramingError),
        (FrameTruncated, FramingError),
        (DatagramTooLong, ValueError),
        (ProtocolStateError, RuntimeError),
        (EndOfStream, EOFError),
        (Disconnected, ConnectionError),
        (BindError, OSError),
        (ConnectFailed, OSError),
    ],
)
def test_each_exception_is_also_the_builtin_that_fits(ours: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(ours, builtin)


def test_frames_decoded_before_the_error_are_kept() -> None:
    assert FrameTooLong("too long", length=9, limit=8, frames=[b"one"]).frames == [b"one"]
    assert FrameCorrupt("corrupt").frames == []


# What each number means, written out once more so that a slip in the table shows.
EXPECTED_WINDOWS = {
    R.PEER_RESET: {64, 10054},
    R.PEER_GONE: {59, 109, 232, 233, 1229, 10057},
    R.ABORTED: {995, 1235, 1236, 10004, 10053},
    R.TIMED_OUT: {121, 1460, 10052, 10060},
    R.UNREACHABLE: {1231, 1232, 1233, 10050, 10051, 10064, 10065},
    R.REFUSED: {1225, 1234, 10061},
    R.LOCAL_CLOSE: {6, 10009, 10038, 10058},
    R.END_OF_FILE: {38, 1226, 10101},
}
EXPECTED_POSIX = {
    R.PEER_RESET: {"ECONNRESET"},
    R.PEER_GONE: {"EPIPE", "ENOTCONN", "ENETRESET"},
    R.ABORTED: {"ECONNABORTED", "ECANCELED"},
    R.TIMED_OUT: {"ETIMEDOUT"},
    R.UNREACHABLE: {"ENETDOWN", "ENETUNREACH", "EHOSTDOWN", "EHOSTUNREACH"},
    R.REFUSED: {"ECONNREFUSED"},
    R.LOCAL_CLOSE: {"EBADF", "ENOTSOCK", "ESHUTDOWN"},
}


def test_the_windows_table_says_what_is_expected_of_it() -> None:
    by_reason: dict[R, set[int]] = {}
    for number, row in WINDOWS.items():
        by_reason.setdefault(row.reason, set()).add(number)
    assert by_reason == EXPECTED_WINDOWS


def test_the_posix_table_says_what_is_expected_of_it() -> None:
    known = {row.name: row.reason for row in POSIX.values()}
    expected = {
        name: reason
        for reason, names in EXPECTED_POSIX.items()
        for name in names
        if getattr(errno, name, WINSOCK_BASE) < WINSOCK_BASE  # on Windows most are Winsock's
    }
    assert known == expected


def test_the_documentation_has_the_same_numbers() -> None:
    page = (Path(__file__).parents[1] / "docs/windows.md").read_text("utf-8")
    section = page.partition("## One reason, many numbers")[2].partition("\n## ")[0]
    told: dict[str, tuple[set[int], set[str]]] = {}
    for reason, windows, posix in re.findall(r"^\| ([a-z ]+) \| ([\d, ]+) \|([^|]*)\|$", section, re.MULTILINE):
        told[reason] = {int(number) for number in windows.split(",")}, set(re.findall(r"`(\w+)`", posix))
    assert told == {
        str(reason): (numbers, EXPECTED_POSIX.get(reason, set())) for reason, numbers in EXPECTED_WINDOWS.items()
    }


@pytest.mark.parametrize("number", WINDOWS, ids=lambda number: f"{number}-{WINDOWS[number].name}")
def test_a_windows_number_has_one_reason_and_is_kept(number: int) -> None:
    row = WINDOWS[number]
    assert classify(WindowsError(number)) == (row.reason, number, f"{row.reason} ({row.name} {number})")


@pytest.mark.parametrize("number", POSIX, ids=lambda number: POSIX[number].name)
def test_a_posix_number_has_one_reason_and_is_kept(number: int) -> None:
    row = POSIX[number]
    reason, kept, text = classify(OSError(number, "words"))
    assert (reason, kept) == (row.reason, number)
    assert str(number) in text


@pytest.mark.skipif(sys.platform != "win32", reason="ctypes.WinError, and the real translation of numbers")
@pytest.mark.parametrize("number", WINDOWS, ids=lambda number: f"{number}-{WINDOWS[number].name}")
def test_a_number_that_windows_itself_reports_has_the_same_reason(number: int) -> None:
    import ctypes

    exc = ctypes.WinError(number)  # type: ignore[attr-defined,unused-ignore]
    assert classify(exc)[:2] == (WINDOWS[number].reason, number)


def test_winerror_goes_before_errno() -> None:
    assert classify(WindowsError(64, errno.ECONNREFUSED)).reason is R.PEER_RESET


def test_a_windows_number_outside_the_table_is_judged_by_its_errno() -> None:
    exc = WindowsError(4242, errno.EPIPE)
    assert classify(exc)[:2] == (R.PEER_GONE, 4242)


def test_a_winsock_number_in_errno_is_understood_everywhere() -> None:
    assert classify(OSError(10054, "words"))[:2] == (R.PEER_RESET, 10054)


def test_a_small_windows_number_in_errno_is_not_taken_for_windows() -> None:
    if 64 not in POSIX:
        assert classify(OSError(64, "words"))[:2] == (R.OTHER, 64)


def test_the_proactors_translation_of_a_reset_keeps_reason_and_number() -> None:
    # asyncio.windows_events does this for WinError 64 and 995.
    original = WindowsError(64)
    translated = ConnectionResetError(*original.args)
    assert classify(translated).reason is R.PEER_RESET


@pytest.mark.skipif(sys.platform != "win32", reason="OSError takes winerror from its fourth argument on Windows only")
def test_the_proactors_translation_keeps_the_windows_number() -> None:
    translated = ConnectionResetError(*OSError(0, "words", None, 64).args)
    assert classify(translated)[:2] == (R.PEER_RESET, 64)


@pytest.mark.parametrize(
    ("exc", "reason"),
    [
        (None, R.END_OF_FILE),
        (EOFError(), R.END_OF_FILE),
        (asyncio.IncompleteReadError(b"x", 2), R.END_OF_FILE),
        (EndOfStream("done"), R.END_OF_FILE),
        (asyncio.TimeoutError(), R.TIMED_OUT),  # noqa: UP041 (the name under test)
        (concurrent.futures.TimeoutError(), R.TIMED_OUT),
        (TimeoutError("slow"), R.TIMED_OUT),
        (ConnectionResetError("Connection lost"), R.PEER_RESET),
        (ConnectionAbortedError("SSL handshake is taking longer than 60 seconds"), R.ABORTED),
        (ConnectionRefusedError(), R.REFUSED),
        (BrokenPipeError(), R.PEER_GONE),
        (ConnectionError(), R.PEER_GONE),
        (asyncio.CancelledError(), R.ABORTED),
        (FrameTooLong("too long", length=2, limit=1), R.FRAMING),
        (ValueError("anything"), R.OTHER),
        (KeyboardInterrupt(), R.OTHER),
        (OSError(), R.OTHER),
        (OSError("words alone"), R.OTHER),
        (socket.gaierror(socket.EAI_NONAME, "unknown"), R.OTHER),
        (ssl.SSLZeroReturnError(6, "closed"), R.END_OF_FILE),
        (ssl.SSLEOFError(8, "EOF occurred in violation of protocol"), R.TRUNCATED),
        (ssl.SSLSyscallError(5, "broken"), R.PEER_GONE),
        (ssl.SSLError(1, "wrong version number"), R.OTHER),
        (ssl.SSLCertVerificationError(1, "expired"), R.OTHER),
        # OpenSSL's and getaddrinfo's numbers must not be taken for the system's
        (ssl.SSLError(errno.ECONNRESET, "not a reset"), R.OTHER),
        (socket.gaierror(errno.ECONNRESET, "not a reset"), R.OTHER),
    ],
    ids=repr,
)
def test_what_has_no_number_of_the_system_is_judged_by_its_class(exc: BaseException | None, reason: R) -> None:
    found = classify(exc)
    assert found.reason is reason
    assert found.number is None
    assert found.text.startswith(reason)


def test_disconnected_keeps_its_own_reason_number_and_text() -> None:
    exc = Disconnected("the server is closing", reason=R.DRAIN_DEADLINE, number=7)
    assert classify(exc) == (R.DRAIN_DEADLINE, 7, "the server is closing")


def test_a_group_whose_members_agree_has_their_reason() -> None:
    group = ExceptionGroup("both", [ConnectionRefusedError(errno.ECONNREFUSED, "v6"), ConnectionRefusedError()])
    assert classify(group).reason is R.REFUSED


def test_a_group_whose_members_differ_is_other_and_names_them_all() -> None:
    found = classify(ExceptionGroup("mixed", [TimeoutError("one"), ConnectionRefusedError("two")]))
    assert found.reason is R.OTHER
    assert "one" in found.text
    assert "two" in found.text


async def test_a_real_reset_is_a_reset_by_the_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        accepted, _ = listener.accept()
        with accepted:
            accepted.setblocking(False)
            receiving = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(accepted, 1))
            await asyncio.sleep(0)  # started; under Wine a receive that starts after the reset gets an end of file
            linger = struct.pack("HH" if sys.platform == "win32" else "ii", 1, 0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            client.close()
            with pytest.raises(OSError) as caught:
                await receiving
    found = classify(caught.value)
    assert found.reason is R.PEER_RESET
    assert found.number in ((64, 10054) if sys.platform == "win32" else (errno.ECONNRESET,))


def test_a_real_refusal_is_refused() -> None:
    with socket.socket() as bound:  # bound and not listening: nobody else can take the port meanwhile
        bound.bind(("127.0.0.1", 0))
        with socket.socket() as client, pytest.raises(OSError) as caught:
            client.connect(bound.getsockname())
    assert classify(caught.value).reason is R.REFUSED


def test_a_socket_closed_here_is_closed_here() -> None:
    sock = socket.socket()
    sock.close()
    with pytest.raises(OSError) as caught:
        sock.recv(1)
    assert classify(caught.value).reason is R.LOCAL_CLOSE


@pytest.mark.parametrize("number", sorted(RESOURCE_WINERRORS))
def test_a_windows_number_for_exhaustion_is_a_resource_error(number: int) -> None:
    assert is_resource_error(WindowsError(number))
    assert classify(WindowsError(number)).number == number


@pytest.mark.parametrize("number", sorted(RESOURCE_ERRNOS))
def test_a_posix_number_for_exhaustion_is_a_resource_error(number: int) -> None:
    assert is_resource_error(OSError(number, "words"))


def test_a_memory_error_is_a_resource_error() -> None:
    assert is_resource_error(MemoryError())


@pytest.mark.parametrize(
    "exc",
    [
        OSError(errno.ECONNABORTED, "words"),
        OSError("no number"),
        ConnectionResetError(),
        WindowsError(64, errno.EMFILE),  # winerror decides
        WindowsError(10054),
        OSError(1450, "a Windows number out of place"),
        ssl.SSLError(8, "an OpenSSL number"),
        ValueError(),
        asyncio.CancelledError(),
    ],
    ids=repr,
)
def test_anything_else_is_not_a_resource_error(exc: BaseException) -> None:
    assert not is_resource_error(exc)


def test_importing_errors_does_not_import_ssl_asyncio_or_socket() -> None:
    # The package's __init__ imports more, so the two modules are loaded by themselves.
    script = (
        "import importlib.util, sys, types\n"
        "from pathlib import Path\n"
        "import proactor_echo.errors as loaded\n"
        "folder = Path(loaded.__file__).parent.parent\n"
        "heavy = {'ssl', 'asyncio', 'socket', 'select'}\n"
        "for name in [n for n in sys.modules if n.split('.')[0] in heavy | {'proactor_echo'}]: del sys.modules[name]\n"
        "package = types.ModuleType('proactor_echo'); package.__path__ = [str(folder)]\n"
        "sys.modules['proactor_echo'] = package\n"
        "import proactor_echo.errors\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"
