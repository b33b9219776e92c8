"""Every deadline ends a connection that takes too long, for its own reason, and leaves the others alone."""

import asyncio
import contextlib
import random
from typing import Any

import pytest
from helpers.forms import FORMS
from helpers.peers import RawClient, eventually
from helpers.sources import ask

import proactor_echo as pe
from proactor_echo.net.tcp.deadlines import SPREAD, DeadlineSweep

form = pytest.mark.parametrize("form", FORMS)

LENGTH = pe.LengthCodec()


async def ended(client: RawClient) -> bytes:
    """Read to the end, however it comes."""
    received = b""
    with contextlib.suppress(OSError):
        while data := await client.receive():
            received += data
    return received


def reasons(server: pe.Server) -> dict[pe.DisconnectReason, int]:
    return dict(server.stats.disconnects)


@form
async def test_a_client_that_sends_nothing_is_ended_and_one_that_has_sent_is_not(form: dict[str, Any]) -> None:
    async with (
        await pe.serve_tcp(**form, deadlines=pe.Deadlines(first_byte=0.1)) as server,
        await RawClient.connect(server.address) as talking,
        await RawClient.connect(server.address) as silent,
    ):
        assert await ask(talking) == b"ping"
        assert await ended(silent) == b""
        await eventually(lambda: reasons(server) == {pe.DisconnectReason.FIRST_BYTE_TIMEOUT: 1})
        assert await ask(talking) == b"ping"


@form
async def test_a_frame_that_is_not_complete_in_time_ends_its_connection(form: dict[str, Any]) -> None:
    async with (
        await pe.serve_tcp(**form, codec=LENGTH, deadlines=pe.Deadlines(frame=0.2)) as server,
        await RawClient.connect(server.address) as slow,
        await RawClient.connect(server.address) as idle,
    ):
        await idle.send(LENGTH.encode(b"ping"))
        assert await idle.receive_exactly(8) == LENGTH.encode(b"ping")
        await slow.send(LENGTH.encode(b"ping") + b"\0\0\0\x05half")
        assert await ended(slow) == LENGTH.encode(b"ping")
        await eventually(lambda: reasons(server) == {pe.DisconnectReason.FRAME_TIMEOUT: 1})
        await idle.send(LENGTH.encode(b"pong"))
        assert await idle.receive_exactly(8) == LENGTH.encode(b"pong")


async def test_a_frame_that_comes_byte_by_byte_is_ended_as_well() -> None:
    """What moves is not idle; the deadline is for the whole frame."""
    async with (
        await pe.serve_tcp(pe.echo, codec=LENGTH, deadlines=pe.Deadlines(frame=0.2, idle=60)) as server,
        await RawClient.connect(server.address) as client,
    ):
        await client.send(b"\0\1\0\0")

        async def drip() -> None:
            with contextlib.suppress(OSError):
                while True:
                    await client.send(b".")
                    await asyncio.sleep(0.005)

        dripping = asyncio.create_task(drip())
        await eventually(lambda: reasons(server) == {pe.DisconnectReason.FRAME_TIMEOUT: 1})
        await dripping


async def test_frames_that_follow_each_other_each_have_their_own_time() -> None:
    async with (
        await pe.serve_tcp(pe.echo, codec=LENGTH, deadlines=pe.Deadlines(frame=0.3)) as server,
        await RawClient.connect(server.address) as client,
    ):
        whole = LENGTH.encode(b"ping")
        await client.send(whole[:5])
        for _ in range(60):  # there is an unfinished frame all the time, each time another one
            await client.send(whole[5:] + whole[:5])
            assert await client.receive_exactly(8) == whole
            await asyncio.sleep(0.01)
        assert reasons(server) == {}


@form
@pytest.mark.parametrize(
    ("deadlines", "reason"),
    [
        (pe.Deadlines(write=0.2), pe.DisconnectReason.WRITE_TIMEOUT),
        (pe.Deadlines(min_rate=(1e9, 0.2)), pe.DisconnectReason.MIN_RATE),
    ],
    ids=["nothing", "below the minimum rate"],
)
async def test_a_peer_that_does_not_take_its_answer_is_ended(
    form: dict[str, Any], deadlines: pe.Deadlines, reason: pe.DisconnectReason
) -> None:
    options = pe.SocketOptions(send_buffer=4096, receive_buffer=4096)
    async with (
        await pe.serve_tcp(**form, options=options, deadlines=deadlines) as server,
        await RawClient.connect(server.address, receive_buffer=4096) as client,
    ):
        sending = asyncio.create_task(client.send(bytes(4_000_000)))
        await eventually(lambda: reasons(server) == {reason: 1})
        with contextlib.suppress(OSError):
            await sending


async def test_a_lifetime_ends_a_busy_connection_and_what_was_sent_arrives() -> None:
    async with (
        await pe.serve_tcp(pe.echo, deadlines=pe.Deadlines(lifetime=0.3)) as server,
        await RawClient.connect(server.address) as client,
    ):
        with contextlib.suppress(OSError):
            async with asyncio.timeout(20):
                answer = b"ping"
                while answer:
                    await client.send(b"ping")
                    answer = await client.receive()
                    assert b"pingping".startswith(answer)
        await eventually(lambda: reasons(server) == {pe.DisconnectReason.LIFETIME: 1})


@form
async def test_an_unfinished_frame_below_the_minimum_rate_is_ended(form: dict[str, Any]) -> None:
    deadlines = pe.Deadlines(min_rate=(10_000, 0.1))
    async with (
        await pe.serve_tcp(**form, codec=LENGTH, deadlines=deadlines) as server,
        await RawClient.connect(server.address) as slow,
    ):
        await slow.send((1_000_000).to_bytes(4, "big") + bytes(10))
        await ended(slow)
        await eventually(lambda: reasons(server) == {pe.DisconnectReason.MIN_RATE: 1})


async def test_the_minimum_rate_asks_nothing_of_an_idle_connection() -> None:
    async with (
        await pe.serve_tcp(pe.echo, codec=LENGTH, deadlines=pe.Deadlines(min_rate=(1e6, 0.02))) as server,
        await RawClient.connect(server.address) as client,
        await RawClient.connect(server.address) as silent,
    ):
        await client.send(LENGTH.encode(b"ping"))
        assert await client.receive_exactly(8) == LENGTH.encode(b"ping")
        await silent.send(b"\0")  # ended long after the other would have been
        await ended(silent)
        assert reasons(server) == {pe.DisconnectReason.MIN_RATE: 1}
        await client.send(LENGTH.encode(b"pong"))
        assert await client.receive_exactly(8) == LENGTH.encode(b"pong")


async def test_the_handler_gets_the_reason() -> None:
    got: asyncio.Future[pe.Disconnected] = asyncio.get_running_loop().create_future()

    async def handler(conn: pe.Connection) -> None:
        try:
            await conn.receive()
        except pe.Disconnected as error:
            got.set_result(error)

    async with (
        await pe.serve_tcp(handler, codec=LENGTH, deadlines=pe.Deadlines(frame=0.1)) as server,
        await RawClient.connect(server.address) as client,
    ):
        await client.send(b"\0")
        assert (await got).reason is pe.DisconnectReason.FRAME_TIMEOUT


async def test_a_deadline_is_one_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        await pe.serve_tcp(pe.echo, deadlines=pe.Deadlines(first_byte=0.05)) as server,
        await RawClient.connect(server.address) as client,
    ):
        await ended(client)
        await eventually(lambda: server.stats.disconnects)
    said = [record.getMessage() for record in caplog.records if record.levelname != "DEBUG"]
    assert [line.partition(": ")[2] for line in said] == ["first byte timeout"]


async def test_time_that_this_side_does_not_read_does_not_count() -> None:
    """The frame is unfinished because the handler is behind."""
    go = asyncio.Event()

    async def handler(conn: pe.Connection) -> None:
        await go.wait()
        async for frame in conn:
            await conn.send(frame)

    frame = LENGTH.encode(bytes(3000))
    async with (
        await pe.serve_tcp(handler, codec=LENGTH, read_limit=2000, deadlines=pe.Deadlines(frame=0.1)) as server,
        await RawClient.connect(server.address) as client,
        await RawClient.connect(server.address) as other,
    ):
        sending = asyncio.create_task(client.send(frame * 100))
        await other.send(b"\0")
        await ended(other)
        assert reasons(server) == {pe.DisconnectReason.FRAME_TIMEOUT: 1}
        go.set()
        assert await client.receive_exactly(len(frame) * 100) == frame * 100
        await sending


async def test_without_deadlines_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("made without a deadline")

    monkeypatch.setattr(DeadlineSweep, "__init__", never)
    async with await pe.serve_tcp(pe.echo) as server, await RawClient.connect(server.address) as client:
        assert await ask(client) == b"ping"


# -- the sweep, in a time of its own ---------------------------------------------------------------------------------


class Clock:
    """As much of an event loop as a sweep needs, whose time a test moves on."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[list[Any]] = []

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Any, *args: Any) -> "Timer":
        entry = [self.now + delay, callback, args]
        self.timers.append(entry)
        return Timer(self, entry)

    def call_soon(self, callback: Any, *args: Any) -> "Timer":
        return self.call_later(0, callback, *args)

    def move_to(self, when: float) -> None:
        """Run what is due until then."""
        while due := [entry for entry in self.timers if entry[0] <= when]:
            entry = min(due, key=lambda each: each[0])
            self.timers.remove(entry)
            self.now = max(self.now, entry[0])
            entry[1](*entry[2])
        self.now = max(self.now, when)


class Timer:
    def __init__(self, clock: Clock, entry: list[Any]) -> None:
        self._clock, self._entry = clock, entry

    def cancel(self) -> None:
        if self._entry in self._clock.timers:
            self._clock.timers.remove(self._entry)


class Peer:
    """What a sweep sees of a connection."""

    can_end = is_reading = True
    disconnect: object = None
    received_bytes = sent_bytes = received_frames = unfinished_bytes = unsent_bytes = 0
    reason: pe.DisconnectReason | None = None

    @property
    def activity(self) -> int:
        return self.received_bytes + self.sent_bytes

    def end_for(self, reason: pe.DisconnectReason) -> None:
        self.reason, self.disconnect = reason, reason

    abort_for = end_for


def sweep_over(peers: list[Peer], deadlines: pe.Deadlines, **options: Any) -> tuple[Clock, DeadlineSweep]:
    clock: Any = Clock()
    connections: Any = lambda: peers  # noqa: E731
    return clock, DeadlineSweep(deadlines, connections, clock, **options)


@pytest.mark.parametrize("seed", range(15))
def test_random_traffic_ends_at_its_deadlines_and_not_before(seed: int) -> None:
    print(f"seed {seed}")
    rng = random.Random(seed)
    deadlines = pe.Deadlines(
        first_byte=rng.choice([None, 6.0]),
        frame=rng.choice([None, 9.0]),
        idle=rng.choice([None, 14.0]),
        write=rng.choice([None, 11.0]),
        lifetime=rng.choice([None, 60.0]),
    )
    if not deadlines.of_connections:
        pytest.skip("nothing was chosen")
    peer = Peer()
    clock, sweep = sweep_over([peer], deadlines)
    interval = sweep._interval
    opened = last = clock.now
    frame_from = output_from = None
    while peer.reason is None and clock.now < opened + 90:
        clock.move_to(clock.now + rng.choice([0.3, 1.0, 2.0, 5.0]))
        if peer.reason is not None:
            break
        if rng.random() < 0.7:
            peer.received_bytes += 10
            last = clock.now
            begins = rng.random() < 0.5
            if peer.unfinished_bytes and begins:
                peer.received_frames += 1
                frame_from = clock.now
            elif begins:
                peer.unfinished_bytes, frame_from = 5, clock.now
            else:
                peer.received_frames += 1
                peer.unfinished_bytes, frame_from = 0, None
        taken = peer.sent_bytes - peer.unsent_bytes
        if rng.random() < 0.3:
            peer.sent_bytes += 10
            last = clock.now
            peer.unsent_bytes = rng.choice([0, peer.unsent_bytes, peer.unsent_bytes + 10])
        elif peer.unsent_bytes and rng.random() < 0.3:
            peer.unsent_bytes -= 1
        if not peer.unsent_bytes:
            output_from = None
        elif output_from is None or peer.sent_bytes - peer.unsent_bytes != taken:
            output_from = clock.now
    since = {
        pe.DisconnectReason.FIRST_BYTE_TIMEOUT: (None if peer.received_bytes else opened, deadlines.first_byte),
        pe.DisconnectReason.FRAME_TIMEOUT: (frame_from, deadlines.frame),
        pe.DisconnectReason.IDLE_TIMEOUT: (last, deadlines.idle),
        pe.DisconnectReason.WRITE_TIMEOUT: (output_from, deadlines.write),
        pe.DisconnectReason.LIFETIME: (opened, (deadlines.lifetime or 0) * (1 - SPREAD)),
    }
    if peer.reason is not None:
        began, seconds = since[peer.reason]
        assert began is not None
        assert seconds is not None
        assert clock.now - began >= seconds - 1e-6
    # Nothing that is over is left running for longer than a sweep may take to see it.
    for began, seconds in since.values():
        if peer.reason is None and began is not None and seconds:
            assert clock.now - began <= seconds / (1 - SPREAD) * (1 + SPREAD) + 3 * interval + 5


def test_a_lifetime_is_spread() -> None:
    peers = [Peer() for _ in range(200)]
    clock, _ = sweep_over(peers, pe.Deadlines(lifetime=100.0), spread=random.Random(1).uniform)
    over: list[int] = []
    for second in range(1, 130):
        clock.move_to(1000.0 + second)
        over.append(sum(peer.reason is not None for peer in peers))
    assert over[88] == 0
    assert over[112] == 200
    assert 20 < over[100] < 180


def test_time_in_which_the_process_was_stopped_does_not_count() -> None:
    peer = Peer()
    clock, _ = sweep_over([peer], pe.Deadlines(idle=10.0))
    clock.move_to(1005.0)
    clock.now += 3600.0
    clock.move_to(clock.now + 2.0)
    assert peer.reason is None
    clock.move_to(clock.now + 12.0)
    assert peer.reason is pe.DisconnectReason.IDLE_TIMEOUT


def test_many_connections_are_looked_at_in_portions() -> None:
    peers = [Peer() for _ in range(2500)]
    clock, _ = sweep_over(peers, pe.Deadlines(idle=8.0))
    clock.move_to(1000.0 + 11.0)
    assert all(peer.reason is pe.DisconnectReason.IDLE_TIMEOUT for peer in peers)
