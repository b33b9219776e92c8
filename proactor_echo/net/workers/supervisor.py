"""Workers: several processes that serve one port, and what keeps them.

The supervisor listens for its whole life. The workers accept on its listeners (:mod:`.listeners`), or it accepts and
hands each connection to one of them (:mod:`.dispatcher`). A worker that
ends by itself is replaced, after a pause that doubles each time it does not hold. Reloading replaces one after the
other: the new one is ready before the old one drains, so that nobody is refused.
"""

from __future__ import annotations

import abc
import asyncio
import base64
import logging
import pickle
import socket
import sys
from collections.abc import Sequence
from typing import Any, Final, Generic, Literal, Self, TypeVar

from proactor_echo.arguments import check_seconds
from proactor_echo.net.histogram import Histogram
from proactor_echo.net.metrics import LAG_SECONDS, Metric
from proactor_echo.net.stats import DatagramStats, DrainReport, ServerStats
from proactor_echo.net.tcp.server import QUIET_TIME
from proactor_echo.net.workers.control_pipe import Message
from proactor_echo.net.workers.dispatcher import Dispatcher
from proactor_echo.net.workers.listeners import Balance, WorkersListeners
from proactor_echo.net.workers.process import WorkerProcess
from proactor_echo.sockets.addresses import Address, format_address, port_of

__all__ = ["Supervisor", "WorkerError"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")

Stats = TypeVar("Stats", ServerStats, DatagramStats)

#: Seconds before a worker that has ended is replaced, the first time and at most.
FIRST_PAUSE: Final = 0.1
LONGEST_PAUSE: Final = 30.0
#: Seconds that a worker must have held for the next pause to be the first one again.
HELD: Final = 60.0
#: How often in a row a worker may end before it has held, when none serves, before the supervisor gives up.
MOST_FAILURES: Final = 10
#: Seconds between two questions whether a worker's loop goes on; after SILENT of them without an answer it is reported.
PING: Final = 1.0
SILENT: Final = 5.0
#: Seconds without traffic after which a worker that was replaced ends a connection: a client may be about to go on.
RELOAD_QUIET: Final = 1.0
#: Connections of a worker from which it tells its counters, which takes a while then, only every tenth time.
MANY: Final = 2000
#: Seconds that a worker may take to end beyond its time to drain, before it is killed.
GRACE: Final = 5.0


class WorkerError(RuntimeError):
    """The workers cannot be started, or do not hold. ``str()`` is one sentence for an operator."""


class Supervisor(abc.ABC, Generic[Stats]):
    """What workers have in common, whatever they serve; ``stats_type`` is what they count with."""

    def __init__(
        self,
        stats_type: type[Stats],
        listeners: Sequence[Sequence[socket.socket]],
        target: str,
        arguments: tuple[Any, ...],
        *,
        count: int,
        balance: Balance,
        drain: float,
        loop: Literal["own", "stock"],
        worker_timeout: float | None,
    ) -> None:
        self._addresses: list[Address] = [sock.getsockname() for sock in listeners[0]]
        self._listeners = listeners
        self._balance = balance
        work = base64.b64encode(pickle.dumps((target, arguments))).decode()
        self._start_message: Message = {"do": "start", "path": sys.path, "loop": loop, "target": work}
        self._count = count
        self._drain = drain
        self._worker_timeout = worker_timeout
        self._loop = asyncio.get_running_loop()
        self._workers: list[WorkerProcess] = []  # all that have not ended, the draining too
        self._failures = [0] * count  # in a row, of each number
        self._stats_type: type[Stats] = stats_type
        self._past: Stats = stats_type()  # of those that have ended
        self._past_lag = Histogram(LAG_SECONDS)
        self._is_measuring = False
        self._reports: list[dict[str, Any]] = []
        self._dispatcher: Dispatcher | WorkersListeners | None = None
        self._closing: asyncio.Task[DrainReport] | None = None
        self._pauses: set[asyncio.TimerHandle] = set()
        self._pinger: asyncio.TimerHandle | None = None
        self._pings = 0
        self._reloading = asyncio.Lock()
        #: Done when the workers do not hold: a :class:`WorkerError` is its exception.
        self.failed: asyncio.Future[None] = self._loop.create_future()

    # -- looking -------------------------------------------------------------------------------------------------

    @property
    def addresses(self) -> list[Address]:
        """The socket addresses listened on, as ``socket.getsockname()`` gives them."""
        return list(self._addresses)

    @property
    def address(self) -> Address:
        """The first of :attr:`addresses`."""
        return self._addresses[0]

    @property
    def port(self) -> int:
        """The port listened on."""
        return port_of(self.address)

    @property
    def pids(self) -> list[int]:
        """The process numbers of the workers that take connections."""
        return [worker.pid for worker in self._workers if _serves(worker)]

    @property
    def stats(self) -> Stats:
        """The counters of all workers together, those that have ended too, as they told them last, a second ago."""
        total = self._stats_type()
        total.add_server(self._past)
        for worker in self._workers:
            if worker.stats is not None:
                total.add_server(self._stats_type.of_names(worker.stats))
        return total

    @property
    def loop_lag(self) -> Histogram | None:
        """How many seconds the loops of the workers were late, once that is measured: None before :meth:`measure`."""
        if not self._is_measuring:
            return None
        total = Histogram(LAG_SECONDS)
        total.add(self._past_lag)
        for worker in self._workers:
            if worker.loop_lag is not None:
                total.add(Histogram.of_row(worker.loop_lag))
        return total

    @property
    def open(self) -> int:
        """How many connections are served now."""
        return sum(worker.open + worker.on_the_way for worker in self._workers)

    @property
    def is_closing(self) -> bool:
        """Whether no client is accepted any more."""
        return self._closing is not None

    def measure(self) -> None:
        """Have the workers measure how long connections last, and how late their loops are, for :meth:`metrics`."""
        self._is_measuring = True
        for worker in self._workers:
            worker.say({"do": "measure"})

    @abc.abstractmethod
    def metrics(self, prefix: str = "proactor_echo") -> list[Metric]:
        """Return the counters, and what was measured, by the names that monitoring systems want."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {', '.join(map(format_address, self._addresses))} pids={self.pids}>"

    # -- starting, reloading, closing ----------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the first generation, and accept. Raises :class:`WorkerError` when one cannot be started."""
        try:
            started = [self._new_worker(number) for number in range(self._count)]
            await asyncio.gather(*(worker.ready for worker in started))
        except BaseException:
            await self._kill_all()
            WorkersListeners(self._listeners).stop()
            raise
        if self._balance == "handoff":
            self._dispatcher = Dispatcher(self._listeners[0])
        else:
            self._dispatcher = WorkersListeners(self._listeners)
        for worker in started:
            self._dispatcher.add(worker)
        self._ping()

    async def reload(self) -> None:
        """Replace all workers, one after the other: a new one is ready before the old one drains.

        Raises :class:`WorkerError` when a new one cannot be started; the old ones stay then.
        """
        async with self._reloading:
            for number in range(self._count):
                if self._closing is not None:
                    return
                old = self._of_number(number)
                try:
                    new = self._new_worker(number)
                    await new.ready
                except WorkerError:
                    if not self._of_number(number):  # there was none: the next one must not be forgotten
                        self._replace_after(number, FIRST_PAUSE)
                    raise
                assert self._dispatcher is not None
                self._dispatcher.add(new)
                for worker in old:
                    self._drain_one(worker, self._drain, quiet=RELOAD_QUIET)

    async def close(self, drain: float | None = None) -> DrainReport:
        """Accept no more, let connections finish for ``drain`` seconds, end all workers; report what became of them."""
        check_seconds("drain", drain, zero=True, optional=True)
        seconds = self._drain if drain is None else drain
        if self._closing is None:
            self._closing = self._loop.create_task(self._close(seconds), name="close workers")
        elif not self._closing.done():  # once more: at once
            for worker in self._workers:
                worker.say({"do": "drain", "seconds": 0.0, "quiet": QUIET_TIME})
                worker.kill()
        return await asyncio.shield(self._closing)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.close()

    async def _close(self, drain: float) -> DrainReport:
        began = self._loop.time()
        if self._pinger is not None:
            self._pinger.cancel()
        for pause in self._pauses:
            pause.cancel()
        if self._dispatcher is not None:
            await asyncio.to_thread(self._dispatcher.stop)
        for worker in self._workers:
            if worker.ready.done():
                self._drain_one(worker, drain, quiet=QUIET_TIME)
            else:
                worker.kill()
        running = [asyncio.ensure_future(worker.ended.wait()) for worker in self._workers]
        if running:
            await asyncio.wait(running, timeout=drain + GRACE)
            for future in running:
                future.cancel()
        await self._kill_all()
        if not self.failed.done():
            self.failed.cancel()
        finished, aborted = (sum(report[name] for report in self._reports) for name in ("finished", "aborted"))
        return DrainReport(finished, aborted, self._loop.time() - began)

    async def _kill_all(self) -> None:
        for worker in list(self._workers):
            worker.kill()
            await worker.ended.wait()

    # -- one worker ----------------------------------------------------------------------------------------------

    def _new_worker(self, number: int) -> WorkerProcess:
        try:
            worker = WorkerProcess(number, self._start_message, self._heard)
        except OSError as error:
            raise WorkerError(f"a worker cannot be started: {error.strerror or error}") from error
        worker.alive_at = self._loop.time()
        self._workers.append(worker)
        if self._is_measuring:
            worker.say({"do": "measure"})
        return worker

    def _of_number(self, number: int) -> list[WorkerProcess]:
        """Return the workers with this number that serve, or are about to: one, or none."""
        return [worker for worker in self._workers if worker.number == number and not worker.is_over]

    def _drain_one(self, worker: WorkerProcess, seconds: float, *, quiet: float) -> None:
        worker.is_draining = True
        if self._dispatcher is not None:
            self._dispatcher.remove(worker)
        worker.say({"do": "drain", "seconds": seconds, "quiet": quiet})

    def _heard(self, worker: WorkerProcess, message: Message | None) -> None:
        if message is None:
            self._ended(worker)
            return
        worker.alive_at = self._loop.time()
        what = message["is"]
        if what == "taken" and self._dispatcher is not None:
            self._dispatcher.taken(worker, message["count"], message["open"])
        elif what == "alive":
            worker.is_asked = worker.stack_asked = False
            worker.open = message["open"]
            worker.stats = message.get("stats", worker.stats)
            worker.loop_lag = message.get("loop_lag", worker.loop_lag)
        elif what == "ready" and not worker.ready.done():
            worker.ready.set_result(None)
        elif what == "failed" and not worker.ready.done():
            _fail(worker.ready, message["why"])
        elif what == "stopped":
            worker.stats, worker.loop_lag, worker.open = _over(message["stats"]), message["loop_lag"], 0
            self._reports.append(message["report"])
        elif what == "stack":
            logger.warning("worker %d (process %d) does this:\n%s", worker.number, worker.pid, message["text"])

    def _ended(self, worker: WorkerProcess) -> None:
        self._workers.remove(worker)
        if self._dispatcher is not None:
            self._dispatcher.remove(worker)
        if worker.stats is not None:
            self._past.add_server(self._stats_type.of_names(_over(worker.stats)))
        if worker.loop_lag is not None:
            self._past_lag.add(Histogram.of_row(worker.loop_lag))
        worker.ended.set()
        served = _serves(worker)
        if not worker.ready.done():
            _fail(worker.ready, f"a worker ended while it started, {_how(worker.status)}")
        if self._dispatcher is not None and self._closing is None and served:
            self._replace(worker)

    def _replace(self, worker: WorkerProcess) -> None:
        number = worker.number
        held = self._loop.time() - worker.began >= HELD
        self._failures[number] = 1 if held else self._failures[number] + 1
        pause = min(FIRST_PAUSE * 2 ** (self._failures[number] - 1), LONGEST_PAUSE)
        logger.error(
            "worker %d (process %d) ended, %s; another one starts in %g s",
            number, worker.pid, _how(worker.status), pause,
            extra={"event": "worker_ended", "worker": number, "number": worker.status},
        )  # fmt: skip
        self._replace_after(number, pause)

    def _replace_after(self, number: int, pause: float) -> None:
        if self._failures[number] >= MOST_FAILURES and not self.pids:
            if not self.failed.done():
                _fail(self.failed, f"the workers do not hold: {MOST_FAILURES} ended in a row")
            return

        def go_on() -> None:
            self._pauses.discard(handle)
            task = self._loop.create_task(self._start_again(number))
            task.add_done_callback(lambda task: task.cancelled() or task.exception())

        handle: asyncio.TimerHandle = self._loop.call_later(pause, go_on)
        self._pauses.add(handle)

    async def _start_again(self, number: int) -> None:
        if self._closing is not None or self._of_number(number):
            return  # or a reload has replaced it meanwhile, or is about to
        try:
            worker = self._new_worker(number)
            await worker.ready
        except WorkerError as error:
            if self._closing is None:
                self._failures[number] += 1
                pause = min(FIRST_PAUSE * 2 ** (self._failures[number] - 1), LONGEST_PAUSE)
                logger.error("worker %d could not be started: %s; the next try is in %g s", number, error, pause)
                self._replace_after(number, pause)
            return
        if self._dispatcher is not None and self._closing is None and not worker.is_draining:
            self._dispatcher.add(worker)

    # -- health --------------------------------------------------------------------------------------------------

    def _ping(self) -> None:
        self._pinger = self._loop.call_later(PING, self._ping)
        self._pings += 1
        now = self._loop.time()
        for worker in self._workers:
            if not _serves(worker):
                continue
            silent = now - worker.alive_at
            if not worker.is_asked:
                worker.is_asked = worker.say(
                    {"do": "ping", "stats": self._pings % (1 if worker.open < MANY else 10) == 0}
                )
            elif silent > SILENT and not worker.stack_asked:
                worker.stack_asked = True
                text = "worker %d (process %d) has not turned its loop for %.1f s"
                logger.warning(text, worker.number, worker.pid, silent)
                worker.say({"do": "stack"})
            elif self._worker_timeout is not None and silent > self._worker_timeout:
                logger.error("worker %d (process %d) is killed: silent for %.1f s", worker.number, worker.pid, silent)
                worker.kill()


def _serves(worker: WorkerProcess) -> bool:
    return worker.ready.done() and not worker.is_over


def _over(row: dict[str, Any]) -> dict[str, Any]:
    """Return the counters of a worker whose connections have ended."""
    return row | {name: 0 for name in ("open", "handshaking") if name in row}


def _fail(future: asyncio.Future[None], sentence: str) -> None:
    """End a future with an error, which nobody need ask for."""
    future.set_exception(WorkerError(sentence))
    future.exception()


def _how(status: int | None) -> str:
    return f"by signal {-status}" if status is not None and status < 0 else f"with exit status {status}"
