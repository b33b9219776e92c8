"""One worker as the supervisor has it: its process, its pipe, and what it said last."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

from proactor_echo.net.workers.control_pipe import ControlPipe, Message

__all__ = ["WorkerProcess"]

#: Seconds that reading goes on for after the process has ended.
LAST_WORDS = 1.0

_CODE = "import sys; sys.path[:] = {path!r}; from proactor_echo.net.workers.worker import main; main()"


class WorkerProcess:
    """Start a process; ``heard(worker, message)`` is called in the loop for each message, and with None at its end."""

    def __init__(self, number: int, start: Message, heard: Callable[[WorkerProcess, Message | None], None]) -> None:
        self.number: int = number
        self.open: int = 0
        self.on_the_way: int = 0
        self.is_draining: bool = False
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.ended: asyncio.Event = asyncio.Event()
        #: When it has answered last, by the loop's clock; and whether an answer is awaited.
        self.alive_at: float = 0.0
        self.began: float = asyncio.get_running_loop().time()
        self.is_asked: bool = False
        self.stack_asked: bool = False
        #: Its counters, and how late its loop was, as it has told them last.
        self.stats: dict[str, Any] | None = None
        self.loop_lag: dict[str, Any] | None = None
        self._loop = asyncio.get_running_loop()
        self._heard = heard
        near, far = socket.socketpair()
        with far:
            try:
                self._process = _started(far)
            except BaseException:
                near.close()
                raise
        self._pipe = ControlPipe(near, self._process.pid)
        self.say(start)
        self._reader = threading.Thread(target=self._listen, name=f"read from worker {number}", daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, name=f"wait for worker {number}", daemon=True).start()

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    @property
    def is_over(self) -> bool:
        """Whether it takes no connections any more, or could not be started."""
        if self.is_draining or not self.ready.done():
            return self.is_draining
        return self.ready.cancelled() or self.ready.exception() is not None

    @property
    def status(self) -> int | None:
        """Its exit status; negative: the signal that ended it; None while it runs."""
        return self._process.poll()

    def say(self, message: Message, handed: socket.socket | None = None) -> bool:
        """Send it a message; return whether that was possible."""
        try:
            self._pipe.send(message, handed)
        except OSError:
            return False
        return True

    def hand(self, sock: socket.socket) -> bool:
        """Hand a connection to it; return whether that was possible."""
        return self.say({"do": "take"}, sock)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while (received := self._pipe.receive()) is not None:
                self._report(received[0])

    def _wait(self) -> None:
        """Report the end of the process, after what it has said; its pipe may stay open if a child has a copy."""
        self._process.wait()
        self._reader.join(LAST_WORDS)
        self._pipe.close()
        self._report(None)

    def _report(self, message: Message | None) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._heard, self, message)


def _started(far: socket.socket) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", _CODE.format(path=sys.path)]
    if sys.platform != "win32":
        return subprocess.Popen([*command, str(far.fileno())], stdin=subprocess.DEVNULL, pass_fds=[far.fileno()])
    # Ctrl+C is for the supervisor alone. The worker's number must be known before a socket can be shared with it.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, creationflags=subprocess.CREATE_NEW_PROCESS_GROUP)
    assert process.stdin is not None
    with process.stdin as stdin:
        stdin.write(base64.b64encode(far.share(process.pid)) + b"\n")
    return process
