"""The output of a server, written by threads of its own, so that a reader who stops reading cannot stop the server.

A pipe that nobody reads is full after 64 KiB, and a terminal takes nothing after Ctrl+S, or on Windows after a click
into its window. A write then blocks. So the event loop only puts texts into a queue here, and a daemon thread for each
stream writes them. The queue is bounded: while it is full, and still full a moment later, lines are dropped and
counted, and a line in their place says how many as soon as the stream takes something again. The end of the process
waits for these threads, but not for long.

The standard library's QueueListener is not used: its ``stop()`` joins its thread without a limit.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final, TextIO

import click

from proactor_echo.cli.output import READER_GONE, LogFormat, colour, encodable, log_line

__all__ = ["BackgroundStream", "Output", "background_output"]

#: Characters that may wait to be written to one stream.
MAX_QUEUED: Final = 4 << 20

#: Seconds to wait, in all, until what a server printed has been written: when it starts, and when it has stopped.
WRITE_TIMEOUT: Final = 2.0

#: Seconds to wait while the queue is full, so that a dump is whole when its reader is only slow. After a reader took
#: nothing in this time, nothing waits for it again until it takes something.
SLOW_READER_TIMEOUT: Final = 0.25

#: Seconds for which a thread collects lines before it writes them: waking it for each line costs the event loop more
#: than the line does.
BATCH_DELAY: Final = 0.01


class BackgroundStream:
    """One of the standard streams, to which a thread writes. None, for a stream that was closed, takes everything.

    :param stream: the stream to write to.
    :param make_report: makes a log line of the sentence that says how many lines were dropped.
    :param max_queued: characters that may wait to be written.
    """

    def __init__(
        self, stream: TextIO | None, *, make_report: Callable[[str], str] = str, max_queued: int = MAX_QUEUED
    ) -> None:
        #: What the last write raised, other than that its reader has gone.
        self.error: OSError | None = None
        self._write = _writer(stream)
        self._make_report = make_report
        self._max_queued = max_queued
        self._texts: list[str] = []
        self._size = 0  # of the texts, and of those that are being written
        self._dropped = 0  # lines that were dropped and not reported yet
        self._reporting = self._reporting_now = (
            0  # lines that reports in the queue, and in the present write, are about
        )
        self._why = ""
        self._closing = self._gone = self._writing = self._failing = self._stuck = False
        self._waited_for = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="proactor-echo output", daemon=True)
        self._thread.start()

    def put(self, text: str, *, always: bool = False) -> None:
        """Queue ``text`` and a newline; while the queue is full, and unless ``always``, the text is dropped."""
        with self._changed:
            if self._gone:
                return
            if not (always or self._fits(text)):
                self._drop(text.count("\n") + 1, "nobody read {}")
                return
            if not self._texts:
                self._changed.notify_all()
            self._report_dropped()
            self._append(text)

    def wait(self, deadline: float) -> bool:
        """Wait until everything has been written, or until ``deadline``, a time of :func:`time.monotonic`."""
        with self._changed:
            return self._wait_for(lambda: not self._texts and not self._writing, deadline - time.monotonic())

    def close(self, deadline: float) -> None:
        """Take no more texts; wait as :meth:`wait` does. What is not written by then may be lost."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _fits(self, text: str) -> bool:
        def has_capacity() -> bool:
            return not self._size or self._size + len(text) <= self._max_queued

        if not (has_capacity() or self._stuck):
            self._stuck = not self._wait_for(has_capacity, SLOW_READER_TIMEOUT)
        return has_capacity()

    def _wait_for(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait for the thread, which writes at once meanwhile."""
        self._waited_for = True
        self._changed.notify_all()
        try:
            return self._changed.wait_for(condition, max(0.0, seconds))
        finally:
            self._waited_for = False

    def _append(self, text: str) -> None:
        self._texts.append(text + "\n")
        self._size += len(text) + 1

    def _drop(self, lines: int, why: str) -> None:
        self._dropped += lines
        self._why = why

    def _report_dropped(self) -> None:
        if self._dropped:
            one = self._dropped == 1
            lines = f"{self._dropped:,} log line{' was' if one else 's were'} dropped"
            self._append(self._make_report(f"{lines}: {self._why.format('it' if one else 'them')}"))
            self._reporting += self._dropped - 1  # if it cannot be written, that line is one more
        self._dropped = 0

    def _run(self) -> None:
        while text := self._next():
            try:
                self._write(text)
                self._failing = False
            except _NotWritten as failed:
                self._failed(failed)
            with self._changed:
                self._size -= len(text)
                self._stuck = False

    def _next(self) -> str:
        """Wait for texts and take all there are; empty at the end."""
        with self._changed:
            self._writing = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._texts or self._closing or (self._dropped and not self._failing))
            self._changed.wait_for(lambda: self._closing or self._waited_for, BATCH_DELAY)
            if not self._failing:
                self._report_dropped()  # nothing was taken since, so that it belongs at the end of these
            self._reporting_now, self._reporting = self._reporting, 0
            text = "".join(self._texts)
            self._texts.clear()
            self._writing = bool(text)
            return text

    def _failed(self, failed: _NotWritten) -> None:
        with self._changed:
            if failed.reader_gone:
                self._gone = True
                self._texts.clear()
                return
            self._failing = True
            self.error = failed.error
            self._drop(failed.lines + self._reporting_now, failed.error.strerror or str(failed.error))


class Output:
    """What a server prints: lines on standard output, others and the log on standard error."""

    def __init__(self, form: LogFormat = "text") -> None:
        self._out = BackgroundStream(sys.stdout)
        self._err = BackgroundStream(sys.stderr, make_report=lambda text: log_line(text, form=form))

    def line(self, text: str) -> None:
        """Print a line, or several, to standard output."""
        self._out.put(text, always=True)

    def err_line(self, text: str, *, always: bool = False) -> None:
        """Print to standard error; unless ``always`` it is dropped when too much waits to be read already."""
        self._err.put(text, always=always)

    def flush(self, deadline: float | None = None) -> None:
        """Wait for standard output, but not for long. Raises click.ClickException if it failed (a full disk)."""
        self._out.wait(time.monotonic() + WRITE_TIMEOUT if deadline is None else deadline)
        if (error := self._out.error) is not None:
            raise click.ClickException(f"cannot write to standard output: {error.strerror or error}") from error

    def close(self, deadline: float) -> None:
        """Wait for both until ``deadline``."""
        for stream in (self._out, self._err):
            stream.close(deadline)


@contextlib.contextmanager
def background_output(form: LogFormat = "text") -> Iterator[Output]:
    """Print without ever blocking on the reader; at the end, wait a little for what is not written yet.

    A ClickException is shown here and becomes its exit status: click would block when it shows it.
    """
    output = Output(form)
    deadline = None
    try:
        yield output
        deadline = time.monotonic() + WRITE_TIMEOUT
        output.flush(deadline)
    except click.ClickException as error:
        output.err_line(f"Error: {error.format_message()}", always=True)
        raise click.exceptions.Exit(error.exit_code) from error
    finally:
        output.close(time.monotonic() + WRITE_TIMEOUT if deadline is None else deadline)


class _NotWritten(Exception):  # noqa: N818 (it says what happened)
    """So many lines could not be written."""

    def __init__(self, error: OSError, lines: int, *, reader_gone: bool) -> None:
        super().__init__(str(error))
        self.error = error
        self.lines = lines
        self.reader_gone = reader_gone


def _writer(stream: TextIO | None) -> Callable[[str], None]:
    """Return what writes a text to the stream and raises _NotWritten."""
    if stream is None:  # pythonw, or a closed descriptor
        return lambda text: None
    try:
        descriptor = stream.fileno()
        terminal = os.isatty(descriptor)
        stream.flush()
    except (OSError, ValueError):  # no real file, as in a test
        descriptor, terminal = -1, False
    if descriptor < 0 or (terminal and sys.platform == "win32"):
        return _ThroughClick(stream).write
    return _ToDescriptor(stream, descriptor, terminal=terminal).write


class _ToDescriptor:
    """Writes to the descriptor and not to Python's stream, whose lock the interpreter needs when it ends."""

    def __init__(self, stream: TextIO, descriptor: int, *, terminal: bool) -> None:
        self._stream = stream
        self._descriptor = descriptor
        self._terminal = terminal
        self._coloured = terminal and colour() is None

    def write(self, text: str) -> None:
        if not self._coloured:
            text = click.unstyle(text)
        data = encodable(text.replace("\n", os.linesep), self._stream).encode(self._stream.encoding)
        written = 0
        try:
            while written < len(data):
                # All in one call: between two the event loop may hold the interpreter for milliseconds.
                written += self._write_some(data[written:])
        except OSError as error:
            # A terminal whose window was closed answers EIO.
            gone = error.errno in READER_GONE or (self._terminal and error.errno == errno.EIO)
            raise _NotWritten(error, data.count(b"\n", written), reader_gone=gone) from error

    def _write_some(self, data: bytes) -> int:
        try:
            return os.write(self._descriptor, data)
        except BlockingIOError:  # another program that has the same pipe made it non-blocking
            select.select([], [self._descriptor], [])
            return 0


class _ThroughClick:
    """Writes to a console of Windows, for which click translates colours and characters, or to a file of Python's."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._err = stream is sys.stderr

    def write(self, text: str) -> None:
        try:
            click.echo(encodable(text, self._stream), nl=False, err=self._err, color=colour())
        except OSError as error:
            raise _NotWritten(error, text.count("\n"), reader_gone=error.errno in READER_GONE) from error
