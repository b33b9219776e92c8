"""A flood of log records is summarised: the first few as they are, then how many more there were.

Records are alike that were logged at one place, at one level, for one reason. Of such a kind, the first few from each
source are let through, and so many in all; the rest is counted, and said in one line when the window of ten seconds has
passed. What is remembered is bounded.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from proactor_echo.net.sources import SourceGroups
from proactor_echo.sockets.addresses import parse_host_port

__all__ = ["SummarizingHandler"]

#: Seconds in which like records are summarised.
WINDOW: Final = 10.0
#: Records of a kind in a window that are let through: from one source, and from all.
FROM_ONE: Final = 5
FROM_ALL: Final = 100
#: Kinds, and sources of a kind, that are told apart; what is beyond is not summarised, or counted as one source.
MOST_KINDS: Final = 256
MOST_SOURCES: Final = 4096

_Kind = tuple[str, str, int, int, object]


class SummarizingHandler(logging.Handler):
    """Passes records on to ``target``, and of a flood the first few and a summary.

    ``now`` is a clock; ``later`` calls a function after so many seconds, in any thread.
    """

    def __init__(
        self,
        target: logging.Handler,
        now: Callable[[], float] = time.monotonic,
        later: Callable[[float, Callable[[], None]], Callable[[], None]] | None = None,
    ) -> None:
        super().__init__()
        self._target = target
        self._now = now
        self._later = _after if later is None else later
        self._windows: dict[_Kind, _Window] = {}
        self._groups = SourceGroups()
        self._cancel: Callable[[], None] | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a record on, or count it."""
        now = self._now()
        self._end_windows(now)
        kind = (record.name, record.pathname, record.lineno, record.levelno, getattr(record, "reason", None))
        window = self._windows.get(kind)
        if window is None:
            if len(self._windows) >= MOST_KINDS:
                self._target.handle(record)
                return
            self._windows[kind] = window = _Window(now + WINDOW)
        if window.lets_through(self._source_of(record)):
            self._target.handle(record)
            return
        window.count(record)
        if self._cancel is None:
            self._cancel = self._later(WINDOW, self._time_over)

    def close(self) -> None:
        """Say what was counted."""
        self.acquire()
        try:
            if self._cancel is not None:
                self._cancel()
                self._cancel = None
            self._end_windows(float("inf"))
        finally:
            self.release()
        super().close()

    def _time_over(self) -> None:
        self.acquire()
        try:
            self._cancel = None
            self._end_windows(self._now())
            if any(window.counted for window in self._windows.values()):
                self._cancel = self._later(WINDOW, self._time_over)
        finally:
            self.release()

    def _end_windows(self, now: float) -> None:
        over = [kind for kind, window in self._windows.items() if window.ends_at <= now]
        for kind in over:
            summary = self._windows.pop(kind).summary()
            if summary is not None:
                self._target.handle(summary)

    def _source_of(self, record: logging.LogRecord) -> object:
        peer = getattr(record, "peer", None)
        if not isinstance(peer, str):
            return None
        try:
            host, _ = parse_host_port(peer)
        except ValueError:  # a Unix socket's path, a source
            host = peer
        return hash(self._groups.of((host, 0)) or peer)  # a number: many thousands are nothing for the collector


class _Window:
    """The records of one kind in ten seconds."""

    def __init__(self, ends_at: float) -> None:
        self.ends_at = ends_at
        self.counted = 0
        self._through = 0
        self._sources: dict[object, int] = {}
        self._sources_counted: set[object] = set()
        self._last: logging.LogRecord | None = None
        self._source: object = None

    def lets_through(self, source: object) -> bool:
        """Whether the record is to be logged as it is."""
        self._source = source if len(self._sources) < MOST_SOURCES or source in self._sources else None
        number = self._sources.get(self._source, 0) + 1
        self._sources[self._source] = number
        if number > FROM_ONE or self._through >= FROM_ALL:
            return False
        self._through += 1
        return True

    def count(self, record: logging.LogRecord) -> None:
        """Count the record that was not let through."""
        self.counted += 1
        self._sources_counted.add(self._source)
        self._last = record

    def summary(self) -> logging.LogRecord | None:
        """Return a record that says how many there were; None when there were none."""
        last = self._last
        if last is None:
            return None
        summary = copy.copy(last)
        sources = len(self._sources_counted)
        if None in self._sources_counted and sources == 1:
            where = ""
        else:
            where = " from one source" if sources == 1 else f" from {sources} sources"
        summary.msg = f"{self.counted} more like this in {WINDOW:g} s{where}, the last: %s"
        summary.args = (last.getMessage(),)
        summary.exc_info = summary.exc_text = summary.stack_info = None
        summary.count, summary.sources = self.counted, sources
        for name in ("connection", "number", "bytes_in", "bytes_out", "duration"):
            vars(summary).pop(name, None)
        return summary


def _after(seconds: float, function: Callable[[], None]) -> Callable[[], None]:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    timer.start()
    return timer.cancel
