"""The datagram transport by itself: queueing while the system is full, and every way to end."""

import asyncio
import errno
import logging
import socket
import sys
from typing import Any

import pytest
import pytest_asyncio
from helpers.network import FaultySocket, closed_udp_port
from helpers.peers import eventually, iterations

from proactor_echo.errors import DatagramTooLong
from proactor_echo.net.stock import datagram, datagram_loops
from proactor_echo.net.stock.datagram_loops import open_transport


@pytest.fixture(autouse=True, params=["as the loop does", "completion"][: 1 if sys.platform == "win32" else 2])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the loop receive and send as on a completion loop too: a readiness loop has the same coroutines."""
    if request.param == "completion":
        monkeypatch.setattr(datagram_loops, "is_proactor", lambda loop: True)


DEAD = OSError(errno.EIO, "the adapter is gone")


class RecordingProtocol(asyncio.DatagramProtocol):
    def __init__(self) -> None:
        self.events: list[str] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.events.append("made")

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.events.append(f"received {data.decode()}")

    def error_received(self, exc: Exception) -> None:
        self.events.append(f"error {type(exc).__name__}")

    def pause_writing(self) -> None:
        self.events.append("pause")

    def resume_writing(self) -> None:
        self.events.append("resume")

    def connection_lost(self, exc: Exception | None) -> None:
        self.events.append(f"lost {exc}")


class Pair:
    """A transport on a moody socket, and a plain socket as its peer."""

    def __init__(self, protocol: RecordingProtocol, *, connected: bool = False) -> None:
        self.peer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.peer.bind(("127.0.0.1", 0))
        self.peer.setblocking(False)
        self.sock = FaultySocket()
        self.sock.bind(("127.0.0.1", 0))
        self.address = None if connected else self.peer.getsockname()
        if connected:
            self.sock.connect(self.peer.getsockname())
        self.protocol = protocol
        self.transport = open_transport(protocol, self.sock)
        self.arrived: list[bytes] = []

    def sendto(self, *datagrams: bytes) -> None:
        for data in datagrams:
            self.transport.sendto(data, self.address)

    def look(self) -> list[bytes]:
        """Return what has arrived at the peer."""
        try:
            while True:
                self.arrived.append(self.peer.recv(70_000))
        except BlockingIOError:
            return self.arrived

    async def arrives(self, *datagrams: bytes) -> None:
        await eventually(lambda: self.look() == list(datagrams), "arrived")

    async def ended(self) -> None:
        async with asyncio.timeout(10):
            await self.transport.wait_closed()
        self.look()
        self.peer.close()
        assert self.sock.fileno() == -1
        assert [each for each in self.protocol.events if each.startswith("lost")] == ["lost None"]
        assert self.protocol.events[-1] == "lost None"


@pytest_asyncio.fixture(params=[False, True], ids=["bound", "connected"])
async def pair(request: pytest.FixtureRequest) -> Pair:
    return Pair(RecordingProtocol(), connected=request.param)


def numbered(count: int) -> list[bytes]:
    return [b"%d" % number for number in range(count)]


async def test_datagrams_wait_in_order_while_the_socket_would_block(pair: Pair) -> None:
    pair.sock.blocked = 1
    pair.sendto(b"first", b"", b"third")
    assert pair.transport.get_write_buffer_size() == 10
    assert pair.look() == []
    await pair.arrives(b"first", b"", b"third")
    assert pair.transport.get_write_buffer_size() == 0
    pair.sendto(b"at once")
    assert pair.look()[-1:] == [b"at once"]
    pair.transport.close()
    await pair.ended()


async def test_close_sends_what_is_queued_and_then_ends(pair: Pair) -> None:
    pair.sock.blocked = 1
    pair.sendto(*numbered(50))
    pair.transport.close()
    pair.transport.close()
    pair.sendto(b"too late")
    assert pair.transport.is_closing()
    await pair.ended()
    assert pair.arrived == numbered(50)
    assert pair.protocol.events == ["made", "lost None"]


async def test_abort_drops_what_is_queued(pair: Pair) -> None:
    pair.sock.blocked = 1_000_000
    pair.sendto(*numbered(50))
    pair.transport.abort()
    assert pair.transport.get_write_buffer_size() == 0
    await pair.ended()
    assert pair.protocol.events == ["made", "lost None"]


@pytest.mark.parametrize("count", range(6))
async def test_abort_while_closing_ends_at_once_whenever_it_comes(pair: Pair, count: int) -> None:
    pair.sock.blocked = 3
    pair.sendto(*numbered(5))
    await iterations(count)
    pair.transport.close()
    await iterations(count)
    pair.transport.abort()
    pair.transport.abort()
    await pair.ended()
    assert pair.arrived == numbered(len(pair.arrived))


async def test_closing_is_bounded_when_the_system_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datagram, "FLUSH_TIMEOUT", 0.05)
    loop = asyncio.get_running_loop()

    async def never(*args: Any) -> None:
        await loop.create_future()

    for name in ("sock_sendto", "sock_sendall"):
        monkeypatch.setattr(loop, name, never)
    pair = Pair(RecordingProtocol())
    pair.sock.blocked = 1_000_000
    pair.sendto(b"never sent")
    pair.transport.close()
    await pair.ended()
    assert pair.arrived == []


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_it_can_be_ended_before_it_has_begun(pair: Pair, how: str) -> None:
    getattr(pair.transport, how)()
    await pair.ended()
    assert pair.protocol.events == ["made", "lost None"]


@pytest.mark.parametrize("how", ["close", "abort"])
@pytest.mark.parametrize("where", ["connection_made", "datagram_received", "error_received", "pause_writing"])
async def test_it_can_be_ended_from_every_callback(where: str, how: str) -> None:
    def ending(self: RecordingProtocol, *args: Any) -> None:
        getattr(RecordingProtocol, where)(self, *args)
        getattr(ended.transport, how)()

    ended = Pair(type("Ending", (RecordingProtocol,), {where: ending})())
    await iterations(3)
    if not ended.transport.is_closing():
        ended.peer.sendto(b"x", ended.sock.getsockname())
        await eventually(lambda: "received x" in ended.protocol.events)
    if not ended.transport.is_closing():
        ended.sock.errors = [DEAD]
        ended.sendto(b"fails")
    if not ended.transport.is_closing():
        ended.sock.blocked = 1
        ended.transport.set_write_buffer_limits(high=0)
        ended.sendto(*numbered(4))
    await ended.ended()


async def test_resuming_may_send_more_and_each_goes_once(pair: Pair) -> None:
    """Sending from resume_writing while the sender is still on its way started a second one."""

    class Eager(RecordingProtocol):
        def resume_writing(self) -> None:
            super().resume_writing()
            if pair.sock.errors == [] and b"more" not in pair.look():
                pair.sock.blocked = 2
                pair.sendto(b"more", b"and more")

    pair.protocol = Eager()
    pair.transport.set_protocol(pair.protocol)
    pair.transport.set_write_buffer_limits(high=0)
    pair.sock.blocked = 1
    pair.sendto(b"0", b"1")
    await pair.arrives(b"0", b"1", b"more", b"and more")
    await iterations(20)
    assert pair.look() == [b"0", b"1", b"more", b"and more"]
    pair.transport.close()
    await pair.ended()


async def test_the_protocol_is_paused_above_the_high_mark_and_resumed_at_the_low_one(pair: Pair) -> None:
    pair.transport.set_write_buffer_limits(high=100, low=50)
    assert pair.transport.get_write_buffer_limits() == (50, 100)
    pair.sock.blocked = 1
    await iterations(2)
    for number in range(4):
        pair.sendto(bytes(30))
        assert ("pause" in pair.protocol.events) is (number == 3)
    await eventually(lambda: "resume" in pair.protocol.events)
    assert pair.protocol.events == ["made", "pause", "resume"]
    pair.transport.close()
    await pair.ended()


@pytest.mark.parametrize(
    ("given", "limits"),
    [({}, (16384, 65536)), ({"high": 100}, (25, 100)), ({"low": 100}, (100, 400)), ({"high": 0}, (0, 0))],
)
async def test_marks_follow_asyncios_rules(pair: Pair, given: dict[str, int], limits: tuple[int, int]) -> None:
    pair.transport.set_write_buffer_limits(**given)
    assert pair.transport.get_write_buffer_limits() == limits
    with pytest.raises(ValueError, match="high"):
        pair.transport.set_write_buffer_limits(high=1, low=2)
    pair.transport.abort()
    await pair.ended()


async def test_an_error_costs_its_own_datagram_alone(pair: Pair) -> None:
    pair.sock.errors = [DEAD]
    pair.sendto(b"lost", b"next")
    await iterations(3)
    assert pair.look() == [b"next"]
    pair.sock.blocked = 1
    pair.sock.errors = []
    pair.sendto(b"queued", b"queued too")
    await pair.arrives(b"next", b"queued", b"queued too")
    assert [each for each in pair.protocol.events if each.startswith("error")] == ["error OSError"]
    pair.transport.close()
    await pair.ended()


async def test_errors_while_paused_leave_nobody_paused_and_nothing_stranded(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(*args: Any) -> None:
        raise DEAD

    for name in ("sock_sendto", "sock_sendall"):  # a completion loop sends what is queued by these
        monkeypatch.setattr(asyncio.get_running_loop(), name, failing)
    pair.transport.set_write_buffer_limits(high=0)
    pair.sock.blocked = 1
    pair.sock.errors = [DEAD] * 3
    pair.sendto(*numbered(3))
    await eventually(lambda: "resume" in pair.protocol.events)
    assert pair.protocol.events == ["made", "pause", *["error OSError"] * 3, "resume"]
    assert pair.transport.get_write_buffer_size() == 0
    pair.sock.errors = []
    pair.sendto(b"and on")
    await pair.arrives(b"and on")
    pair.transport.close()
    await pair.ended()


async def test_an_error_about_an_earlier_datagram_is_reported_and_this_one_goes_out(pair: Pair) -> None:
    stale = ConnectionRefusedError(errno.ECONNREFUSED, "nobody listened for an earlier one")
    pair.sock.errors = [stale, stale]
    pair.sendto(b"out")
    await iterations(3)
    assert pair.look() == [b"out"]
    assert pair.protocol.events.count("error ConnectionRefusedError") == 2
    pair.transport.close()
    await pair.ended()


async def test_an_error_that_stays_is_about_this_datagram(pair: Pair) -> None:
    unreachable = OSError(errno.ENETUNREACH, "no route")
    pair.sock.errors = [unreachable] * 3
    with pytest.raises(OSError, match="no route"):
        pair.transport.try_send(b"lost", pair.address)
    assert pair.transport.try_send(b"sent", pair.address)
    assert pair.look() == [b"sent"]
    pair.transport.close()
    await pair.ended()
    assert pair.protocol.events == ["made", "lost None"]


async def test_a_datagram_that_is_too_long_is_refused_at_once(pair: Pair) -> None:
    with pytest.raises(DatagramTooLong, match="at most 65507 bytes, not 65508"):
        pair.sendto(bytes(65508))
    with pytest.raises(TypeError):
        pair.sendto("text")  # type: ignore[arg-type]
    pair.transport.close()
    await pair.ended()


async def test_everybody_who_waits_to_write_is_woken_whenever_they_began_to(pair: Pair) -> None:
    """A waiter that comes between the waking of the first and its running must not be forgotten."""
    woken: list[int] = []

    async def wait(number: int) -> None:
        await pair.transport.wait_writable()
        woken.append(number)
        if number < 10:
            again.append(asyncio.create_task(wait(number + 10)))

    again: list[asyncio.Task[None]] = []
    tasks = [asyncio.create_task(wait(number)) for number in range(3)]
    async with asyncio.timeout(10):
        while len(woken) < 6:
            await iterations(1)
            if len(tasks) < 6:
                tasks.append(asyncio.create_task(wait(len(tasks) + 20)))
        await asyncio.gather(*tasks, *again)
    pair.transport.close()
    await pair.ended()


async def test_cancelling_one_writable_waiter_forgets_no_other(pair: Pair) -> None:
    first = asyncio.create_task(pair.transport.wait_writable())
    second = asyncio.create_task(pair.transport.wait_writable())
    await asyncio.sleep(0)
    first.cancel()
    async with asyncio.timeout(10):
        await second
    pair.transport.close()
    await pair.ended()


@pytest.mark.parametrize("how", ["close", "abort"])
async def test_ending_wakes_those_who_wait_to_write(pair: Pair, how: str) -> None:
    await iterations(2)
    waiting = asyncio.create_task(pair.transport.wait_writable())
    await asyncio.sleep(0)
    getattr(pair.transport, how)()
    async with asyncio.timeout(10):
        await waiting
    await pair.ended()


async def test_errors_of_a_vanished_peer_are_reported_and_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    protocol = RecordingProtocol()
    sock = FaultySocket()
    sock.connect(("127.0.0.1", closed_udp_port()))
    transport = open_transport(protocol, sock)
    for _ in range(5):
        transport.sendto(b"anybody there?")
        await iterations(3)
    assert not transport.is_closing()
    transport.close()
    await transport.wait_closed()
    assert protocol.events[0] == "made"
    assert protocol.events[-1] == "lost None"
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_the_transport_knows_its_socket(pair: Pair) -> None:
    info = pair.transport.get_extra_info
    assert info("sockname") == pair.sock.getsockname()
    assert info("peername") == (None if pair.address else pair.peer.getsockname())
    assert info("socket") is pair.sock
    assert pair.transport.get_protocol() is pair.protocol
    pair.transport.abort()
    await pair.ended()
