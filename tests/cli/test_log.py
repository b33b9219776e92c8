"""The command line's log: as JSON, and with floods summarised."""

import json
import logging
import random
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from helpers.command_line import CommandLine
from helpers.peers import RawClient, eventually

import proactor_echo as pe
from proactor_echo.cli import log_summary
from proactor_echo.cli.log_summary import FROM_ALL, FROM_ONE, MOST_KINDS, WINDOW, SummarizingHandler
from proactor_echo.cli.output import logging_to_stderr

logger = logging.getLogger("proactor_echo.test")


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """What the log writes, as JSON, from level INFO on."""
    written: list[str] = []
    with logging_to_stderr(logging.INFO, written.append, form="json"):
        yield written


# -- JSON ------------------------------------------------------------------------------------------------------------


def test_a_record_is_an_object_with_what_is_known(lines: list[str]) -> None:
    logger.warning("%s: %s", "192.0.2.1:5", "reset", extra={"event": "ended", "peer": "192.0.2.1:5", "duration": 1.5})
    (line,) = lines
    row = json.loads(line)
    time = row.pop("time")
    assert time.endswith("Z")
    assert len(time) == len("2026-11-25T12:00:00.000Z")
    assert row == {
        "level": "warning",
        "logger": "proactor_echo.test",
        "event": "ended",
        "peer": "192.0.2.1:5",
        "duration": 1.5,
        "message": "192.0.2.1:5: reset",
    }


def test_nothing_that_a_peer_wrote_is_on_the_line_as_it_is(lines: list[str]) -> None:
    text = "\n\r\x1b[31m\x7f\x9b\u2028\u202eü\udcff"
    logger.error("%s", text, extra={"peer": text})
    (line,) = lines
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line)["message"] == json.loads(line)["peer"] == text


def test_a_traceback_is_in_the_object(lines: list[str]) -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("failed")
    (line,) = lines
    assert "ValueError: two" in json.loads(line)["exception"]


def test_other_loggers_and_python_warn_in_the_same_log(lines: list[str]) -> None:
    logging.getLogger("somebody.else").warning("theirs")
    logging.getLogger("somebody.else").info("not theirs")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("careful", UserWarning, stacklevel=1)
    assert [json.loads(line)["logger"] for line in lines] == ["somebody.else", "py.warnings"]


@pytest.mark.parametrize("loop", ["own", "stock"])
def test_the_end_of_a_connection_tells_everything_about_it(cli: CommandLine, loop: str) -> None:
    async def client(server: pe.Server) -> None:
        async with await RawClient.connect(server.address) as client:
            await client.send(b"4:ping,rubbish")
            await client.receive_all()
        await eventually(lambda: server.stats.disconnects)

    cli.client = client
    ended = cli.run("tcp", "--port", "0", "--framing", "netstring", "--log-format", "json", "--loop", loop)
    rows = [json.loads(line) for line in ended.err.splitlines()]
    (row,) = [row for row in rows if row.get("event") == "connection_ended"]
    assert (row["level"], row["reason"], row["bytes_in"], row["bytes_out"]) == ("warning", "bad framing", 14, 7)
    assert row["peer"].startswith("127.0.0.1:")
    assert row["connection"] > 0
    assert 0 <= row["duration"] < 60


# -- floods ----------------------------------------------------------------------------------------------------------


class Keeping(logging.Handler):
    """Keeps the records."""

    def __init__(self, kept: list[logging.LogRecord]) -> None:
        super().__init__()
        self._kept = kept

    def emit(self, record: logging.LogRecord) -> None:
        self._kept.append(record)


class Log:
    """A summarising handler in a time of its own, and what it passes on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.passed: list[logging.LogRecord] = []
        self.handler = SummarizingHandler(Keeping(self.passed), lambda: self.now, self.later)

    def later(self, seconds: float, function: Callable[[], None]) -> Callable[[], None]:
        entry = (self.now + seconds, function)
        self.timers.append(entry)
        return lambda: self.timers.remove(entry)

    def log(self, peer: str | None = "192.0.2.1:5", reason: str | None = "reset", line: int = 1, **more: Any) -> None:
        record = logging.LogRecord("net", logging.INFO, "file.py", line, "%s ended", (peer,), None)
        vars(record).update({"peer": peer, "reason": reason} | more)
        self.handler.handle(record)

    def move_to(self, when: float) -> None:
        self.now = when
        for entry in [entry for entry in self.timers if entry[0] <= when]:
            self.timers.remove(entry)
            entry[1]()

    def messages(self) -> list[str]:
        return [record.getMessage() for record in self.passed]


def test_the_first_of_a_source_are_logged_and_then_how_many_more_there_were() -> None:
    log = Log()
    for _ in range(FROM_ONE + 1200):
        log.log()
    assert log.messages() == ["192.0.2.1:5 ended"] * FROM_ONE
    log.move_to(1000.0 + WINDOW)
    assert log.messages()[FROM_ONE:] == [
        "1200 more like this in 10 s from one source, the last: 192.0.2.1:5 ended",
    ]
    summary = log.passed[-1]
    assert (vars(summary)["count"], vars(summary)["sources"], summary.levelno) == (1200, 1, logging.INFO)


def test_many_sources_are_logged_a_hundred_times_in_all() -> None:
    log = Log()
    for number in range(1000):
        log.log(f"198.51.{number // 250}.{number % 250}:5")
    assert len(log.passed) == FROM_ALL
    log.handler.close()
    assert log.messages()[-1].startswith("900 more like this in 10 s from 900 sources, the last: 198.51.3.249:5")


def test_the_addresses_of_an_ipv6_network_are_one_source() -> None:
    log = Log()
    for number in range(FROM_ONE + 3):
        log.log(f"[2001:db8::{number:x}]:5")
    log.handler.close()
    assert log.messages()[-1].startswith("3 more like this in 10 s from one source")


def test_records_of_another_kind_are_not_counted_with_a_flood() -> None:
    log = Log()
    for _ in range(50):
        log.log()
    log.log(reason="bad framing")
    log.log(line=2)
    assert len(log.passed) == FROM_ONE + 2


def test_a_new_window_begins_anew() -> None:
    log = Log()
    for _ in range(7):
        log.log()
    log.move_to(1000.0 + WINDOW + 1)
    for _ in range(7):
        log.log()
    log.handler.close()
    summaries = [message for message in log.messages() if "more like this" in message]
    assert [summary.partition(" ")[0] for summary in summaries] == ["2", "2"]


def test_what_is_not_counted_is_never_lost() -> None:
    log = Log()
    for line in range(MOST_KINDS + 50):
        log.log(line=line)
    assert len(log.passed) == MOST_KINDS + 50


@pytest.mark.parametrize("seed", range(6))
def test_every_record_is_logged_or_counted(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    log = Log()
    sent: Counter[str] = Counter()
    for _ in range(3000):
        log.move_to(log.now + rng.choice([0, 0, 0, 0.01, 0.04]))
        reason = rng.choice(["reset", "bad framing", "timed out"])
        sent[reason] += 1
        log.log(f"192.0.2.{rng.randrange(30)}:{rng.randrange(9)}", reason)
    log.handler.close()
    seen: Counter[str] = Counter()
    for record in log.passed:
        seen[vars(record)["reason"]] += vars(record).get("count", 1)
    assert seen == sent
    assert len(log.passed) < 3000


def test_a_flood_is_summarised_on_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_summary, "WINDOW", 0.05)
    written: list[str] = []
    with logging_to_stderr(logging.INFO, written.append, summarize=True):
        for _ in range(500):
            logger.info("flood", extra={"peer": "192.0.2.1:5"})
    assert len(written) < 50
    assert any("more like this" in line for line in written)
