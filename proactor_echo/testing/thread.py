"""The same servers in a background thread, for tests of code that blocks."""

from __future__ import annotations

import asyncio
import ssl as tls
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final, Generic, NamedTuple, Self, TypeVar, cast

from proactor_echo.net.stats import DatagramStats, ServerStats
from proactor_echo.net.tcp.protocol import FramedProtocol
from proactor_echo.net.tcp.served import Handler
from proactor_echo.net.udp.handler import DatagramHandler
from proactor_echo.rfc862 import EchoDatagramProtocol
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.options import SocketOptions
from proactor_echo.testing.certificates import Certificate
from proactor_echo.testing.faults import DatagramFault, Fault, StreamFault
from proactor_echo.testing.faults.schedule import ActiveFault
from proactor_echo.testing.proxy.tcp import FaultProxy
from proactor_echo.testing.proxy.udp import UdpFaultProxy
from proactor_echo.testing.resources import Resources
from proactor_echo.testing.servers import ServerTls, TcpTestServer, UdpTestServer
from proactor_echo.wire import Codec

__all__ = [
    "ConnectionSnapshot",
    "FaultProxyThread",
    "LoopThread",
    "ServerThreadFactory",
    "TcpServerThread",
    "ThreadedFault",
    "UdpServerThread",
]

T = TypeVar("T")
F = TypeVar("F", bound=Fault)

#: Seconds to wait for a call into the thread, or for its end: after that something in it blocks.
TIMEOUT: Final = 30.0


class LoopThread:
    """A thread that runs an event loop, and what is asked of it from outside."""

    def __init__(self, loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None) -> None:
        #: What went wrong in the loop where nobody was waiting for it.
        self.errors: list[BaseException] = []
        self._loop_factory = loop_factory
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._main, name="proactor_echo servers", daemon=True)
        self._thread.start()
        self._ready.wait()
        if self.errors:
            self._thread.join()
            raise self.errors[0]

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread and return what it returns. Raises what it raises."""
        if not self._thread.is_alive():
            work.close()
            raise RuntimeError("the thread of the servers has ended")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(TIMEOUT)
        except TimeoutError:
            if not future.done():
                future.cancel()
                raise TimeoutError(f"no answer from the thread of the servers within {TIMEOUT:g} s") from None
            raise

    def call(self, function: Callable[..., T], *args: Any) -> T:
        """Call a function in the thread and return what it returns."""

        async def work() -> T:
            return function(*args)

        return self.run(work())

    def stop(self) -> None:
        """End the loop and join the thread. Raises TimeoutError when it does not end."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(TIMEOUT)
            if self._thread.is_alive():
                raise TimeoutError(f"the thread of the servers did not end within {TIMEOUT:g} s")

    def _main(self) -> None:
        try:
            with asyncio.Runner(loop_factory=self._loop_factory) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._failed)
        self._stop = asyncio.Event()
        self._ready.set()
        await self._stop.wait()

    def _failed(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self.errors.append(context.get("exception") or RuntimeError(context["message"]))


class ThreadedFault(Generic[F]):
    """A fault of a server in a thread; see :class:`~proactor_echo.testing.faults.schedule.ActiveFault`."""

    def __init__(self, thread: LoopThread, active: ActiveFault[F]) -> None:
        self._thread = thread
        self._active = active

    @property
    def fault(self) -> F:
        """The description."""
        return self._active.fault

    @property
    def seed(self) -> int:
        """The number its schedule comes from."""
        return self._active.seed

    @property
    def hits(self) -> int:
        """How many connections it has worked on, or how many datagrams it has hit."""
        return self._active.hits

    def remove(self) -> None:
        """Switch it off; what it holds back leaves at once."""
        self._thread.call(self._active.remove)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        return repr(self._active)


P = TypeVar("P", bound=FaultProxy | UdpFaultProxy)


class _Threaded(Generic[P]):
    """A server or proxy that lives in a thread, asked from another."""

    def __init__(self, thread: LoopThread, server: P) -> None:
        self._thread = thread
        self._server = server
        #: ``(host, port)`` for clients.
        self.address: tuple[str, int] = server.address

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self.address[0]

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self.address[1]

    def wait_for(self, condition: Callable[[P], object], timeout: float = 5.0) -> None:
        """Block until ``condition(server)`` is true, which gets the server itself and runs in its thread.

        Raises TimeoutError after ``timeout`` seconds.
        """
        self._thread.run(self._server.wait_for(cast("Any", condition), timeout))

    def __repr__(self) -> str:
        return f"<{self._server} in a thread>"


class ConnectionSnapshot(NamedTuple):
    """An open connection: the client's address, and the bytes that have got through each way."""

    peer: str
    received: bytes
    sent: bytes


S = TypeVar("S", bound=FaultProxy)


class _Streams(_Threaded[S]):
    """What TCP servers and proxies have in common."""

    @property
    def connections(self) -> list[ConnectionSnapshot]:
        """The connections that are open, oldest first, as they are now."""
        return self._thread.call(
            lambda: [ConnectionSnapshot(link.peer, link.received, link.sent) for link in self._server.connections]
        )

    @property
    def received(self) -> bytes:
        """Every byte that has got through to the server."""
        return self._thread.call(lambda: self._server.received)

    @property
    def sent(self) -> bytes:
        """Every byte that has got through to clients."""
        return self._thread.call(lambda: self._server.sent)

    def fault(self, fault: StreamFault) -> ThreadedFault[StreamFault]:
        """Switch a fault on at once; in ``with`` it is switched off at the end."""
        return ThreadedFault(self._thread, self._thread.call(self._server.fault, fault))


class FaultProxyThread(_Streams[FaultProxy]):
    """A TCP fault proxy in a thread."""


class TcpServerThread(_Streams[TcpTestServer]):
    """A TCP server in a thread."""

    @property
    def stats(self) -> ServerStats:
        """The server's counters."""
        return self._thread.call(lambda: self._server.stats)

    @property
    def ca_file(self) -> Path:
        """The file of the authority that has signed its certificate; see TcpTestServer."""
        return self._server.ca_file

    def client_context(self, certificate: Certificate | None = None) -> tls.SSLContext:
        """Return what a client connects to it with; see TcpTestServer."""
        return self._server.client_context(certificate)

    @property
    def handler_errors(self) -> list[Exception]:
        """Exceptions that left the handler; those still in the list at the end of the test fail it."""
        return self._server.handler_errors


class UdpServerThread(_Threaded[UdpTestServer]):
    """A UDP server in a thread."""

    @property
    def received(self) -> list[bytes]:
        """Every datagram that has got through to the server."""
        return self._thread.call(lambda: self._server.received)

    @property
    def sent(self) -> list[bytes]:
        """Every datagram that has got through to clients."""
        return self._thread.call(lambda: self._server.sent)

    @property
    def stats(self) -> DatagramStats:
        """The server's counters."""
        return self._thread.call(lambda: self._server.stats)

    def fault(self, fault: DatagramFault) -> ThreadedFault[DatagramFault]:
        """Switch a fault on at once; in ``with`` it is switched off at the end."""
        return ThreadedFault(self._thread, self._thread.call(self._server.fault, fault))


class ServerThreadFactory:
    """``server = server_thread_factory(handler, codec=…)``: a TCP server in a background thread.

    All servers of a test run in the same thread, which begins with the first of them.
    """

    def __init__(
        self,
        seed: int,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None,
        started: Callable[[Resources], None],
    ) -> None:
        self._seed = seed
        self._loop_factory = loop_factory
        self._report_started = started
        self._started: tuple[LoopThread, Resources] | None = None

    def __call__(
        self,
        handler: Handler | None = None,
        *,
        protocol_factory: Callable[[], FramedProtocol] | None = None,
        codec: Codec | None = None,
        ssl: ServerTls | None = None,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
        **settings: Any,
    ) -> TcpServerThread:
        """Serve ``handler``, which runs in the thread, or protocols, or else echo; as ``tcp_server_factory`` does."""
        thread, resources = self._start()
        made = resources.tcp_server(
            handler, protocol_factory=protocol_factory, codec=codec, ssl=ssl, options=options, host=host, **settings
        )
        return TcpServerThread(thread, thread.run(made))

    def udp(
        self,
        protocol_factory: Callable[[], DatagramHandler] = EchoDatagramProtocol,
        *,
        options: SocketOptions | None = None,
        host: str = "127.0.0.1",
    ) -> UdpServerThread:
        """Serve datagrams, or else echo them; as ``udp_server_factory`` does."""
        thread, resources = self._start()
        return UdpServerThread(thread, thread.run(resources.udp_server(protocol_factory, options=options, host=host)))

    def fault_proxy(self, upstream: Address, *, host: str = "127.0.0.1") -> FaultProxyThread:
        """Put a TCP fault proxy in front of ``upstream``."""
        thread, resources = self._start()
        return FaultProxyThread(thread, thread.run(resources.fault_proxy(upstream, host=host)))

    def close(self) -> list[str]:
        """Close everything and join the thread; return what the test had left open.

        Raises what went wrong in the thread.
        """
        if self._started is None:
            return []
        thread, resources = self._started
        try:
            left = thread.run(resources.close())
        finally:
            thread.stop()
        if len(thread.errors) == 1:
            raise thread.errors[0]
        if thread.errors:
            raise BaseExceptionGroup("in the thread of the servers", thread.errors)
        return left

    def _start(self) -> tuple[LoopThread, Resources]:
        if self._started is None:
            thread = LoopThread(self._loop_factory)
            self._started = thread, thread.call(Resources, self._seed)
            self._report_started(self._started[1])
        return self._started
