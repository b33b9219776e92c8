"""The command line in a process of its own: read its lines, stop it with signals, get what it left."""

import contextlib
import io
import itertools
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple, Self

TIMEOUT = 60.0

# Nobody can send a signal to a process on Windows. There a thread of the process raises it when told to, which is how
# Windows itself delivers Ctrl+C: in a thread of its own.
_OBEYING = """
import os, signal, threading
def obey():
    while number := os.read(0, 1):
        signal.raise_signal(number[0])
threading.Thread(target=obey, daemon=True).start()
import proactor_echo.__main__
"""

# Where the tests themselves run with SIGINT ignored, as in the background of a shell script, Python ignores it too.
_INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import proactor_echo.__main__
"""


class Ended(NamedTuple):
    """What a process left: its exit status and what it wrote."""

    status: int
    out: str
    err: str


class CliProcess:
    """``proactor-echo`` with these arguments, killed at the end of the ``with`` block if it still runs.

    ``host``: a program, to be run with the arguments by Python, that starts the command line itself.
    ``hang_up_after``: close standard output after so many lines, like ``head``.
    ``unread``: do not read standard error until :meth:`read_errors`. ``errors``: a descriptor for it,
    instead of a pipe.
    """

    def __init__(
        self,
        *arguments: str,
        host: str | None = None,
        hang_up_after: int | None = None,
        unread: bool = False,
        errors: int | None = None,
    ) -> None:
        program = [host] if host else ["-c", _OBEYING if sys.platform == "win32" else _INTERRUPTIBLE]
        self._process = subprocess.Popen(
            [sys.executable, *program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if errors is None else errors,
        )
        assert self._process.stdin is not None
        self._stdin = self._process.stdin
        self._out = _Lines(self._process.stdout, hang_up_after)
        self._err = _Lines(None if unread else self._process.stderr)

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def line(self) -> str:
        """Wait for the next line on standard output; empty at its end."""
        return self._out.next()

    def error_line(self) -> str:
        """Wait for the next line on standard error; empty at its end."""
        return self._err.next()

    def read_errors(self) -> None:
        """Begin to read standard error."""
        self._err = _Lines(self._process.stderr)

    def listening(self) -> tuple[str, int]:
        """Wait for the line that says where it listens on IPv4; return that."""
        words = self.line().split()
        assert words[:1] == ["listening"], (words, self.end())
        host, _, port = words[2].rpartition(":")
        return host, int(port)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal."""
        if sys.platform == "win32":
            self.write(bytes([number]))
        else:
            self._process.send_signal(number)

    def write(self, data: bytes) -> None:
        """Write to standard input."""
        self._stdin.write(data)
        self._stdin.flush()

    def has_ended(self) -> bool:
        """Tell whether it has ended."""
        return self._process.poll() is not None

    def wait(self) -> int:
        """Wait for its end and return its exit status, whether or not what it wrote was read."""
        with contextlib.suppress(OSError):  # it may have ended with something unread
            self._stdin.close()
        return self._process.wait(TIMEOUT)

    def end(self) -> Ended:
        """Wait for its end."""
        status = self.wait()
        return Ended(status, self._out.all(), self._err.all())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._stdin.close()
        self._process.wait()
        self._out.wait()
        self._err.wait()
        if self._process.stderr is not None:
            self._process.stderr.close()


class _Lines:
    """The lines of a pipe, read by a thread so that waiting for one can end."""

    def __init__(self, pipe: IO[bytes] | None, limit: int | None = None) -> None:
        self._pipe = io.BytesIO() if pipe is None else pipe
        self._limit = limit
        self._queue: queue.Queue[str] = queue.Queue()
        self._seen: list[str] = []
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def next(self) -> str:
        line = self._queue.get(timeout=TIMEOUT)
        self._seen.append(line)
        return line.rstrip("\r\n")

    def wait(self) -> None:
        """Wait until nothing more is read."""
        self._thread.join(TIMEOUT)

    def all(self) -> str:
        """Return everything up to the end of the pipe, with what was read before."""
        self.wait()
        while not self._queue.empty():
            self._seen.append(self._queue.get())
        return "".join(self._seen).replace("\r\n", "\n")

    def _read(self) -> None:
        for line in itertools.islice(self._pipe, self._limit):
            self._queue.put(line.decode("cp1252" if sys.platform == "win32" else "utf-8"))
        self._pipe.close()
        self._queue.put("")


def wait_for_line(log: Path, pattern: str) -> re.Match[str]:
    """Wait until a line of a file, which another process writes, matches."""
    deadline = time.monotonic() + TIMEOUT
    while True:
        text = log.read_text() if log.exists() else ""
        if found := re.search(pattern, text, re.MULTILINE):
            return found
        assert time.monotonic() < deadline, text
        time.sleep(0.05)


def run_python(*arguments: str, **options: Any) -> Ended:
    """Run Python to its end."""
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False, **options)
    return Ended(done.returncode, done.stdout, done.stderr)
