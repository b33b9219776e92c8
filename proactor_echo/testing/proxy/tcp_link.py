"""One connection through a proxy."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable, Hashable

from proactor_echo.errors import ConnectFailed
from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.tcp.client import connect_tcp
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.sockets.addresses import Address, format_address
from proactor_echo.testing.faults.base import End, StreamFault
from proactor_echo.testing.faults.schedule import ActiveFault, ActiveFaults, Direction, stream_effect
from proactor_echo.testing.faults.tcp import Refuse
from proactor_echo.testing.proxy.record import Record
from proactor_echo.testing.proxy.tcp_pipe import Pipe
from proactor_echo.wire.lifecycle import ConnectionState

__all__ = ["ProxiedConnection"]

logger: logging.Logger = logging.getLogger("proactor_echo.testing")


class ProxiedConnection:
    """One connection through a proxy: the client's, and the one to the server that belongs to it."""

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        address: Address,
        *,
        upstream: tuple[str, int],
        faults: ActiveFaults[StreamFault],
        record: Record,
    ) -> None:
        #: Its number, counted from 1.
        self.number = number
        #: The client's address, ``host:port``.
        self.peer: str = format_address(address) if address else ""
        self._socket = sock
        self._upstream = upstream
        self._faults = faults
        self._record = record
        self._sides: list[Connection] = []
        self._pipes: dict[Direction, Pipe] = {}
        self._hit: set[Hashable] = set()
        self._task: asyncio.Task[None] | None = None
        self._eofs = 0
        self._over = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether the client has not ended it."""
        if not self._sides:
            return not self._over.is_set()
        return self._sides[0].state in (ConnectionState.OPEN, ConnectionState.OUR_EOF)

    @property
    def received(self) -> bytes:
        """The bytes that have got through to the server."""
        return self._record.of("server", self.number)

    @property
    def sent(self) -> bytes:
        """The bytes that have got through to the client."""
        return self._record.of("client", self.number)

    def reset(self) -> None:
        """End it with a TCP reset, on both sides."""
        for side in self._sides:
            side.reset()
        self._over.set()

    def close(self) -> None:
        """End it in good order, on both sides, after what has been written."""
        self._over.set()

    def __repr__(self) -> str:
        return f"<connection {self.number} from {self.peer}>"

    # -- for the proxy -------------------------------------------------------------------------------------------

    def start(self, ended: Callable[[ProxiedConnection], None]) -> None:
        """Connect to the server and carry; call ``ended`` when nothing is left of it."""
        self._task = asyncio.create_task(self._run(), name=f"proxy: {self.peer}")
        self._task.add_done_callback(lambda task: ended(self))

    async def end(self) -> None:
        """Abort it, and wait until nothing of it is left."""
        for side in self._sides:
            side.abort()
        self._over.set()
        if self._task is not None:
            if not self._pipes:  # else it is past the point where it would wait for somebody else
                self._task.cancel()
            await asyncio.wait([self._task])

    def add(self, active: ActiveFault[StreamFault]) -> None:
        """Let a fault work on it, if it is hit."""
        if isinstance(active.fault, Refuse) or not self._pipes or not active.hits_connection(self.number):
            return
        for direction, pipe in self._pipes.items():
            if active.works(direction):
                pipe.add(active, stream_effect(active, self.number, direction))

    def remove(self, active: ActiveFault[StreamFault]) -> None:
        """Let a fault work on it no more."""
        for pipe in self._pipes.values():
            pipe.remove(active)

    async def _run(self) -> None:
        try:
            await self._connect()
            await self._over.wait()
            for side in self._sides:
                await side.close()
        except ConnectFailed as error:
            logger.warning("the fault proxy cannot serve %s: %s", self.peer, error)
            for side in self._sides:
                side.reset()
        except OSError as error:  # the client's socket broke before it was a connection
            logger.info("the fault proxy lost %s: %s", self.peer, error)
            self._socket.close()
        finally:
            self._over.set()
            for pipe in self._pipes.values():
                await pipe.close()
            for side in self._sides:
                side.abort()
                await side.wait_closed()
            if not self._sides:
                self._socket.close()

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        client = Connection()
        client.protocol.attach(None, self._socket if is_proactor(loop) else None)
        await loop.connect_accepted_socket(lambda: client.protocol, self._socket)
        self._sides.append(client)
        server = await connect_tcp(*self._upstream)
        self._sides.append(server)
        self._pipes["server"] = self._pipe("server", client, server)
        self._pipes["client"] = self._pipe("client", server, client)
        for active in self._faults:
            self.add(active)

    def _pipe(self, direction: Direction, source: Connection, sink: Connection) -> Pipe:
        def passed(data: bytes) -> None:
            self._record.add(direction, self.number, data)

        return Pipe(source, sink, passed=passed, worked=self._fault_worked, ended=self._pipe_ended)

    def _fault_worked(self, active: Hashable) -> None:
        if active not in self._hit and isinstance(active, ActiveFault):
            self._hit.add(active)
            active.hits += 1
            self._record.changed()

    def _pipe_ended(self, end: End) -> None:
        if end is End.RESET:
            self.reset()
        self._eofs += 1
        if end is not End.EOF or self._eofs == 2:
            self._over.set()
