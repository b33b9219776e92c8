"""Right echo servers pass the check, each wrong one fails the check that names its mistake, and no wait is endless."""

import asyncio
import contextlib
import json
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.testing.conformance import Outcome, Report, Result, check_echo

#: The wrong servers are asyncio's own streams, which log every reset and every handler that is cancelled.
pytestmark = pytest.mark.loop_errors

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
FAST: dict[str, Any] = {"quiet": 0.05, "size": 1 << 16, "clients": 5}


def failed(report: Report) -> list[str]:
    return [result.name for result in report.of(Outcome.FAILED)]


# -- right ones -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["handler", "protocol"])
async def test_our_tcp_servers_pass_every_check(how: str) -> None:
    starting = pe.serve_tcp(pe.echo) if how == "handler" else pe.serve_tcp(protocol_factory=pe.EchoProtocol)
    async with await starting as server:
        report = await check_echo(server.addresses[0], **FAST)
    assert [result.outcome for result in report.results] == [Outcome.OK] * 11, report


async def test_our_udp_server_passes_every_check() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        report = await check_echo(server.addresses[0], udp=True, **FAST)
    assert [result.outcome for result in report.results] == [Outcome.OK] * 9, report


async def test_a_server_that_takes_one_client_is_not_robbed_of_it_by_the_check() -> None:
    served = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(1)
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async with stream_server(handler) as address:
        report = await check_echo(address, only=["answers", "every byte value", "nothing sent"], **FAST)
    assert report.passed
    assert len(served) == 3


async def test_an_address_may_be_text_or_a_name_and_results_come_one_by_one() -> None:
    seen: list[Result] = []
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        port = server.addresses[0][1]
        report = await check_echo(f"127.0.0.1:{port}", udp=True, each=seen.append, **FAST)
        by_name = await check_echo(("localhost", port), udp=True, **FAST)
    assert tuple(seen) == report.results
    assert report.subject == f"udp 127.0.0.1:{port}"
    assert by_name.passed


async def test_a_report_is_a_table_and_json() -> None:
    async with await pe.serve_udp(pe.EchoDatagramProtocol) as server:
        report = await check_echo(server.addresses[0], udp=True, **FAST)
    lines = str(report).splitlines()
    assert re.fullmatch(r"answers +ok +one datagram came back", lines[1])
    assert lines[-1] == "9 ok"
    plain = json.loads(json.dumps(report.as_dict()))
    assert (plain["subject"], plain["passed"]) == (report.subject, True)
    assert plain["results"][5]["name"] == "one answer"
    assert plain["results"][5]["numbers"]["datagrams"] == 40


# -- nobody there -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
async def test_where_nothing_listens_one_sentence_says_so(kind: socket.SocketKind) -> None:
    udp = kind == socket.SOCK_DGRAM
    said = ""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        address = sock.getsockname()
        if udp:  # a TCP port that is bound refuses, and cannot be given to anybody; a UDP port that is bound is silent
            sock.close()
        try:
            report = await check_echo(address, udp=udp, only=["answers"], timeout=0.5)
        except pe.ConnectFailed as exc:
            said = str(exc)
    if said or not udp:
        assert re.fullmatch(rf"cannot (connect|reach it over UDP): 127\.0\.0\.1:{address[1]}: refused \(.+\)", said)
    else:  # a system that does not say so: then there is no answer
        assert "had no answer, sent 3 times in 0.5 s" in report["answers"].detail


async def test_an_unknown_host_is_one_sentence() -> None:
    with pytest.raises(pe.ConnectFailed, match=r"unknown host|cannot look up"):
        await check_echo("no-such-host.invalid:7")


@pytest.mark.parametrize("wrong", [{"timeout": 0}, {"quiet": -1}, {"timeout": float("nan")}])
async def test_numbers_that_make_no_sense_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be more than 0 seconds"):
        await check_echo("127.0.0.1:7", **wrong)  # type: ignore[arg-type]


# -- wrong ones, TCP --------------------------------------------------------------------------------------------------


async def shouting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await relay(reader, writer, bytes.upper)


async def text_mode(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await relay(reader, writer, lambda data: data.replace(b"\r\n", b"\n"))


async def seven_bits(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await relay(reader, writer, lambda data: bytes(byte & 127 for byte in data))


async def by_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    held = b""
    while data := await reader.read(65536):
        *lines, held = (held + data).split(b"\n")
        writer.write(b"".join(line + b"\n" for line in lines))
    writer.write(held)


async def short_of_breath(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    left = 50_000
    while data := await reader.read(65536):
        writer.write(data[:left])
        left = max(0, left - len(data))


async def never_ending(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await relay(reader, writer, lambda data: data)
    await asyncio.Event().wait()


async def welcoming(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(0)
    if (data := await first_or_nothing(reader)) is None:
        writer.write(b"are you there?\r\n")
    else:
        writer.write(data)
    await relay(reader, writer, lambda data: data)


async def farewell(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await relay(reader, writer, lambda data: data)
    writer.write(b"bye\r\n")


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(65536):
        pass


async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, change: Callable[[bytes], bytes]) -> None:
    while data := await reader.read(65536):
        writer.write(change(data))
        await writer.drain()


async def first_or_nothing(reader: asyncio.StreamReader) -> bytes | None:
    try:
        async with asyncio.timeout(0.02):
            return await reader.read(65536)
    except TimeoutError:
        return None


@contextlib.asynccontextmanager
async def stream_server(handler: Handler) -> AsyncIterator[tuple[str, int]]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            with contextlib.suppress(OSError):
                await handler(reader, writer)
        finally:
            tasks.discard(task)
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)


WRONG = (
    (shouting, "answers", r"byte 0 of 6 came back different: b'echo\\r\\n' expected, b'ECHO\\r\\n' came"),
    (text_mode, "answers", r"byte 4 of 6 came back different: b'\\r\\n' expected, b'\\n' came"),
    (seven_bits, "every byte value", r"byte 128 of \d+ came back different: b'\\x80.* expected, b'\\x00.* came"),
    (by_lines, "byte by byte", r"0 of 1 bytes came back, then nothing for 0.5 s"),
    (short_of_breath, "half-close", r"50,000 of 65,536 bytes came back, then the end of the stream"),
    (never_ending, "half-close", r"the end of the stream should come, nothing for 0.5 s"),
    (never_ending, "nothing sent", r"the end of the stream should come, nothing for 0.5 s"),
    (farewell, "nothing sent", r"the end of the stream should come, b'bye\\r\\n' came"),
    # On a busy machine the welcome comes after the time for which nothing should.
    (welcoming, "nothing unsolicited", r"(before anything was sent|byte 0 of .* expected), b'are you '\.\.\. came"),
    (silent, "answers", r"0 of 6 bytes came back, then nothing for 0.5 s"),
)


async def test_each_wrong_tcp_server_fails_the_check_that_names_its_mistake() -> None:
    async def fails(handler: Handler, check: str, detail: str) -> None:
        async with stream_server(handler) as address:
            report = await check_echo(address, only=[check], timeout=0.5, **FAST)
        assert re.fullmatch(detail, report[check].detail), report

    async with asyncio.TaskGroup() as checks:  # at the same time: some are seen only when a wait is over
        for wrong in WRONG:
            checks.create_task(fails(*wrong))


async def test_a_server_for_one_client_at_a_time_fails_simultaneous_connections_alone() -> None:
    alone = asyncio.Lock()

    async def one_at_a_time(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with alone:
            await relay(reader, writer, lambda data: data)

    async with stream_server(one_at_a_time) as address:
        report = await check_echo(address, only=["answers", "large", "half-close", "simultaneous"], timeout=0.5, **FAST)
    assert failed(report) == ["simultaneous"], report
    assert re.fullmatch(r"connection \d of 5: 0 of [\d,]+ bytes came back, .*", report["simultaneous"].detail)


async def test_a_server_that_does_not_echo_gets_no_further_checks() -> None:
    async with stream_server(silent) as address:
        started = time.perf_counter()
        report = await check_echo(address, timeout=0.2, **FAST)
        assert time.perf_counter() - started < 5
    assert failed(report) == ["answers"]
    assert len(report.of(Outcome.SKIPPED)) == 10
    assert report.summary == "1 failed, 10 skipped"


async def test_what_is_no_check_is_refused() -> None:
    async with await pe.serve_tcp(pe.echo) as server:
        with pytest.raises(ValueError, match="not 'no such check'"):
            await check_echo(server.addresses[0], only=["no such check"])


@pytest.mark.stock_loop(because="it waits for time to pass, on any loop")
async def test_a_server_that_drips_does_not_hold_up_the_check() -> None:
    async def dripping(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            for place in range(len(data)):
                writer.write(data[place : place + 1])
                await asyncio.sleep(0.01)

    async with stream_server(dripping) as address:
        report = await check_echo(address, only=["large"], timeout=0.1, **FAST)
    assert report["large"].detail == "not done after 1.2 s, though something came now and then"


# -- wrong ones, UDP --------------------------------------------------------------------------------------------------


class DatagramServer(asyncio.DatagramProtocol):
    """An echo server of plain sockets, whose ``answer`` is replaced by something wrong."""

    def __init__(self, answer: "Callable[[DatagramServer, bytes, Any], None]") -> None:
        self.answer = answer
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.other = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for sock in (self.sock, self.other):
            sock.bind(("127.0.0.1", 0))
            sock.setblocking(False)

    async def serve(self) -> None:
        while True:
            data, address = await asyncio.get_running_loop().sock_recvfrom(self.sock, 65536)
            self.answer(self, data, address)


def twice(server: DatagramServer, data: bytes, address: Any) -> None:
    server.sock.sendto(data, address)
    server.sock.sendto(data, address)


def cut_short(server: DatagramServer, data: bytes, address: Any) -> None:
    server.sock.sendto(data[:2048], address)


def from_elsewhere(server: DatagramServer, data: bytes, address: Any) -> None:
    server.other.sendto(data, address)


def nothing_for_nothing(server: DatagramServer, data: bytes, address: Any) -> None:
    if data:
        server.sock.sendto(data, address)


def shouting_datagrams(server: DatagramServer, data: bytes, address: Any) -> None:
    server.sock.sendto(data.upper(), address)


def mixed_up(server: DatagramServer, data: bytes, address: Any) -> None:
    server.sock.sendto(data.replace(b"burst 1", b"burst 9"), address)


@contextlib.asynccontextmanager
async def datagram_server(answer: Callable[[DatagramServer, bytes, Any], None]) -> AsyncIterator[tuple[str, int]]:
    server = DatagramServer(answer)
    serving = asyncio.create_task(server.serve())
    try:
        yield server.sock.getsockname()
    finally:
        serving.cancel()
        await asyncio.wait({serving})
        server.sock.close()
        server.other.close()


WRONG_DATAGRAMS = (
    (twice, "nothing unsolicited", r"after the one answer, another datagram of 6 bytes came: b'echo\\r\\n'"),
    (cut_short, "sizes", r"a datagram of 4,096 bytes was answered by one of 2,048 bytes, the beginning of it"),
    (from_elsewhere, "answers", r"an answer came from 127\.0\.0\.1:\d+ and not from 127\.0\.0\.1:\d+, where .*"),
    (nothing_for_nothing, "empty datagram", r"a datagram of 0 bytes had no answer, sent 3 times in 0.5 s"),
    (shouting_datagrams, "answers", r"byte 0 of a datagram of 6 bytes came back different: b'echo.* came"),
    (mixed_up, "burst", r"\d of 16 datagrams had more than one answer|b'burst 9\d' came, which was not sent"),
)


async def test_each_wrong_udp_server_fails_the_check_that_names_its_mistake() -> None:
    async def fails(answer: Callable[[DatagramServer, bytes, Any], None], check: str, detail: str) -> None:
        async with datagram_server(answer) as address:
            report = await check_echo(address, udp=True, only=[check], timeout=0.5, **FAST)
        assert re.fullmatch(detail, report[check].detail), report

    async with asyncio.TaskGroup() as checks:
        for wrong in WRONG_DATAGRAMS:
            checks.create_task(fails(*wrong))


@pytest.mark.stock_loop(because="it waits for time to pass, on any loop")
async def test_loss_is_not_the_servers_mistake() -> None:
    count = 0

    def losing(server: DatagramServer, data: bytes, address: Any) -> None:
        nonlocal count
        count += 1
        if count % 6 != 1:
            server.sock.sendto(data, address)

    async with datagram_server(losing) as address:
        report = await check_echo(address, udp=True, only=["sizes", "one answer"], timeout=0.2, **FAST)
    assert report.passed, report
    assert report["one answer"].numbers["sent_again"] > 0
