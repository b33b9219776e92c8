"""Faults of TLS: records are found by their headers, however they are cut, and what a peer sees is what was meant."""

import asyncio
import itertools
import random
import socket
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

from proactor_echo.testing import TcpServerFactory, TcpTestServer, faults
from proactor_echo.testing.faults import CorruptRecord, CutHandshake, StallHandshake, WithholdCloseNotify
from proactor_echo.testing.faults.base import End, Piece, StreamEffect, StreamFault
from proactor_echo.testing.faults.records import Records

SEED = 8446

HELLO = b"\x16\x03\x01\x00\x05hello"
DATA = b"\x17\x03\x03\x00\x20" + bytes(32)
CLOSE_NOTIFY = b"\x17\x03\x03\x00\x13" + b"c" * 19
CLOSE_NOTIFY_1_2 = b"\x15\x03\x03\x00\x1a" + b"c" * 26
STREAM = HELLO + DATA + DATA + CLOSE_NOTIFY


def effect_of(fault: StreamFault) -> StreamEffect:
    return fault.stream_effect(random.Random(SEED))


def through(effect: StreamEffect, *data: bytes, end: End | None = End.EOF) -> list[Piece]:
    """Send bytes, at one time, and then an end."""
    out = list(effect.start(0.0))
    for piece in [Piece(0.0, some) for some in data] + ([Piece(0.0, end=end)] if end else []):
        out += effect.apply(piece)
    return out


def leaves(pieces: list[Piece]) -> bytes:
    """Return the bytes that are not held back."""
    return b"".join(piece.data for piece in pieces if piece.due < 1)


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """Yield ways to cut it: whole, byte by byte, and some at random."""
    yield [data]
    yield [data[place : place + 1] for place in range(len(data))]
    for seed in range(30):
        places = sorted({0, len(data), *random.Random(seed).sample(range(len(data)), 5)})
        yield [data[start:stop] for start, stop in itertools.pairwise(places)]


# -- records -----------------------------------------------------------------------------------------------------------


def test_records_are_found_however_the_bytes_arrive() -> None:
    for pieces in cuts(STREAM):
        records = Records()
        parts = [part for piece in pieces for part in records.feed(piece)]
        assert b"".join(part.data for part in parts) == STREAM
        found = {part.record for part in parts if part.record}
        assert sorted(found) == [(0, 22, 5), (1, 23, 32), (2, 23, 32), (3, 23, 19)]
        assert [part.record.number for part in parts if part.last and part.record] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "data", [b"GET / HTTP/1.0\r\n\r\n", b"\x16\x02\x00\x00\x00", b"\x17\x03\x03\xff\xff" + bytes(50)], ids=repr
)
def test_what_is_no_record_passes_as_it_is_and_so_does_the_rest(data: bytes) -> None:
    for pieces in cuts(HELLO + data + HELLO):
        records = Records()
        parts = [part for piece in pieces for part in records.feed(piece)]
        assert b"".join(part.data for part in parts) == HELLO + data + HELLO
        assert {part.record and part.record.number for part in parts} == {0, None}


# -- each effect, without a network ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "passed"),
    [
        (StallHandshake(), HELLO),
        (StallHandshake(after_records=0), b""),
        (StallHandshake(after_records=0, after_bytes=3), HELLO[:3]),
        (StallHandshake(after_records=2, after_bytes=7), HELLO + DATA + DATA[:7]),
        (StallHandshake(after_records=9), STREAM),
    ],
    ids=str,
)
def test_a_stall_holds_what_comes_after_so_many_records_and_bytes(fault: StreamFault, passed: bytes) -> None:
    for pieces in cuts(STREAM):
        out = through(effect_of(fault), *pieces)
        assert leaves(out) == passed
        assert b"".join(piece.data for piece in out) == STREAM
        assert (out[-1].end, out[-1].due < 1) == (End.EOF, passed == STREAM)


def test_a_stall_with_a_duration_is_over_after_it() -> None:
    assert through(effect_of(StallHandshake(2.5)), STREAM)[-1].due == 2.5


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(
    ("after_records", "after_bytes", "passed"),
    [(0, 0, b""), (0, 2, HELLO[:2]), (1, 0, HELLO), (1, 9, HELLO + DATA[:9])],
)
def test_a_cut_ends_after_exactly_so_many_records_and_bytes(
    reset: bool, after_records: int, after_bytes: int, passed: bytes
) -> None:
    fault = CutHandshake(after_records=after_records, after_bytes=after_bytes, reset=reset)
    for pieces in cuts(STREAM):
        out = through(effect_of(fault), *pieces)
        ends = [piece.end for piece in out if piece.end]
        assert ends[0] is (End.RESET if reset else End.CLOSE)
        first = next(number for number, piece in enumerate(out) if piece.end)
        assert b"".join(piece.data for piece in out[:first]) == passed


@pytest.mark.parametrize("last", [CLOSE_NOTIFY, CLOSE_NOTIFY_1_2], ids=["1.3", "1.2"])
def test_a_withheld_close_notify_is_missing_and_the_end_of_the_stream_is_not(last: bytes) -> None:
    for pieces in cuts(HELLO + DATA + last):
        out = through(effect_of(WithholdCloseNotify()), *pieces)
        assert b"".join(piece.data for piece in out) == HELLO + DATA
        assert [piece.end for piece in out if piece.end] == [End.EOF]


def test_what_only_looks_like_a_close_notify_comes_with_what_follows() -> None:
    for pieces in cuts(HELLO + CLOSE_NOTIFY + DATA):
        out = through(effect_of(WithholdCloseNotify()), *pieces)
        assert b"".join(piece.data for piece in out) == HELLO + CLOSE_NOTIFY + DATA
    effect = effect_of(WithholdCloseNotify())
    assert leaves(through(effect, CLOSE_NOTIFY, end=None)) == b""
    assert b"".join(piece.data for piece in effect.release(0.0)) == CLOSE_NOTIFY


def test_an_alert_in_clear_is_not_withheld() -> None:
    alert = b"\x15\x03\x03\x00\x02\x02\x28"
    assert leaves(through(effect_of(WithholdCloseNotify()), HELLO + alert)) == HELLO + alert


def test_corruption_changes_one_byte_of_one_record_and_no_header() -> None:
    whole = leaves(through(effect_of(CorruptRecord(1)), STREAM))
    changed = [place for place, (was, became) in enumerate(zip(STREAM, whole, strict=True)) if was != became]
    assert len(changed) == 1
    assert len(HELLO) + 5 <= changed[0] < len(HELLO + DATA)
    for pieces in cuts(STREAM):
        assert leaves(through(effect_of(CorruptRecord(1)), *pieces)) == whole


def test_the_seed_draws_which_record_is_corrupted() -> None:
    fault = CorruptRecord((0, 3))
    came = {leaves(through(fault.stream_effect(random.Random(seed)), STREAM)) for seed in range(40)}
    assert len(came) > 10
    assert STREAM not in came


@pytest.mark.parametrize(
    "fault",
    [StallHandshake(after_records=0, after_bytes=2), CutHandshake(), WithholdCloseNotify(), CorruptRecord()],
    ids=str,
)
def test_a_stream_without_tls_passes_unharmed(fault: StreamFault) -> None:
    for pieces in cuts(b"hello, world"):
        assert leaves(through(effect_of(fault), *pieces)) == b"hello, world"
    assert leaves(through(effect_of(WithholdCloseNotify()), b"\x16\x03")) == b"\x16\x03"  # a header that never ends


# -- on connections ----------------------------------------------------------------------------------------------------


async def connect(server: TcpTestServer, context: ssl.SSLContext | None = None) -> Any:
    return await asyncio.open_connection(
        *server.address, ssl=context or server.client_context(), server_hostname="localhost"
    )


@pytest.mark.parametrize("towards", ["client", "server"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_a_handshake_that_is_stalled_goes_on_when_the_fault_is_removed(
    tls_echo_server: TcpTestServer, towards: Any, version: ssl.TLSVersion
) -> None:
    context = tls_echo_server.client_context()
    context.maximum_version = version
    with tls_echo_server.fault(StallHandshake(towards=towards)) as fault:
        connecting = asyncio.create_task(connect(tls_echo_server, context))
        await tls_echo_server.wait_for(lambda server: fault.hits and server.sent)
        if towards == "server":  # what the server said to the hello arrives, and what the client says to that does not
            done, _ = await asyncio.wait([connecting], timeout=0.1)
            assert (tls_echo_server.stats.bytes_in, bool(done)) == (0, version is ssl.TLSVersion.TLSv1_3)
        else:
            sent = tls_echo_server.sent
            assert len(sent) == 5 + int.from_bytes(sent[3:5], "big")  # one record, the server's hello
            assert not connecting.done()
    _, writer = await connecting
    writer.transport.abort()


@pytest.mark.parametrize("fault", [CutHandshake(), CutHandshake(after_records=0), CutHandshake(reset=True)], ids=str)
async def test_a_handshake_that_is_cut_fails(tls_echo_server: TcpTestServer, fault: StreamFault) -> None:
    with tls_echo_server.fault(fault), pytest.raises(OSError):
        await connect(tls_echo_server)
    _, writer = await connect(tls_echo_server)
    writer.transport.abort()


def read_to_the_end(server: Any, version: ssl.TLSVersion) -> bytes:
    """Ask for a line and read until the end; an SSLEOFError if there is no close_notify before it."""
    context: ssl.SSLContext = server.client_context()
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(server.address, timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="localhost", suppress_ragged_eofs=False) as wrapped,
    ):
        wrapped.sendall(b"hello")
        data = b""
        while more := wrapped.recv(100):
            data += more
        return data


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=lambda version: version.name)
async def test_a_client_can_tell_a_stream_that_was_cut_short(
    tcp_server_factory: TcpServerFactory, version: ssl.TLSVersion
) -> None:
    async def answer(conn: Any) -> None:
        await conn.send(await conn.receive())

    server = await tcp_server_factory(answer, ssl=True, close_timeout=0.1)
    assert await asyncio.to_thread(read_to_the_end, server, version) == b"hello"
    with server.fault(WithholdCloseNotify()), pytest.raises(ssl.SSLEOFError):
        await asyncio.to_thread(read_to_the_end, server, version)


async def test_a_corrupted_record_ends_the_connection_with_an_error(tls_echo_server: TcpTestServer) -> None:
    reader, writer = await connect(tls_echo_server)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    with tls_echo_server.fault(CorruptRecord()) as fault:
        writer.write(b"world")
        with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|record.layer.failure"):
            await reader.readexactly(5)
    assert fault.hits == 1
    writer.transport.abort()


async def test_two_bytes_that_were_held_back_come_when_the_fault_is_removed(tls_echo_server: TcpTestServer) -> None:
    reader, writer = await connect(tls_echo_server)
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"
    with tls_echo_server.fault(WithholdCloseNotify()) as fault:
        before = len(tls_echo_server.received)
        writer.write(b"ok")
        await tls_echo_server.wait_for(lambda server: fault.hits and len(server.received) > before)
    assert await reader.readexactly(2) == b"ok"
    writer.transport.abort()


def test_they_are_described_as_they_would_be_written() -> None:
    assert str(CutHandshake(after_records=0, reset=True)) == "CutHandshake(reset=True, after_records=0)"
    shown = str(StallHandshake(0.5, after_bytes=2, seed=3))
    assert eval(shown, vars(faults)) == StallHandshake(0.5, after_bytes=2, seed=3)
