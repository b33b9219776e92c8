"""No exception from a socket, a buffer or the poller ends the loop: it costs the connection, at every call there is."""

from __future__ import annotations

import asyncio
import contextlib
import selectors
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
from helpers.faults import ERRORS, Fault, FaultyCalls, FaultySocket, Spy, Strange
from helpers.peers import WINE_VERSION
from helpers.recording import Bench, BufferedRecorder, Recorder, connection, reset, tcp_pair

from proactor_echo import loops
from proactor_echo.loops import private

READY, DONE = not private.WINDOWS, private.WINDOWS

#: Every call of a socket that an engine makes for a stream, and whether its failing ends the connection by itself.
SOCKET_CALLS = {
    "close": False,
    "getpeername": False,
    "getsockname": False,
    "send": True,
    "setsockopt": False,
    "shutdown": False,
    **({"recv": True, "recv_into": True} if READY else {}),
}
#: asyncio's own calls, and what is asked of the first socket of a loop: all before there is a transport.
BEFORE = {"fileno", "gettimeout", "setblocking", "getsockopt"}

each_error = pytest.mark.parametrize("error", ERRORS)


async def settled(protocol: Recorder, condition: Callable[[], object]) -> None:
    """Wait until `condition`, or until the connection is lost."""
    async with asyncio.timeout(10):
        while not (condition() or protocol.lost.done()):
            await asyncio.sleep(0)


async def a_whole_life(
    peer: socket.socket, sock: Any, protocol: Recorder, opened: Callable[[], None] = lambda: None
) -> None:
    """Take a connection through everything that an engine makes a call for, as far as it gets."""
    loop = asyncio.get_running_loop()
    transport: Any
    transport, _ = await loop.create_connection(lambda: protocol, sock=sock)
    protocol.keep_open = True
    opened()
    peer.send(b"one")
    await settled(protocol, lambda: len(protocol.received) == 3)
    transport.write(b"answer")
    while not (transport._sending or transport.is_closing()):  # until the system takes no more
        transport.write(bytes(1 << 20))
    with contextlib.suppress(OSError):
        while not (transport._size == 0 or transport.is_closing()):
            with contextlib.suppress(BlockingIOError):
                peer.recv(1 << 20)
            await asyncio.sleep(0)
        transport.pause_reading()
        peer.send(b"two")
        for _ in range(5):
            await asyncio.sleep(0)
        transport.resume_reading()
        await settled(protocol, lambda: len(protocol.received) == 6)
        transport.write_eof()
        transport.get_extra_info("sockname")
        peer.send(b"last")
        await settled(protocol, lambda: len(protocol.received) == 10)


async def survives(fault: Fault, protocol: Recorder, *, from_the_start: bool, ends: bool) -> None:
    """A whole life with the fault, beside a connection that must not notice."""
    async with connection() as (good, good_peer):
        peer, there = tcp_pair()
        sock = FaultySocket.of(there, fault)
        fault.victim = sock.fileno()
        fault.armed = from_the_start

        def opened() -> None:
            fault.armed = True

        await a_whole_life(peer, sock, protocol, opened)
        if ends:
            assert protocol.transport.is_closing(), "the call failed and the connection goes on"
        protocol.transport.abort()
        await protocol.lost
        for _ in range(3):
            await asyncio.sleep(0)
        fault.armed = False
        peer.close()
        good_peer.send(b"fine")
        assert await good.until(4) == b"fine"
        good.transport.write(b"too")
        assert await asyncio.get_running_loop().sock_recv(good_peer, 10) == b"too"
    assert fault.hits, f"{fault.call} was never called"
    assert protocol.calls.count("made") == protocol.calls.count("lost") == 1


@each_error
@pytest.mark.parametrize("from_the_start", [True, False])
@pytest.mark.parametrize("call", SOCKET_CALLS)
def test_a_call_of_its_socket_that_raises_costs_a_connection_at_most(
    ours: Bench, call: str, from_the_start: bool, error: str
) -> None:
    if call in ("setsockopt", "getpeername") and not from_the_start:
        pytest.skip("called when the connection begins")
    fault = Fault(call, ERRORS[error])

    async def main() -> None:
        protocol = BufferedRecorder() if call == "recv_into" else Recorder()
        await survives(fault, protocol, from_the_start=from_the_start, ends=SOCKET_CALLS[call])

    ours.run(main())


def test_no_other_call_of_the_socket_is_made(ours: Bench) -> None:
    async def main() -> set[str]:
        calls: set[str] = set()
        for protocol in (Recorder(), BufferedRecorder()):
            peer, there = tcp_pair()
            spy = Spy(there)
            await a_whole_life(peer, spy, protocol)
            protocol.transport.abort()
            await protocol.lost
            peer.close()
            calls |= spy.calls
        return calls

    assert ours.run(main()) - BEFORE <= SOCKET_CALLS.keys()


@pytest.mark.skipif(DONE, reason="the readiness engine is for the other systems")
@each_error
@pytest.mark.parametrize("from_the_start", [True, False])
@pytest.mark.parametrize("call", ["register", "modify", "unregister"])
@pytest.mark.parametrize("selector", ["EpollSelector", "PollSelector"])
def test_a_poller_that_refuses_costs_a_connection_at_most(
    selector: str, call: str, from_the_start: bool, error: str
) -> None:
    from proactor_echo.loops.readiness.epoll import new_poller
    from proactor_echo.loops.readiness.loop import EventLoop
    from proactor_echo.loops.readiness.poller import SelectorHandlers

    base = getattr(selectors, selector, None)
    if base is None:
        pytest.skip(f"this system has no {selector}")
    if call == "register" and not from_the_start:
        pytest.skip("called when the connection begins")
    own = type(new_poller())
    poller: Any = own() if issubclass(own, base) else type("Poller", (SelectorHandlers, base), {})()
    fault = Fault(call, ERRORS[error])
    poller._selector = FaultyCalls(poller._selector, fault)

    async def main() -> None:
        await survives(fault, Recorder(), from_the_start=from_the_start, ends=call != "unregister")

    Bench(lambda: EventLoop(poller)).run(main())


@pytest.mark.skipif(READY, reason="the completion engine is for Windows")
@each_error
@pytest.mark.parametrize(
    ("module", "name", "ends"),
    [
        ("winapi", "WSARecv", True),
        ("winapi", "CancelIoEx", False),
        ("overlapped", "WSASend", True),
        ("overlapped", "getresult", True),
        ("overlapped", "cancel", False),
    ],
)
def test_a_call_of_windows_that_raises_costs_a_connection_at_most(
    ours: Bench, monkeypatch: pytest.MonkeyPatch, module: str, name: str, ends: bool, error: str
) -> None:
    from proactor_echo.loops.iocp import operations as operations
    from proactor_echo.loops.iocp import winapi

    fault = Fault(name, ERRORS[error])
    if module == "winapi":
        monkeypatch.setattr(winapi, name, getattr(FaultyCalls(winapi, fault), name))
    else:
        real = vars(operations)["overlapped"]

        class Overlapped:
            """The module, with its operations made faulty; only the connection's sends are overlapped ones."""

            def __getattr__(self, attribute: str) -> Any:
                return getattr(real, attribute)

            def Overlapped(self, event: int) -> Any:  # noqa: N802  # its name
                return FaultyCalls(real.Overlapped(event), fault)

        monkeypatch.setattr(operations, "overlapped", Overlapped())

    async def main() -> None:
        protocol = Recorder()
        if name in ("CancelIoEx", "cancel"):
            async with connection() as (good, good_peer):
                peer, there = tcp_pair()
                fault.victim = there.fileno()
                transport: Any
                transport, _ = await asyncio.get_running_loop().create_connection(lambda: protocol, sock=there)
                while not transport._sending:
                    transport.write(bytes(1 << 20))
                await asyncio.sleep(0)
                fault.armed = True
                transport.abort()
                await protocol.lost
                fault.armed = False
                peer.close()
                good_peer.send(b"fine")
                assert await good.until(4) == b"fine"
            assert fault.hits
            assert protocol.calls.count("lost") == 1
        else:
            await survives(fault, protocol, from_the_start=False, ends=ends)

    ours.run(main())


@pytest.mark.parametrize(
    "buffer",
    [b"read-only", memoryview(b"read-only"), [1, 2, 3], memoryview(bytearray(8))[::2], "text", 5, None],
    ids=["bytes", "memoryview", "list", "strided", "text", "int", "None"],
)
def test_a_buffer_that_cannot_be_received_into_ends_its_connection(ours: Bench, buffer: Any) -> None:
    """As on the selector loop; the stock proactor loop waits for ever where there is a list."""

    class Wrong(BufferedRecorder):
        def get_buffer(self, sizehint: int) -> Any:
            return buffer

    async def main() -> tuple[list[str], BaseException | None]:
        async with connection() as (good, good_peer), connection(Wrong()) as (protocol, peer):
            peer.send(b"x")
            exc = await protocol.lost
            good_peer.send(b"fine")
            assert await good.until(4) == b"fine"
            return protocol.calls, exc

    calls, exc = ours.run(main())
    assert calls == ["made", "lost"]
    assert isinstance(exc, TypeError | ValueError | BufferError)
    assert len(ours.errors) == 1


@pytest.mark.parametrize("method", ["get_buffer", "buffer_updated", "pause_writing", "resume_writing"])
def test_what_a_protocol_raises_never_ends_the_loop(ours: Bench, method: str) -> None:
    def broken(self: Any, *args: Any) -> Any:
        raise Strange(method)

    kind: Any = type("Broken", (BufferedRecorder,), {method: broken})

    async def main() -> None:
        async with connection() as (good, good_peer), connection(kind()) as (protocol, peer):
            transport = protocol.transport
            peer.send(b"x")
            while not (transport._sending or transport.is_closing()):
                transport.write(bytes(1 << 20))
            while not (transport._size == 0 or transport.is_closing()):
                with contextlib.suppress(BlockingIOError, ConnectionError):
                    peer.recv(1 << 20)
                await asyncio.sleep(0)
            good_peer.send(b"fine")
            assert await good.until(4) == b"fine"

    ours.run(main())
    assert [type(context["exception"]) for context in ours.errors] == [Strange]


def test_what_nobody_expected_of_a_transport_ends_that_transport(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last resort: where the loop calls a handler, an operation, or a transport at the end of an iteration."""

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()

        def broken(self: Any, *args: Any) -> None:
            if self is victim.transport:
                raise Strange("unforeseen")
            real(self, *args)

        real = loop._stream_class._received
        async with connection() as (good, good_peer), connection() as (victim, peer):
            monkeypatch.setattr(loop._stream_class, "_received", broken)
            peer.send(b"x")
            good_peer.send(b"fine")
            assert isinstance(await victim.lost, Strange)
            assert await good.until(4) == b"fine"
            monkeypatch.undo()

    ours.run(main())
    assert [type(context["exception"]) for context in ours.errors] == [Strange]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_these_two_end_the_loop(kind: type[BaseException]) -> None:
    fault = Fault("send", kind)

    async def main() -> None:
        peer, there = tcp_pair()
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol, sock=FaultySocket.of(there, fault)
        )
        fault.armed = True
        try:
            transport.write(b"x")
            await asyncio.sleep(60)
        finally:
            fault.armed = False
            transport.abort()
            peer.close()

    with asyncio.Runner(loop_factory=loops.new_event_loop) as runner, pytest.raises(kind):
        runner.run(main())


# -- the peer's last words -------------------------------------------------------------------------------------------


async def blocked(protocol: Recorder) -> None:
    """Write until the system takes no more."""
    while not protocol.transport._sending:
        protocol.transport.write(bytes(1 << 20))
    await asyncio.sleep(0)


@pytest.mark.parametrize("size", [10, 2000, 100_000])
def test_the_last_words_of_a_peer_that_resets_arrive_while_output_is_pending(ours: Bench, size: int) -> None:
    if private.WINDOWS and size > 2000:
        pytest.skip("Windows itself throws away what was not received when the reset comes")

    async def main() -> tuple[int, int, BaseException | None]:
        async with connection() as (protocol, peer):
            await blocked(protocol)
            here = protocol.transport._sock
            arrived = peer.send(b"x" * size)
            if READY:  # a reset takes back what has not arrived yet
                arrived = len(here.recv(size, socket.MSG_PEEK))
            reset(peer)
            exc = await protocol.lost
            return arrived, len(protocol.received), exc

    arrived, received, exc = ours.run(main())
    assert received == arrived
    assert isinstance(exc, ConnectionError)
    assert not ours.errors


@pytest.mark.parametrize("buffered", [False, True])
def test_the_last_words_arrive_although_a_write_found_the_reset_first(ours: Bench, buffered: bool) -> None:
    """Stock transports throw them away: a write that fails closes at once."""

    async def main() -> tuple[list[str], bytes, BaseException | None]:
        async with connection(BufferedRecorder(4) if buffered else None) as (protocol, peer):
            await asyncio.sleep(0)
            peer.send(b"last words")
            reset(peer)
            for _ in range(3):
                protocol.transport.write(b"into the void")
            exc = await protocol.lost
            return protocol.calls, bytes(protocol.received), exc

    calls, received, exc = ours.run(main())
    if buffered and sys.platform == "win32" and WINE_VERSION != 8:
        # A reset takes with it what no receive was waiting for, unless it comes later than the next receive.
        assert received in (b"last", b"last words")
    else:
        assert received == b"last words"
    assert calls[0] == "made"
    assert calls[-1] == "lost"
    assert set(calls[1:-1]) == {"data"}
    assert isinstance(exc, ConnectionError)
