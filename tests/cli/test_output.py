"""What is written arrives, whatever the stream is, and harms nobody when it cannot."""

import io
import logging
import os
import re
import sys

import click
import pytest

from proactor_echo.cli.output import logging_to_stderr, print_err, print_line, styled


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


class Narrow(io.TextIOWrapper):
    """A pipe with an encoding that has few characters, as on a western Windows."""

    def __init__(self, encoding: str) -> None:
        super().__init__(io.BytesIO(), encoding=encoding)

    def written(self) -> bytes:
        self.flush()
        assert isinstance(self.buffer, io.BytesIO)
        return self.buffer.getvalue().replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("cp1252", b"caf\xe9 \\u65e5 \\udcff\n"), ("ascii", b"caf\\xe9 \\u65e5 \\udcff\n")],
)
def test_characters_that_the_stream_cannot_encode_are_escaped(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: bytes
) -> None:
    out, err = Narrow(encoding), Narrow(encoding)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    print_line("café 日 \udcff")
    print_err("café 日 \udcff")
    assert (out.written(), err.written()) == (expected, expected)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_missing_stream_is_no_error(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(sys, name, None)  # as in pythonw, or after >&-
    print_line("said to nobody")
    print_err("said to nobody")


class Broken(io.StringIO):
    """A stream on which nothing can be written, whose flush fails for ever after."""

    def __init__(self, error: OSError) -> None:
        super().__init__()
        self._error = error

    def flush(self) -> None:
        raise self._error


def test_a_reader_that_has_gone_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(BrokenPipeError(32, "Broken pipe")))
    print_line("said to nobody")


def test_what_else_stops_stdout_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", Broken(OSError(28, "No space left on device")))
    with pytest.raises(click.ClickException, match=r"^cannot write to standard output: No space left on device$"):
        print_line("said to nobody")


def test_a_line_on_stderr_that_cannot_be_written_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Broken(OSError(28, "No space left on device")))
    print_err("said to nobody")


COLOURED = "\x1b[31mno\x1b[0m\n"
terminals = pytest.mark.skipif(sys.platform == "win32", reason="there click turns the codes into calls of the console")


@terminals
def test_a_terminal_gets_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    print_line(styled("no", fg="red"))
    assert terminal.getvalue() == COLOURED


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_gets_none_when_it_wants_none(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(sys, "stdout", terminal := Terminal())
    print_line(styled("no", fg="red"))
    assert terminal.getvalue() == "no\n"


def test_a_pipe_gets_no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", pipe := io.StringIO())
    print_line(styled("no", fg="red"))
    assert pipe.getvalue() == "no\n"


def test_the_log_goes_to_stderr_while_it_is_wanted(capsys: pytest.CaptureFixture[str]) -> None:
    logger = logging.getLogger("proactor_echo.net")
    with logging_to_stderr(logging.WARNING):
        logger.info("too little")
        logger.warning("enough")
    logger.warning("too late")
    err = capsys.readouterr().err
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d warning: enough\n", err)


def test_no_line_of_the_log_can_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr(logging.WARNING):
        try:
            raise ValueError("two\nlines \x1b[2J")
        except ValueError as error:
            logging.getLogger("proactor_echo").error("two\nlines \x1b[2J", exc_info=error)
    first, *rest = capsys.readouterr().err.splitlines()
    assert first.endswith(" error: two")
    assert rest[0] == "  lines \\x1b[2J"
    assert rest[-1] == "  lines \\x1b[2J"
    assert [line for line in rest if not line.startswith("  ") or not line.isprintable()] == []


#: An escape code, ends of lines, a bell, C1 controls, a right-to-left override, a lone surrogate.
HOSTILE = "a\x1b[2J\nb\rc\x07\x9b\x85\u202e\u2028\udcff"


def test_a_value_in_a_line_of_the_log_begins_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    with logging_to_stderr(logging.WARNING):
        for name in ("proactor_echo.net", "asyncio"):
            logging.getLogger(name).warning("%s: it ended", HOSTILE, stack_info=True)
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if not line.isprintable()] == []
    first = [line.partition(" warning: ")[2] for line in lines if not line.startswith("  ")]
    assert first == [r"a\x1b[2J\nb\rc\x07\x9b\x85\u202e\u2028\udcff: it ended"] * 2


def test_a_record_that_cannot_be_shown_is_one_line_and_harms_nobody(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("proactor_echo"), "propagate", False)  # pytest's own handler would raise

    class Unshowable:
        def __repr__(self) -> str:
            raise ValueError(HOSTILE)

    with logging_to_stderr(logging.WARNING):
        logging.getLogger("proactor_echo.net").warning("%r failed", Unshowable())
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert re.search(r" error: a record of proactor_echo\.net \(test_output\.py:\d+\) cannot be shown: Value", line)


def test_the_log_s_levels_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    loggers = [logging.getLogger(name) for name in ("proactor_echo", "asyncio")]
    before = [(logger.level, list(logger.handlers)) for logger in loggers]
    with logging_to_stderr(logging.DEBUG):
        assert loggers[0].level == logging.DEBUG
    assert [(logger.level, list(logger.handlers)) for logger in loggers] == before


def test_the_log_s_words_are_coloured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        pytest.skip("pseudo-terminals are POSIX's")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    near, far = os.openpty()
    with open(far, "w") as terminal, open(near, "rb", buffering=0) as screen:
        monkeypatch.setattr(sys, "stderr", terminal)
        with logging_to_stderr(logging.WARNING):
            logging.getLogger("proactor_echo").error("bad")
        assert screen.read(1000).endswith(b" \x1b[31merror:\x1b[0m bad\r\n")
