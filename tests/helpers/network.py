"""A network made to order for a client: names have the addresses a test gives them, and addresses may stay silent.

It stands at the two public calls of the event loop through which a client meets the network, ``getaddrinfo`` and
``sock_connect``; everything else is real.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

Address = tuple[Any, ...]


class Network:
    """What the loop of the running test sees of the network."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        loop = asyncio.get_running_loop()
        self._resolve, self._connect = loop.getaddrinfo, loop.sock_connect
        self.names: dict[str, list[Address] | BaseException] = {}
        self.silent: set[Address] = set()
        self.refusing: set[Address] = set()
        #: Called with the address and before an answer is passed on.
        self.before: Callable[[Address], Any] | None = None
        #: In the order of the attempts.
        self.tried: list[Address] = []
        self.sockets: list[socket.socket] = []
        monkeypatch.setattr(loop, "getaddrinfo", self.getaddrinfo)
        monkeypatch.setattr(loop, "sock_connect", self.sock_connect)

    async def getaddrinfo(self, host: str, port: int, **options: Any) -> list[Any]:
        if host not in self.names:
            return await self._resolve(host, port, **options)
        found = self.names[host]
        if isinstance(found, BaseException):
            raise found
        return [(_family(address), socket.SOCK_STREAM, 6, "", address) for address in found]

    async def sock_connect(self, sock: socket.socket, address: Address) -> None:
        self.tried.append(address)
        self.sockets.append(sock)
        if address in self.silent:
            await asyncio.get_running_loop().create_future()
        if address in self.refusing:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "Connection refused")
        await self._connect(sock, address)
        if self.before is not None:
            await self.before(address)

    @property
    def open_sockets(self) -> list[socket.socket]:
        return [sock for sock in self.sockets if sock.fileno() != -1]


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address[0] else socket.AF_INET


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as sock:
            sock.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A TCP port of 127.0.0.1 that refuses: bound and not listening, so that the system gives it to nobody meanwhile.

    Not even to the socket that connects to it, as it may with a port that is free: TCP then connects it to itself.
    """
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


def closed_udp_port() -> int:
    """Return a UDP port of 127.0.0.1 that was free just now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


class FailingListener(socket.socket):
    """A listener on 127.0.0.1 whose accepts end as ``plan`` says: an error is raised, None lets the next one through.

    When the plan has ended all go through. On Windows nobody calls ``accept`` of a listener.
    """

    def __init__(self, plan: Iterable[BaseException | None]) -> None:
        super().__init__()
        self.bind(("127.0.0.1", 0))
        self.calls = self.failures = 0
        self._plan = iter(plan)

    def follow_plan(self) -> None:
        self.calls += 1
        error = next(self._plan, None)
        if error is not None:
            self.failures += 1
            raise error

    def accept(self) -> tuple[socket.socket, Any]:
        self.follow_plan()
        return super().accept()


class FaultySocket(socket.socket):
    """A socket that would block, or fails, as often as a test says. Loopback never does either at will."""

    blocked = 0
    errors: list[OSError]

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_DGRAM)
        self.errors = []
        self.setblocking(False)

    def _maybe_fail(self) -> None:
        if self.blocked:
            self.blocked -= 1
            raise BlockingIOError
        if self.errors:
            raise self.errors.pop(0)

    def sendto(self, *args: Any) -> int:
        self._maybe_fail()
        return super().sendto(*args)

    def send(self, *args: Any) -> int:
        self._maybe_fail()
        return super().send(*args)
