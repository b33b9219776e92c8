"""A stream with a thread: what is dropped when nobody reads, how it is reported, and who waits for whom."""

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TextIO

import pytest

from proactor_echo.cli.background import BackgroundStream

#: Fills any pipe.
MUCH = "m" * (1 << 19)


@contextlib.contextmanager
def pipe() -> Iterator[tuple[IO[bytes], TextIO]]:
    """Make a pipe: the end to read from, the end to write to."""
    near, far = os.pipe()
    with open(near, "rb") as reading, open(far, "w", encoding="utf-8") as writing:
        yield reading, writing


def read_line(reading: IO[bytes]) -> str:
    return reading.readline().decode().rstrip("\r\n")


def soon() -> float:
    return time.monotonic() + 60


def test_lines_arrive_in_their_order() -> None:
    with pipe() as (near, stream):
        background = BackgroundStream(stream)
        for number in range(100):
            background.put(f"line {number}")
        assert [read_line(near) for _ in range(100)] == [f"line {number}" for number in range(100)]
        background.close(soon())


def test_what_does_not_fit_the_queue_is_dropped_and_counted_where_it_is_missing() -> None:
    with pipe() as (near, stream):
        background = BackgroundStream(stream, make_report="report: {}".format, max_queued=len(MUCH) + 10)
        background.put(MUCH)  # its thread waits in it for the reader
        background.put("room")
        background.put("no room\nfor two lines")
        background.put("nor for a third")
        assert read_line(near) == MUCH
        assert read_line(near) == "room"
        assert read_line(near) == "report: 3 log lines were dropped: nobody read them"
        assert background.wait(soon())
        background.put("again")
        assert read_line(near) == "again"
        background.close(soon())


def test_what_must_not_be_dropped_comes_after_what_was() -> None:
    with pipe() as (near, stream):
        background = BackgroundStream(stream, make_report="report: {}".format, max_queued=len(MUCH))
        background.put(MUCH)
        background.put("dropped")
        background.put("the last", always=True)
        read_line(near)
        assert read_line(near) == "report: 1 log line was dropped: nobody read it"
        assert read_line(near) == "the last"
        background.close(soon())


def test_closing_does_not_wait_longer_than_it_is_told_to() -> None:
    with pipe() as (near, stream):
        background = BackgroundStream(stream)
        background.put(MUCH)
        background.close(time.monotonic() + 0.05)
        assert not background.wait(time.monotonic())
        read_line(near)
        assert background.wait(soon())


def test_closing_waits_for_what_is_being_read() -> None:
    with pipe() as (near, stream):
        background = BackgroundStream(stream)
        background.put("the last")
        background.close(soon())
        stream.close()
        assert near.read().splitlines() == [b"the last"]


def test_a_reader_that_has_gone_is_no_error() -> None:
    near, far = os.pipe()
    os.close(near)
    with open(far, "w", encoding="utf-8") as stream:
        background = BackgroundStream(stream)
        background.put("said to nobody")
        assert background.wait(soon())
        background.put("said to nobody")
        assert background.wait(soon())
        assert background.error is None
        background.close(soon())


@pytest.mark.skipif(
    sys.platform == "win32" or not Path("/dev/full").exists(), reason="the full disk that every Linux has"
)
def test_what_a_full_disk_did_not_take_is_reported_when_it_takes_something_again() -> None:
    with open("/dev/full", "w") as full, pipe() as (near, stream):
        background = BackgroundStream(full, make_report="report: {}".format)
        for text in ("one\ntwo", "three"):
            background.put(text)
            assert background.wait(soon())
        assert background.error is not None
        os.dup2(stream.fileno(), full.fileno())
        background.put("four")
        assert read_line(near) == "report: 3 log lines were dropped: No space left on device"
        assert read_line(near) == "four"
        background.close(soon())


def test_a_pipe_that_another_program_made_non_blocking_is_waited_for() -> None:
    if sys.platform == "win32":
        pytest.skip("pipes are always blocking there")
    with pipe() as (near, stream):
        os.set_blocking(stream.fileno(), False)
        background = BackgroundStream(stream)
        background.put(MUCH)
        assert read_line(near) == MUCH
        assert background.wait(soon())
        assert background.error is None
        background.close(soon())
