"""A UDP proxy that carries datagrams one by one, and does to them what the faults say."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from proactor_echo.arguments import check_instance
from proactor_echo.net.udp import UdpServer, serve_udp
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.sockets.addresses import Address, format_address, resolve
from proactor_echo.sockets.binding import open_socket
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.testing.faults.base import DatagramFault
from proactor_echo.testing.faults.schedule import ActiveFault, DatagramSampler, Direction
from proactor_echo.testing.proxy.base import BaseFaultProxy
from proactor_echo.testing.proxy.udp_pipe import DatagramPipe

__all__ = ["UdpFaultProxy"]


class UdpFaultProxy(BaseFaultProxy[DatagramFault]):
    """A UDP port on which faults can be switched on, in front of ``upstream``. Use it in ``async with``.

    Each client gets a socket of its own towards the server, so that answers find their way back.
    """

    def __init__(self, upstream: Address, seed: int) -> None:
        super().__init__(upstream, seed)
        self._received: list[bytes] = []
        self._sent: list[bytes] = []
        self._clients: dict[Address, _Client] = {}
        self._front: UdpServer
        self._family: int
        self._target: Address

    async def _open(self, host: str, port: int) -> None:
        self._family, _, _, _, self._target = (await resolve(*self.upstream, type=socket.SOCK_DGRAM))[0]
        self._front = await serve_udp(lambda: _Front(self), host, port)

    @property
    def _bound(self) -> Address:
        return self._front.address

    # -- what a test asks ----------------------------------------------------------------------------------------

    @property
    def clients(self) -> list[str]:
        """The addresses that have sent something, ``host:port``, in the order in which they came."""
        return [format_address(address) for address in self._clients]

    @property
    def received(self) -> list[bytes]:
        """Every datagram that has got through to the server, in the order in which it did."""
        return list(self._received)

    @property
    def sent(self) -> list[bytes]:
        """Every datagram that has got through to clients."""
        return list(self._sent)

    def fault(self, fault: DatagramFault) -> ActiveFault[DatagramFault]:
        """Switch a fault on at once; in ``with`` it is switched off at the end.

        It works on datagrams that come from now on. Several faults work in the order in which they were added.
        """
        check_instance("fault", fault, DatagramFault)
        active = self._faults.add(fault, self._fault_removed)
        for client in self._clients.values():
            client.add(active)
        return active

    async def close(self) -> None:
        """Close; what is held back is dropped."""
        for client in self._clients.values():
            await client.close()
        await self._front.close()

    def __repr__(self) -> str:
        return f"<{self} clients={len(self._clients)}>"

    # -- below: how it is done -----------------------------------------------------------------------------------

    def _fault_removed(self, active: ActiveFault[DatagramFault]) -> None:
        for client in self._clients.values():
            client.remove(active)

    def _from_client(self, front: DatagramHandler, data: bytes, address: Address) -> None:
        client = self._clients.get(address)
        if client is None:
            client = self._clients[address] = self._make_client(front, address)
        client.pipes["server"].arrived(data)

    def _make_client(self, front: DatagramHandler, address: Address) -> _Client:
        sock = open_socket(self._family, socket.SOCK_DGRAM, SocketOptions())
        try:
            sock.connect(self._target)
        except BaseException:
            sock.close()
            raise

        def to_client(data: bytes) -> None:
            front.send(data, address)
            self._sent.append(data)

        client = _Client(
            len(self._clients) + 1,
            sock,
            to_client=to_client,
            to_server=self._received.append,
            moved=self._waiters.notify,
        )
        for active in self._faults:
            client.add(active)
        return client


class _Front(DatagramHandler):
    """The port that clients send to."""

    def __init__(self, proxy: UdpFaultProxy) -> None:
        super().__init__()
        self._proxy = proxy

    def handle(self, data: bytes, addr: Address) -> None:
        self._proxy._from_client(self, data, addr)


class _Client:
    """One client: its socket towards the server, and the two directions."""

    def __init__(
        self,
        number: int,
        sock: socket.socket,
        *,
        to_client: Callable[[bytes], None],
        to_server: Callable[[bytes], None],
        moved: Callable[[], None],
    ) -> None:
        self._number = number
        answers = DatagramPipe(to_client, moved)
        back = _Back(answers.arrived)
        self._server = UdpServer([sock], lambda: back)

        def send(data: bytes) -> None:
            back.send_when_open(data)
            to_server(data)

        self.pipes: dict[Direction, DatagramPipe] = {"server": DatagramPipe(send, moved), "client": answers}

    def add(self, active: ActiveFault[DatagramFault]) -> None:
        for direction, pipe in self.pipes.items():
            if active.works(direction):
                pipe.add(active, DatagramSampler(active, self._number, direction))

    def remove(self, active: ActiveFault[DatagramFault]) -> None:
        for pipe in self.pipes.values():
            pipe.remove(active)

    async def close(self) -> None:
        for pipe in self.pipes.values():
            pipe.close()
        self._server.abort()
        await self._server.close()


class _Back(DatagramHandler):
    """A client's socket towards the server."""

    def __init__(self, received: Callable[[bytes], None]) -> None:
        super().__init__()
        self._received = received
        self._early: list[bytes] | None = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        early, self._early = self._early or [], None
        for data in early:
            self.send(data)

    def handle(self, data: bytes, addr: Address) -> None:
        self._received(data)

    def send_when_open(self, data: bytes) -> None:
        """Send, or keep it until the transport is there."""
        if self._early is None:
            self.send(data)
        else:
            self._early.append(data)
