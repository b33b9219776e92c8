"""A server process seen from outside: what it holds, what it costs, what it writes."""

from __future__ import annotations

import collections
import contextlib
import json
import os
import queue
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple, Self

HOSTED = Path(__file__).with_name("hosted.py")

TIMEOUT = 30.0


class Sample(NamedTuple):
    """What the process had at one moment; bytes and seconds of CPU."""

    time: float
    descriptors: int
    memory: int
    cpu: float


class Server:
    """One of our servers on a free port, in a process of its own, killed at the end of the ``with`` block."""

    def __init__(self, *arguments: str) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed with the process)
        self.process = subprocess.Popen(
            [sys.executable, str(HOSTED), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()
        first = self.lines.get(timeout=TIMEOUT)
        if not first:
            raise RuntimeError(f"the server did not start: {self.log()}")
        self.port = int(first.rsplit(":", 1)[1])
        self.samples: list[Sample] = []

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.put(line)
        self.lines.put("")

    def look(self) -> dict[str, int]:
        """Ask the process what it has; empty if it does not answer in time."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError, queue.Empty):
            self.process.stdin.write("look\n")
            self.process.stdin.flush()
            while line := self.lines.get(timeout=TIMEOUT):
                if line.startswith("# "):
                    answer: dict[str, int] = json.loads(line[2:])
                    return answer
        return {}

    def sample(self) -> Sample | None:
        """Note what the process has, on Linux; elsewhere it is only asked."""
        if sys.platform != "linux":
            return None
        process = Path("/proc", str(self.process.pid))
        fields = (process / "stat").read_text().rsplit(") ", 1)[1].split()
        taken = Sample(
            time.monotonic(),
            len(os.listdir(process / "fd")),
            int((process / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
            (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"),
        )
        self.samples.append(taken)
        return taken

    def stop(self) -> tuple[int | None, float]:
        """End it with SIGTERM; return its exit status, None if it had to be killed, and how long it took."""
        started = time.monotonic()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.write("stop\n")
            self.process.stdin.flush()
        try:
            status: int | None = self.process.wait(TIMEOUT)
        except subprocess.TimeoutExpired:
            status = None
        return status, time.monotonic() - started

    def log(self) -> str:
        """Return everything it has written to standard error."""
        self.errors.seek(0)
        return self.errors.read().decode("utf-8", "replace")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.kill()
        self.process.wait()
        self.reader.join()
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        self.errors.close()


def slope(samples: list[Sample]) -> float:
    """Return by how many bytes a second the memory grows, by least squares over the second half of the time."""
    if not samples:
        return 0.0
    middle = (samples[0].time + samples[-1].time) / 2
    late = [sample for sample in samples if sample.time >= middle]
    if len({sample.time for sample in late}) < 3:
        return 0.0
    return statistics.linear_regression([s.time for s in late], [s.memory for s in late]).slope


_VARIABLE = (
    (re.compile(r"^\d{4}-\d\d-\d\d \S+ "), ""),
    (re.compile(r"\[?[0-9a-f.:]*[.:][0-9a-f.:]*\]?:\d+"), "PEER"),
    (re.compile(r"\b\d[\d.,]*\b"), "N"),
    (re.compile(r"'.*'|b\".*\"|\".*\""), "TEXT"),
)


def kinds(log: str, most: int = 12) -> dict[str, int]:
    """Count the lines of a log without what differs in each; beyond ``most`` kinds they are counted together."""
    counts: collections.Counter[str] = collections.Counter()
    for line in log.splitlines():
        if line.startswith("{"):
            continue  # the counters at the end
        kind = line
        for pattern, word in _VARIABLE:
            kind = pattern.sub(word, kind)
        counts[kind[:100]] += 1
    common = dict(counts.most_common(most))
    if rest := counts.total() - sum(common.values()):
        common["others"] = rest
    return common


def final_counters(log: str) -> dict[str, Any]:
    """Return the counters that the command line prints at the end, those that are not zero."""
    for line in reversed(log.splitlines()):
        if line.startswith("{"):
            with contextlib.suppress(ValueError):
                return {name: value for name, value in json.loads(line).items() if value}
    return {}
