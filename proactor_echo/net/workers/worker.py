"""A worker: a process with an event loop and a server, which gets its connections from the supervisor.

It ends when it is told to, and when the supervisor is gone: nothing is left behind.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import faulthandler
import importlib
import pickle
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

from proactor_echo.errors import BindError, TlsError
from proactor_echo.loops import new_event_loop
from proactor_echo.net.stats import DrainReport
from proactor_echo.net.tcp.server import QUIET_TIME, Server
from proactor_echo.net.udp.server import UdpServer
from proactor_echo.net.workers.control_pipe import ControlPipe, Message

__all__ = ["main"]

#: Seconds after which a worker that is full looks whether it is so still.
LOOK_AGAIN = 0.05


def main() -> None:
    """Run the worker of the pipe that the command line, or on Windows standard input, says."""
    # A terminal sends them to all of its processes, and systemd too: the supervisor gets them, and tells what to do.
    for name in ("SIGINT", "SIGBREAK", "SIGHUP", "SIGTERM"):
        if number := getattr(signal, name, None):
            signal.signal(number, signal.SIG_IGN)
    pipe = ControlPipe(_pipe_socket())
    first = pipe.receive()
    if first is None:
        return
    message = first[0]
    sys.path[:] = message["path"]
    loop_factory = asyncio.new_event_loop if message["loop"] == "stock" else new_event_loop
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(_Worker(pipe, runner.get_loop()).run(message))


def _pipe_socket() -> socket.socket:
    if sys.platform == "win32":
        return socket.fromshare(base64.b64decode(sys.stdin.readline()))
    return socket.socket(fileno=int(sys.argv[1]))


class _Worker:
    """Serves until it is told to end."""

    def __init__(self, pipe: ControlPipe, loop: asyncio.AbstractEventLoop) -> None:
        self._pipe = pipe
        self._drain: float = 0.0
        self._quiet: float = QUIET_TIME
        self._asked_to_end = asyncio.Event()
        self._loop = loop
        self._server: Server | UdpServer
        self._unacknowledged = 0  # connections that it was handed and has not said to have taken

    async def run(self, message: Message) -> None:
        try:
            target, arguments = pickle.loads(base64.b64decode(message["target"]))
            self._server = await _named(target)(*arguments)
        except Exception as error:
            self._say({"is": "failed", "why": _sentence(error)})
            return
        threading.Thread(target=self._receive, name="pipe", daemon=True).start()
        self._say({"is": "ready"})
        await self._asked_to_end.wait()
        report = await self._close()
        ended = {"finished": report.finished, "aborted": report.aborted}
        self._say({"is": "stopped", **self._counters(), "report": ended})

    def _say(self, message: Message) -> None:
        try:
            self._pipe.send(message)
        except OSError:
            self._end(0.0)  # the supervisor is gone

    # -- in the thread that reads the pipe --------------------------------------------------------------------

    def _receive(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: the loop is closed
            while (received := self._pipe.receive()) is not None:
                message, handed = received
                if message["do"] == "stack":  # the loop may be stuck
                    self._say({"is": "stack", "text": self._stack()})
                else:
                    self._loop.call_soon_threadsafe(self._do, message, handed)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self._loop.call_soon_threadsafe(self._end, 0.0)

    def _stack(self) -> str:
        with tempfile.TemporaryFile() as file:
            faulthandler.dump_traceback(file)
            file.seek(0)
            return file.read().decode("utf-8", "backslashreplace")

    # -- in the loop ---------------------------------------------------------------------------------------------

    def _do(self, message: Message, handed: socket.socket | None) -> None:
        what = message["do"]
        if what == "take" and handed is not None and isinstance(self._server, Server):
            self._unacknowledged += 1
            self._server.adopt(handed)
            self._tell_taken()
        elif what == "listen" and handed is not None:
            self._listen(handed, message["shared"])
        elif what == "measure":
            self._server.measure()
        elif what == "ping":
            self._say({"is": "alive", **(self._counters() if message["stats"] else {"open": self._open})})
        elif what == "drain":
            self._quiet = message["quiet"]
            self._end(message["seconds"])

    def _listen(self, handed: socket.socket, shared: bool) -> None:
        if isinstance(self._server, Server):
            self._server.listen([handed], shared=shared)
        else:
            self._server.listen([handed])

    @property
    def _open(self) -> int:
        return self._server.open if isinstance(self._server, Server) else 0

    def _counters(self) -> Message:
        lag = self._server.loop_lag
        row = self._server.stats.as_names()
        return {"open": self._open, "stats": row, "loop_lag": None if lag is None else lag.as_row()}

    async def _close(self) -> DrainReport:
        if isinstance(self._server, Server):
            return await self._server.close(self._drain, quiet=self._quiet)
        await self._server.close()
        return DrainReport(0, 0, 0.0)

    def _tell_taken(self) -> None:
        """Say how many were taken. Those that wait for a slot are not: then this one is handed no more, at last."""
        assert isinstance(self._server, Server)
        taken = self._unacknowledged - self._server.waiting
        if taken > 0:
            self._unacknowledged -= taken
            self._say({"is": "taken", "count": taken, "open": self._server.open})
        if self._unacknowledged and not self._asked_to_end.is_set():
            self._loop.call_later(LOOK_AGAIN, self._tell_taken)

    def _end(self, drain: float) -> None:
        if self._asked_to_end.is_set():
            return
        self._drain = drain
        self._asked_to_end.set()


def _named(target: str) -> Callable[..., Awaitable[Server | UdpServer]]:
    module, _, name = target.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    return found  # type: ignore[no-any-return]


def _sentence(error: Exception) -> str:
    if isinstance(error, BindError | TlsError):
        return str(error)
    return "".join(traceback.format_exception_only(error)).strip()
