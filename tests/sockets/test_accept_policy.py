"""What an accept that failed asks for: the whole policy, as a table."""

import errno

import pytest

from proactor_echo.sockets.accept_errors import (
    FIRST_PAUSE,
    LONGEST_PAUSE,
    MAX_CONSECUTIVE_ERRORS,
    is_of_one_connection,
    pause_after,
)


def windows_error(number: int) -> OSError:
    """An OSError as Windows makes them, on any system."""
    error = OSError(errno.EINVAL, "as on Windows")
    error.winerror = number  # type: ignore[attr-defined,unused-ignore]
    return error


def posix(*names: str) -> list[OSError]:
    return [OSError(getattr(errno, name), name) for name in names if hasattr(errno, name)]


OF_ONE_CONNECTION = [
    *posix("ECONNABORTED", "ECONNRESET", "EPROTO", "EPERM", "ENETDOWN", "ENOPROTOOPT", "EHOSTUNREACH", "ENETUNREACH"),
    *map(windows_error, (59, 64, 121, 995, 1236, 10053, 10054)),
]
PAUSED_AT_ONCE = [
    *posix("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "EBADF", "ENOTSOCK", "EINVAL", "EOPNOTSUPP"),
    *map(windows_error, (6, 8, 87, 1450, 10009, 10022, 10024, 10038, 10045, 10055)),
    MemoryError(),
]
UNKNOWN = [OSError(4711, "nobody knows"), windows_error(4711), RuntimeError("a bug"), KeyError("another")]


@pytest.mark.parametrize("error", OF_ONE_CONNECTION, ids=repr)
def test_an_error_of_one_connection_never_pauses(error: OSError) -> None:
    assert is_of_one_connection(error)
    assert {pause_after(error, failures) for failures in (0, 1, MAX_CONSECUTIVE_ERRORS, 10_000)} == {0.0}


@pytest.mark.parametrize("error", PAUSED_AT_ONCE, ids=repr)
def test_a_shortage_and_a_wrong_call_pause_at_once_and_twice_as_long_each_time(error: BaseException) -> None:
    assert not is_of_one_connection(error)
    assert [pause_after(error, failures) for failures in range(3)] == [FIRST_PAUSE, 2 * FIRST_PAUSE, 4 * FIRST_PAUSE]
    assert pause_after(error, 10) == pause_after(error, 10_000) == LONGEST_PAUSE


@pytest.mark.parametrize("error", UNKNOWN, ids=repr)
def test_what_nobody_knows_is_answered_at_once_for_a_while(error: BaseException) -> None:
    assert not is_of_one_connection(error)
    assert {pause_after(error, failures) for failures in range(MAX_CONSECUTIVE_ERRORS - 1)} == {0.0}
    assert [pause_after(error, MAX_CONSECUTIVE_ERRORS - 1 + more) for more in range(2)] == [
        FIRST_PAUSE,
        2 * FIRST_PAUSE,
    ]


@pytest.mark.parametrize("error", OF_ONE_CONNECTION, ids=repr)
def test_no_connection_makes_the_submission_of_an_accept_fail(error: OSError) -> None:
    assert pause_after(error, MAX_CONSECUTIVE_ERRORS - 2, submitting=True) == 0.0
    assert pause_after(error, MAX_CONSECUTIVE_ERRORS - 1, submitting=True) == FIRST_PAUSE
