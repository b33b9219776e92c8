"""A TCP proxy that carries connections faithfully, and does to them what the faults say."""

from __future__ import annotations

import socket

from proactor_echo.arguments import check_instance
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.testing.faults.base import StreamFault
from proactor_echo.testing.faults.schedule import ActiveFault
from proactor_echo.testing.faults.tcp import Refuse
from proactor_echo.testing.proxy.base import BaseFaultProxy
from proactor_echo.testing.proxy.listener import Listener
from proactor_echo.testing.proxy.record import Record
from proactor_echo.testing.proxy.tcp_link import ProxiedConnection

__all__ = ["FaultProxy"]


class FaultProxy(BaseFaultProxy[StreamFault]):
    """A TCP port on which faults can be switched on, in front of ``upstream``.

    An end of file, an abort and a reset of one side reach the other as what they are. Use it in ``async with``.
    """

    def __init__(self, upstream: Address, seed: int) -> None:
        super().__init__(upstream, seed)
        self._listener: Listener
        self._links: list[ProxiedConnection] = []
        self._accepted = 0
        self._record = Record(self._waiters.notify)
        self._options = SocketOptions(exclusive=False)  # or Windows keeps the port from us while connections are open
        self._closing = False

    async def _open(self, host: str, port: int) -> None:
        self._listener = await Listener.open(host, port, self._options, self._connected)

    @property
    def _bound(self) -> Address:
        return self._listener.address

    # -- what a test asks ----------------------------------------------------------------------------------------

    @property
    def connections(self) -> list[ProxiedConnection]:
        """The connections that are open, oldest first."""
        return [link for link in self._links if link.open]

    @property
    def accepted(self) -> int:
        """How many connections there were."""
        return self._accepted

    @property
    def received(self) -> bytes:
        """Every byte that has got through to the server, of all connections, in the order in which it did.

        Raises RuntimeError when more has passed than is kept (64 MiB).
        """
        return self._record.of("server")

    @property
    def sent(self) -> bytes:
        """Every byte that has got through to clients; raises as :attr:`received` does."""
        return self._record.of("client")

    def fault(self, fault: StreamFault) -> ActiveFault[StreamFault]:
        """Switch a fault on at once, for open connections and for new ones; in ``with`` it is switched off at the end.

        It works on what passes from now on. Several faults work one after the other, in the order they were added.
        """
        check_instance("fault", fault, StreamFault)
        active = self._faults.add(fault, self._fault_removed)
        if isinstance(fault, Refuse):
            active.hits += 1
            self._listener.refuse()
        for link in self._links:
            link.add(active)
        return active

    async def close(self) -> None:
        """Stop listening and abort every connection."""
        self._closing = True
        await self._listener.close()
        for link in self._links.copy():
            await link.end()

    def __repr__(self) -> str:
        return f"<{self} connections={len(self.connections)}>"

    # -- below: how it is done -----------------------------------------------------------------------------------

    def _connected(self, sock: socket.socket, address: Address) -> None:
        self._accepted += 1
        link = ProxiedConnection(
            self._accepted, sock, address, upstream=self.upstream, faults=self._faults, record=self._record
        )
        self._links.append(link)
        link.start(self._ended)
        self._waiters.notify()

    def _fault_removed(self, active: ActiveFault[StreamFault]) -> None:
        refusing = any(isinstance(other.fault, Refuse) for other in self._faults)
        if isinstance(active.fault, Refuse) and not refusing and not self._closing:
            self._listener.accept_again()
        for link in self._links:
            link.remove(active)

    def _ended(self, link: ProxiedConnection) -> None:
        self._links.remove(link)
        self._waiters.notify()
