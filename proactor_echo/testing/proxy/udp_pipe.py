"""One direction of the datagrams between one client and its server."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

from proactor_echo.testing.faults.base import Datagram, DatagramFault
from proactor_echo.testing.faults.schedule import ActiveFault, DatagramSampler

__all__ = ["DatagramPipe"]


class DatagramPipe:
    """Datagrams in, and out through ``send`` when they are due; ``moved`` is called whenever something has happened."""

    def __init__(self, send: Callable[[bytes], None], moved: Callable[[], None]) -> None:
        self._send = send
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._faults: dict[ActiveFault[DatagramFault], DatagramSampler] = {}
        self._waiting: list[tuple[float, int, Datagram]] = []
        self._rank = 0
        self._timer: asyncio.TimerHandle | None = None

    def add(self, active: ActiveFault[DatagramFault], sampler: DatagramSampler) -> None:
        """Let a fault work on what arrives from now on."""
        self._faults[active] = sampler

    def remove(self, active: ActiveFault[DatagramFault]) -> None:
        """Take a fault away; datagrams that it made wait for others leave, those that are late stay late."""
        sampler = self._faults.pop(active, None)
        if sampler is not None:
            for datagram in sampler.effect.release():
                datagram.due = self._loop.time()
                self._schedule(datagram)
            self._leave()

    def arrived(self, data: bytes) -> None:
        """Take a datagram in."""
        datagrams = [Datagram(self._loop.time(), data)]
        for sampler in self._faults.values():
            following: list[Datagram] = []
            for datagram in datagrams:
                if datagram.rank:  # held back before, and freed now: it has been through the rest
                    following.append(datagram)
                elif random := sampler.draw():
                    following += sampler.effect.apply(datagram, random)
                else:
                    following += sampler.effect.skip(datagram)
            datagrams = following
        for datagram in datagrams:
            self._schedule(datagram)
        self._leave()

    def close(self) -> None:
        """Drop what is held back."""
        self._waiting.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _schedule(self, datagram: Datagram) -> None:
        """Queue it; one that is queued already is queued anew, and its old place is not valid any more."""
        self._rank += 1
        datagram.rank = self._rank
        heapq.heappush(self._waiting, (datagram.due, datagram.rank, datagram))

    def _leave(self) -> None:
        """Send what is due, and come back for the rest."""
        while self._waiting:
            due, rank, datagram = self._waiting[0]
            if rank == datagram.rank:
                if due > self._loop.time():
                    break
                self._send(datagram.data)
                datagram.rank = -1
            heapq.heappop(self._waiting)
        self._moved()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            self._timer = self._loop.call_at(self._waiting[0][0], self._leave)
