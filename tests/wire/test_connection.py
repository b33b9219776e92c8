"""The sans-I/O connection against a reference written straight from the table: random events, compared after each."""

import random
import subprocess
import sys

import pytest

import proactor_echo as pe
from proactor_echo.errors import FrameTooLong, ProtocolStateError
from proactor_echo.wire import BytesLike, LengthCodec
from proactor_echo.wire.connection import ConnectionStats, FramedStream
from proactor_echo.wire.lifecycle import TRANSITIONS, Event

State = pe.ConnectionState
Reason = pe.DisconnectReason

SEEDS = 400
STEPS = 30
LIMIT = 20


class Reference:
    """One connection in the plainest way: the table, all bytes that came, and the list of causes."""

    def __init__(self) -> None:
        self.state = State.OPENING
        self.came = b""
        self.stats = ConnectionStats()
        self.peer_ended = False
        self.inside = False
        self.broken = False
        self.closing = False
        self.ended = False
        self.causes: list[tuple[Reason, bool]] = []

    def may(self, event: Event) -> bool:
        return (self.state, event) in TRANSITIONS

    def on(self, event: Event) -> None:
        self.state = TRANSITIONS[self.state, event]

    @property
    def can_receive(self) -> bool:
        return self.state in (State.OPEN, State.OUR_EOF)

    @property
    def can_send(self) -> bool:
        return self.state in (State.OPEN, State.PEER_EOF)

    def receive(self, data: bytes) -> list[bytes]:
        """Return the frames that ``data`` completes, found by reading everything again from the beginning."""
        if not self.can_receive or self.broken:
            return []
        self.came += data
        self.stats.bytes_in += len(data)
        frames, rest = [], self.came
        while len(rest) >= 4:
            length = int.from_bytes(rest[:4], "big")
            if length > LIMIT:
                self.broken = True
                break
            if len(rest) < 4 + length:
                break
            frames.append(rest[4 : 4 + length])
            rest = rest[4 + length :]
        self.inside = bool(rest) and not self.broken
        new = frames[self.stats.frames_in :]
        self.stats.frames_in = len(frames)
        return new

    def end(self) -> None:
        if self.can_receive:
            self.peer_ended = True
            self.on(Event.PEER_EOF)
            self.broken = self.broken or self.inside
            self.inside = False

    @property
    def cause(self) -> Reason | None:
        """The first cause; a wish to close gives way to the first thing that was in its way."""
        if not self.causes:
            return None
        first = self.causes[0][0]
        if first is Reason.LOCAL_CLOSE:
            return next((reason for reason, forced in self.causes[1:] if forced), first)
        return first

    def reason(self, error: BaseException | None) -> Reason:
        cause = self.cause
        if cause is not None and cause is not Reason.LOCAL_CLOSE:
            return cause
        if error is not None:
            return Reason.PEER_RESET
        return Reason.END_OF_FILE if self.peer_ended else Reason.LOCAL_CLOSE


@pytest.mark.parametrize("seed", range(SEEDS))
def test_any_order_of_events_leaves_what_the_table_says(seed: int) -> None:
    rng = random.Random(seed)
    stream, reference = FramedStream(LengthCodec(max_frame_length=LIMIT), "peer"), Reference()
    history: list[str] = []
    try:
        for _ in range(STEPS):
            history.append(event(rng, reference))
            happens(history[-1], rng, stream, reference)
            assert stream.state is reference.state
            assert (stream.can_receive, stream.can_send) == (reference.can_receive, reference.can_send)
            assert stream.is_closing is reference.closing
            assert (stream.failure is not None) is reference.broken
            assert bool(stream.buffered) is reference.inside
            assert stream.stats == reference.stats
            assert (stream.disconnect is not None) is reference.ended
    except BaseException as error:
        error.add_note(f"seed {seed}: {', '.join(history)}")
        raise


def event(rng: random.Random, reference: Reference) -> str:
    if reference.may(Event.CONNECTED) and rng.random() < 0.8:
        return "connected"
    return rng.choice(["feed"] * 6 + ["encode"] * 3 + ["eof", "send_eof", "set_reason", "close", "abort", "lost"])


def happens(what: str, rng: random.Random, stream: FramedStream, reference: Reference) -> None:
    """Let one thing happen to both, and compare what they answer."""
    match what:
        case "connected":
            stream.connected()
            reference.on(Event.CONNECTED)
        case "feed":
            data = piece(rng)
            assert stream.feed(data) == reference.receive(data)
        case "encode":
            encode(rng.randbytes(rng.randrange(LIMIT + 3)), stream, reference)
        case "eof":
            assert stream.feed_eof() == []
            reference.end()
        case "send_eof":
            send_eof(stream, reference)
        case "set_reason":
            reference.causes.append((Reason.FRAMING, False))
            stream.set_reason(Reason.FRAMING, ValueError("as the peer wrote it: \n"))
        case "close":
            reason = rng.choice([Reason.LOCAL_CLOSE, Reason.IDLE_TIMEOUT])
            reference.causes.append((reason, False))
            assert stream.close(reason) is not reference.closing
            if not reference.closing:
                reference.on(Event.CLOSE)
            reference.closing = True
        case "abort":
            reason = rng.choice([Reason.ABORTED, Reason.HANDLER_FAILED])
            reference.causes.append((reason, True))
            assert stream.abort(reason) is (reference.state is not State.CLOSED)
            reference.on(Event.ABORT)
            reference.closing = True
        case "lost":
            error = rng.choice([None, ConnectionResetError(104, "reset")])
            assert stream.lost(error).reason is reference.reason(error)
            reference.on(Event.LOST)
            reference.closing = reference.ended = True


def piece(rng: random.Random) -> bytes:
    """Return some bytes of a stream: frames, pieces of them, rarely the header of one that is too long."""
    if rng.random() < 0.02:
        return (LIMIT + rng.randrange(1, 1000)).to_bytes(4, "big")
    length = rng.randrange(LIMIT + 1)
    frames = (length.to_bytes(4, "big") + rng.randbytes(length)) * rng.randrange(1, 4)
    return frames if rng.random() < 0.7 else frames[: rng.randrange(len(frames))]


def encode(frame: bytes, stream: FramedStream, reference: Reference) -> None:
    if not reference.can_send:
        with pytest.raises((ProtocolStateError, pe.Disconnected)) as caught:
            stream.encode(frame)
        ended = reference.ended or reference.cause not in (None, Reason.LOCAL_CLOSE)
        assert isinstance(caught.value, pe.Disconnected) is ended
        assert (stream.without_end_errors(caught.value) is None) is ended
    elif len(frame) > LIMIT:
        with pytest.raises(FrameTooLong):
            stream.encode_many([b"short enough", frame])
    else:
        assert stream.encode(frame) == len(frame).to_bytes(4, "big") + frame
        reference.stats.frames_out += 1


def send_eof(stream: FramedStream, reference: Reference) -> None:
    if reference.state is State.OPENING:
        with pytest.raises(ProtocolStateError, match="opening"):
            stream.send_eof()
        return
    assert stream.send_eof() is reference.can_send
    if reference.can_send:
        reference.on(Event.SEND_EOF)


def test_a_stream_needs_no_event_loop_and_imports_none() -> None:
    program = """
import sys
before = set(sys.modules)
from proactor_echo.wire import LineCodec
from proactor_echo.wire.connection import FramedStream

stream = FramedStream(LineCodec(), "peer")
stream.connected()
assert stream.feed(b"hello\\nwor") == [b"hello"]
assert stream.encode(b"ld") == b"ld\\n"
assert stream.lost().text == "closed here"
print(sorted({"asyncio", "select", "socket", "ssl", "_socket"} & (set(sys.modules) - before)))
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.stdout.strip(), ended.stderr) == ("[]", "")


def test_an_error_knows_whose_it_is_in_a_group_too() -> None:
    one, other = (FramedStream(LengthCodec(), peer) for peer in ("one", "other"))
    for stream in (one, other):
        stream.connected()
        stream.lost(ConnectionResetError(104, "reset"))
    ours, theirs = one.cannot_send(), other.cannot_send()
    group = BaseExceptionGroup("of tasks", [BaseExceptionGroup("inside", [ours]), one.end_of_stream()])
    assert one.without_end_errors(group) is None
    assert one.without_end_errors(theirs) is theirs
    left = one.without_end_errors(BaseExceptionGroup("both", [ours, theirs]))
    assert isinstance(left, BaseExceptionGroup)
    assert left.exceptions == (theirs,)


def test_a_decoder_that_feeds_in_its_own_way_is_fed_in_its_own_way() -> None:
    class Shouting(type(LengthCodec().decoder())):  # type: ignore[misc]  # whatever class it is
        def feed(self, data: BytesLike) -> list[bytes]:
            return [frame.upper() for frame in super().feed(data)]

    codec = LengthCodec()
    codec.decoder = lambda: Shouting(codec)  # type: ignore[method-assign]
    stream = FramedStream(codec)
    stream.connected()
    assert stream.feed(codec.encode(b"hello") + b"\0") == [b"HELLO"]
    assert stream.buffered == 1
    assert stream.feed_eof() == []
    assert isinstance(stream.failure, pe.FrameTruncated)
