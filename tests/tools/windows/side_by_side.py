"""Run several commands at once, print their output one after the other, and add up what pytest says of each."""

import contextlib
import dataclasses
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Self

NOTHING_SELECTED = 5
"""The exit status of pytest when no test was selected."""

MOST_AGAIN = 10
"""Tests that are run a second time; more do not fail by chance."""

_COUNTS = re.compile(rb"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+|no tests ran) in [\d.]+s", re.MULTILINE)
_COLOUR = re.compile(rb"\x1b\[[\d;]*m")
_FAILED = re.compile(rb"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?\r?$", re.MULTILINE)
_WORDS = ("failed", "passed", "skipped", "deselected", "xfailed", "xpassed", "warnings", "errors")
_PLURAL = {"warning": "warnings", "error": "errors"}


@dataclass(frozen=True, slots=True)
class Total:
    """How several runs of pytest ended, taken together."""

    status: int
    """The first exit status that tells of something wrong; else 0, or pytest's for nothing selected if all say so."""
    counts: str
    """As pytest writes them: ``1 failed, 20 passed``."""
    failed: tuple[str, ...] = ()
    """The tests that failed, as pytest names them."""

    @property
    def worth_another_run(self) -> bool:
        """Whether a few tests failed and nothing else went wrong: alone on the machine they may pass."""
        return self.status == 1 and 0 < len(self.failed) <= MOST_AGAIN

    def run_again(self, run: Callable[[list[str]], int]) -> Self:
        """Run what failed once more, by ``run(tests)``, which returns pytest's exit status; say what came of it."""
        status = run(list(self.failed))
        alone = f"{', '.join(self.failed)} {'failed again' if status else 'passed'} alone"
        return dataclasses.replace(self, status=status, counts=f"{self.counts}, {alone}")


def run(commands: Sequence[Sequence[str]]) -> Total:
    """Run pytest commands at once; the first one's output is copied as it comes, the others' when their turn is.

    Each is in a process group of its own, so that whoever interrupts this process leaves the ending of them to it: all
    are told to terminate, and waited for.
    """
    with contextlib.ExitStack() as files:
        # Files for all but the first: nobody reads theirs for a while, and a full pipe would hold them up.
        kept = [files.enter_context(tempfile.TemporaryFile()) for _ in commands[1:]]
        with _started(commands, [subprocess.PIPE, *kept]) as (first, *others):
            assert first.stdout is not None
            outputs = [_copy(first.stdout)]
            statuses = [first.wait()]
            for process, file in zip(others, kept, strict=True):
                statuses.append(process.wait())
                file.seek(0)
                outputs.append(_copy(file))
    return add_up(statuses, outputs)


def add_up(statuses: Sequence[int], outputs: Sequence[bytes]) -> Total:
    """Take several runs of pytest together, by their exit statuses and outputs; one that gives no counts has failed."""
    status = next((status for status in statuses if status not in (0, NOTHING_SELECTED)), min(statuses))
    counts: Counter[str] = Counter()
    failed: dict[str, None] = {}
    silent = 0
    for output in outputs:
        plain = _COLOUR.sub(b"", output)
        failed.update(dict.fromkeys(name.decode() for name in _FAILED.findall(plain)))
        summaries = _COUNTS.findall(plain)
        if not summaries:
            silent += 1
        elif summaries[-1] != b"no tests ran":
            for part in summaries[-1].decode().split(", "):
                number, word = part.split()
                counts[_PLURAL.get(word, word)] += int(number)
    told = [f"{counts[word]} {word}" for word in sorted(counts, key=(*_WORDS, *counts).index)]
    if silent:
        told.append(f"{silent} of {len(outputs)} ended without a summary")
        return Total(status or 1, ", ".join(told))  # what hung or died is not known by its name
    return Total(status, ", ".join(told) or "no tests ran", tuple(failed))


@contextlib.contextmanager
def _started(
    commands: Sequence[Sequence[str]], outputs: Sequence[int | IO[bytes]]
) -> Iterator[list[subprocess.Popen[bytes]]]:
    processes: list[subprocess.Popen[bytes]] = []
    try:
        for command, output in zip(commands, outputs, strict=True):
            processes.append(
                subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            )
        yield processes
    finally:
        for process in processes:
            process.terminate()  # does nothing to one that has ended
        for process in processes:
            process.wait()
            if process.stdout is not None:
                process.stdout.close()


def _copy(stream: IO[bytes]) -> bytes:
    text = bytearray()
    while data := os.read(stream.fileno(), 65536):
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        text += data
    return bytes(text)
