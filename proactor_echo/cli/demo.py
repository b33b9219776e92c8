"""A demonstration: servers on free ports of this machine, real traffic through them, and what came back.

Every step is a function that gets the servers, talks to them as any client would, and says what it sent and what came
back. A step that finds something wrong raises :class:`WrongEcho`; that, and any error of the network, is that step's
``problem``, and the next step goes on.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, NamedTuple

from proactor_echo.cli.framing import make_codec
from proactor_echo.cli.output import styled
from proactor_echo.errors import ProactorEchoError
from proactor_echo.net.tcp.client import connect_tcp
from proactor_echo.net.tcp.connection import Connection
from proactor_echo.net.tcp.serve import serve_tcp
from proactor_echo.net.tcp.server import Server
from proactor_echo.net.udp import UdpServer, connect_udp, serve_udp
from proactor_echo.rfc862 import EchoDatagramProtocol, EchoProtocol
from proactor_echo.sockets.addresses import format_address
from proactor_echo.wire import Codec

__all__ = ["STEPS", "Servers", "Step", "StepResult", "WrongEcho", "run_demo", "run_step"]

#: Seconds after which a step has failed.
STEP_TIMEOUT: Final = 20.0


async def run_demo(show: Callable[[str], None], *, width: int = 80) -> bool:
    """Start the servers, run every step, ``show`` each line of the table; return whether all of it worked.

    :param show: prints one line.
    :param width: columns that a line may have; below 78, each row of the table is two lines.

    Raises BindError.
    """
    async with _servers() as servers:
        show("Echo servers on free ports of this machine:")
        for name, server in servers._asdict().items():
            protocol = "udp" if server is servers.datagrams else "tcp"
            show(f"  {protocol} {format_address(server.addresses[0]):<16}  {name}")
        show("")
        row = _row if width >= _WIDTH else _two_lines
        show(row(StepResult("what was done", "sent", "came back", 0.0), "").rstrip())
        results = []
        for step in STEPS:
            results.append(await run_step(step, servers))
            show(row(results[-1], styled("ok", fg="green")))
    failed = sum(result.problem is not None for result in results)
    took = sum(result.seconds for result in results)
    show("")
    show(f"{failed} of {len(STEPS)} failed." if failed else f"All {len(STEPS)} came back as sent, in {took:.1f} s.")
    return not failed


class Servers(NamedTuple):
    """The servers that the steps talk to."""

    raw: Server
    frames: Server
    lines: Server
    datagrams: UdpServer


class Step(NamedTuple):
    """A step: its name in the table, and what says how much it sent and how much came back."""

    name: str
    work: Callable[[Servers], Awaitable[tuple[str, str]]]


class StepResult(NamedTuple):
    """What came of one step: texts, seconds, and what was wrong, or None."""

    name: str
    sent: str
    returned: str
    seconds: float
    problem: str | None = None


class WrongEcho(Exception):  # noqa: N818 (it says what came back)
    """What came back is not what was sent; the text says how."""


async def run_step(step: Step, servers: Servers) -> StepResult:
    """Run one step; whatever goes wrong in it is in the result."""
    started = time.perf_counter()
    sent, returned, problem = "", "", None
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            sent, returned = await step.work(servers)
    except TimeoutError:
        problem = f"no answer within {STEP_TIMEOUT:g} s"
    except (WrongEcho, ProactorEchoError, OSError) as error:
        problem = str(error) or type(error).__name__
    except Exception as error:  # a mistake in this package: the other steps are worth seeing all the same
        problem = f"{type(error).__name__}: {error}"
    return StepResult(step.name, sent, returned, time.perf_counter() - started, problem)


@contextlib.asynccontextmanager
async def _servers() -> AsyncIterator[Servers]:
    """Start the servers on 127.0.0.1 and close them at the end."""
    async with contextlib.AsyncExitStack() as stack:
        raw, frames, lines = [
            await stack.enter_async_context(await serve_tcp(protocol_factory=EchoProtocol, codec=make_codec(framing)))
            for framing in ("raw", "length", "line")
        ]
        yield Servers(raw, frames, lines, await stack.enter_async_context(await serve_udp(EchoDatagramProtocol)))


#: Columns of a row.
_WIDTH: Final = 38 + 2 + 16 + 2 + 16 + 2 + 2


def _row(result: StepResult, word: str) -> str:
    """Return a row of the table, unless something went wrong of ``_WIDTH`` columns."""
    if result.problem is not None:
        return f"{result.name:<38}  {styled('FAILED', fg='red')}: {result.problem}"
    return f"{result.name:<38}  {result.sent:<16}  {result.returned:<16}  {word}"


def _two_lines(result: StepResult, word: str) -> str:
    """Return a row for a narrow terminal."""
    if result.problem is not None:
        return f"{result.name}\n  {styled('FAILED', fg='red')}: {result.problem}"
    return f"{result.name}\n  {result.sent:<16}  {result.returned:<16}  {word}"


# -- the steps ---------------------------------------------------------------------------------------------------------


async def raw_bytes(servers: Servers) -> tuple[str, str]:
    """Send and receive at the same time."""
    data = _noise(1 << 18)
    async with await _connect(servers.raw) as conn:
        await _round_trip(conn, data)
    return _bytes(data), _bytes(data)


async def half_close(servers: Servers) -> tuple[str, str]:
    """End our side before anything has come back; all of it, and then the server's end, must still come."""
    data = _noise(1 << 16)
    async with await _connect(servers.raw) as conn:
        await conn.send(data)
        await conn.send_eof()
        returned = b"".join([piece async for piece in conn])
    _compare(data, returned)
    return _bytes(data), _bytes(returned)


async def length_frames(servers: Servers) -> tuple[str, str]:
    """Send frames of every length from 0 to 999 bytes, and get each back as one frame."""
    frames = [_noise(length) for length in range(1000)]
    async with await _connect(servers.frames, make_codec("length")) as conn:
        await _frame_round_trip(conn, frames)
    return f"{len(frames):,} frames", f"{len(frames):,} frames"


async def lines(servers: Servers) -> tuple[str, str]:
    r"""Send lines with both kinds of newline, and a last one without; every byte must be the same."""
    sent = [b"line %d" % number + (b"\r\n" if number % 2 else b"\n") for number in range(500)]
    sent.append(b"the last one has no newline")
    async with await _connect(servers.lines) as conn:
        await _round_trip(conn, b"".join(sent))
    return f"{len(sent)} lines", f"{len(sent)} lines"


async def many_clients(servers: Servers) -> tuple[str, str]:
    """Serve clients at once."""
    count = 50

    async def client() -> None:
        async with await _connect(servers.raw) as conn:
            await _round_trip(conn, _noise(8000))

    await _together([client() for _ in range(count)])
    return f"{count} x 8,000 bytes", f"{count} x 8,000 bytes"


async def resets(servers: Servers) -> tuple[str, str]:
    """Go on serving an honest client, and take new ones, while others send a byte and reset."""
    data = _noise(10_000)
    async with await _connect(servers.raw) as honest:
        for _ in range(50):
            bad = await _connect(servers.raw)
            await bad.send(b"x")
            bad.reset()
            await bad.wait_closed()
        await _round_trip(honest, data)
    async with await _connect(servers.raw) as late:
        await _round_trip(late, data)
    return f"2 x {_bytes(data)}", f"2 x {_bytes(data)}"


async def datagrams(servers: Servers) -> tuple[str, str]:
    """Send datagrams of many sizes, each answered by one of the same bytes."""
    sizes = [*range(1, 1473, 16), 1472, 8192]
    await _datagram_round_trip(servers.datagrams, [_noise(size) for size in sizes])
    return f"{len(sizes)} datagrams", f"{len(sizes)} datagrams"


async def empty_datagram(servers: Servers) -> tuple[str, str]:
    """Send a datagram without a byte in it, which is answered by another one."""
    await _datagram_round_trip(servers.datagrams, [b""])
    return "1 datagram", "1 datagram"


async def graceful_stop(servers: Servers) -> tuple[str, str]:
    """Stop a server that still has to send to a client: the client gets all of it, then the end of file."""
    data = _noise(50_000)
    async with await _connect(servers.raw) as conn:
        await conn.send(data)
        first = await conn.receive()  # now the server has accepted it
        report = await servers.raw.close(drain=5.0)
        _compare(data, first + b"".join([piece async for piece in conn]))
    if (report.finished, report.aborted) != (1, 0):
        raise WrongEcho(f"1 connection should have finished: {report}")
    return _bytes(data), _bytes(data)


STEPS: Final = (
    Step("tcp: raw bytes, both ways at once", raw_bytes),
    Step("tcp: half-close, our end of file first", half_close),
    Step("tcp: frames of 0 to 999 bytes", length_frames),
    Step("tcp: lines, byte for byte", lines),
    Step("tcp: 50 clients at once", many_clients),
    Step("tcp: 50 clients reset, others go on", resets),
    Step("udp: datagrams of 1 to 8,192 bytes", datagrams),
    Step("udp: an empty datagram", empty_datagram),
    Step("tcp: the server stops gracefully", graceful_stop),
)


# -- what they are made of ---------------------------------------------------------------------------------------------


async def _connect(server: Server, codec: Codec | None = None) -> Connection:
    host, port = server.addresses[0][:2]
    return await connect_tcp(host, port, codec=codec)


async def _round_trip(conn: Connection, data: bytes) -> None:
    """Send all of it in pieces, then our end of file, while receiving."""
    returned = await _exchange(conn, [data[start : start + 4096] for start in range(0, len(data), 4096)])
    _compare(data, b"".join(returned))


async def _frame_round_trip(conn: Connection, frames: Sequence[bytes]) -> None:
    returned = await _exchange(conn, frames)
    if len(returned) != len(frames):
        raise WrongEcho(f"{len(returned):,} of {len(frames):,} frames came back")
    for sent, came in zip(frames, returned, strict=True):
        _compare(sent, came)


async def _exchange(conn: Connection, frames: Sequence[bytes]) -> list[bytes]:
    """Send everything and our end of file; return what came until the peer's."""
    returned = []

    async def send() -> None:
        for frame in frames:
            await conn.send(frame)
        await conn.send_eof()

    async def receive() -> None:
        async for frame in conn:
            returned.append(frame)

    await _together([send(), receive()])
    return returned


async def _together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """Wait for all of it; the first that fails cancels the others and is raised."""
    try:
        async with asyncio.TaskGroup() as group:
            for work in works:
                group.create_task(work)
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


async def _datagram_round_trip(server: UdpServer, payloads: Sequence[bytes]) -> None:
    host, port = server.addresses[0][:2]
    async with await connect_udp(host, port) as endpoint:
        for payload in payloads:
            await endpoint.send(payload)
            returned, _ = await endpoint.receive()
            _compare(payload, returned)


def _compare(sent: bytes, returned: bytes) -> None:
    if sent == returned:
        return
    if len(sent) != len(returned):
        raise WrongEcho(f"{len(returned):,} bytes came back for {len(sent):,}")
    place = next(index for index, (one, other) in enumerate(zip(sent, returned, strict=True)) if one != other)
    raise WrongEcho(f"byte {place:,} of {len(sent):,} came back different")


def _noise(size: int) -> bytes:
    """Return bytes of every kind, the same in every run."""
    return random.Random(862).randbytes(size)


def _bytes(data: bytes) -> str:
    return f"{len(data):,} bytes"
