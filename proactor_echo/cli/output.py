"""What the command line writes: lines on standard output, the log on standard error.

A reader that has gone away (``proactor-echo tcp | head -1``) is survived silently; a character that the stream's
encoding lacks (a pipe on Windows is often cp1252) is escaped.
Colour goes to terminals only, and to none while NO_COLOR is set (https://no-color.org) or TERM is ``dumb``.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, Literal, TextIO

import click

from proactor_echo.cli.log_summary import SummarizingHandler
from proactor_echo.escaping import escape_traceback, escaped, escaped_lines

__all__ = [
    "READER_GONE",
    "LogFormat",
    "colour",
    "discard",
    "encodable",
    "errors_as_sentences",
    "log_line",
    "logging_to_stderr",
    "print_err",
    "print_line",
    "styled",
]

LogFormat = Literal["text", "json"]

#: A closed pipe; Windows' C library says "invalid argument" for it.
READER_GONE: Final = (errno.EPIPE, errno.EINVAL) if sys.platform == "win32" else (errno.EPIPE,)


def print_line(text: str = "") -> None:
    """Write a line to standard output and flush it. Raises click.ClickException if that fails (a full disk)."""
    stream = sys.stdout
    if stream is None:  # pythonw, or a closed descriptor; click says nothing then from 8.1.1 on
        return
    try:
        click.echo(encodable(text, stream), color=colour())
    except OSError as exc:
        # Python writes what is left in the buffer once more when it ends, and would complain then.
        discard(stream)
        if exc.errno not in READER_GONE:
            raise click.ClickException(f"cannot write to standard output: {exc.strerror}") from exc


def print_err(text: str) -> None:
    """Write a line to standard error; if that is impossible there is nobody to tell."""
    stream = sys.stderr
    if stream is None:
        return
    with contextlib.suppress(OSError):
        click.echo(encodable(text, stream), err=True, color=colour())


def styled(text: str, **style: Any) -> str:
    """Return ``text`` with colour codes; :func:`print_line` and :func:`print_err` leave them out where unwanted."""
    return click.style(text, **style)


@contextlib.contextmanager
def logging_to_stderr(
    level: int,
    write: Callable[[str], None] | None = None,
    *,
    form: LogFormat = "text",
    summarize: bool = False,
) -> Iterator[None]:
    """Send the log to standard error while the block runs: this package's from ``level`` on, of others the warnings.

    Python's warnings are in it. ``write`` takes the lines, :func:`print_err` unless another is given. ``form`` is text
    for people or JSON for machines; ``summarize`` has a flood of like records summarised.
    """
    lines = _StderrHandler(print_err if write is None else write, form)
    handler = SummarizingHandler(lines) if summarize else lines
    levels = {"proactor_echo": level, "asyncio": max(level, logging.WARNING)}
    before = {name: logging.getLogger(name).level for name in levels}
    for name, wanted in levels.items():
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(wanted)
    others = _OthersHandler(handler)
    logging.getLogger().addHandler(others)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logging.getLogger().removeHandler(others)
        for name, old in before.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(old)
        handler.close()


def log_line(text: str, level: int = logging.WARNING, form: LogFormat = "text") -> str:
    """Return ``text`` as a line of the log, with the time and the level."""
    return _formatter(form).format(logging.LogRecord("proactor_echo.cli", level, "", 0, text, None, None))


def _formatter(form: LogFormat) -> logging.Formatter:
    if form == "text":
        return _LineFormatter()
    from proactor_echo.cli.log_json import JsonFormatter

    return JsonFormatter()


class _OthersHandler(logging.Handler):
    """For the root logger: passes on what is logged by neither this package nor asyncio, which have the handler too."""

    def __init__(self, target: logging.Handler) -> None:
        super().__init__(logging.WARNING)
        self._target = target

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.partition(".")[0] not in ("proactor_echo", "asyncio"):
            self._target.handle(record)


class _StderrHandler(logging.Handler):
    def __init__(self, write: Callable[[str], None], form: LogFormat) -> None:
        super().__init__()
        self._write = write
        self._form: LogFormat = form
        self.setFormatter(_formatter(form))

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # of somebody's repr(), say: it is no reason to end what was being logged
            where = f"{os.path.basename(record.pathname)}:{record.lineno}"
            text = f"a record of {record.name} ({where}) cannot be shown: {error!r}"
            line = log_line(text, logging.ERROR, self._form)
        self._write(line)


class _LineFormatter(logging.Formatter):
    def __init__(self) -> None:
        super().__init__("%(asctime)s %(word)s %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        record.word = _WORDS[min(record.levelno // 10, 4)]
        escape_traceback(record)
        return super().format(record)

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        # Lines that the call itself has are kept; a value that it puts into its text begins none.
        record.message = (escaped_lines if "\n" in str(record.msg) else escaped)(record.message)
        return super().formatMessage(record)

    def formatStack(self, stack_info: str) -> str:  # noqa: N802 (logging's name)
        return "  " + escaped_lines(super().formatStack(stack_info))

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802 (logging's name)
        """Return the local time with its offset from UTC, as in RFC 3339."""
        return datetime.fromtimestamp(record.created, UTC).astimezone().isoformat(" ", "seconds")


_WORDS: Final = (
    "debug:",
    "debug:",
    "info:",
    styled("warning:", fg="yellow"),
    styled("error:", fg="red"),
)


def colour() -> bool | None:
    """Return False where colour is unwanted, None for click to look whether it writes to a terminal."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return None


def encodable(text: str, stream: TextIO) -> str:
    """Return ``text`` with what the stream cannot encode escaped as in a string literal."""
    encoding = getattr(stream, "encoding", None) or "ascii"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def discard(stream: TextIO | None) -> None:
    """Point a stream that cannot be written at the null device, as Python's documentation of SIGPIPE advises."""
    if stream is None:
        return
    with contextlib.suppress(OSError, ValueError):  # in a test it may be no real file
        descriptor = stream.fileno()
        with open(os.devnull, "wb") as null:
            os.dup2(null.fileno(), descriptor)


@contextlib.contextmanager
def errors_as_sentences() -> Iterator[None]:
    """Turn an OSError (a port in use, no permission, an unknown host) into one sentence without a traceback."""
    try:
        yield
    except OSError as error:
        raise click.ClickException(error.strerror or str(error)) from error
