"""Asyncio's transports meet the requirements but for known defects, ours meet all; mistakes are found."""

import asyncio
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from helpers.peers import WINE

from proactor_echo.testing.conformance import PROMISES, Outcome, Report, check_transport
from proactor_echo.testing.conformance.transport.known_defects import known_defect

all_requirements = pytest.mark.parametrize("requirement", PROMISES)

#: Logged by asyncio where a requirement provokes it.
pytestmark = pytest.mark.loop_errors


@all_requirements
def test_the_stock_loop_fails_no_requirement_but_those_it_is_known_to_fail(requirement: str) -> None:
    loop = asyncio.new_event_loop()
    known = known_defect(requirement, loop)
    loop.close()
    # What is known to be broken may just as well not be heard of in time: no need to wait long for that.
    report = check_transport(asyncio.new_event_loop, only=[requirement], timeout=0.5 if known else 30)
    assert report.passed, report


@pytest.mark.skipif(sys.platform != "win32", reason="there it is the other stock loop; elsewhere it is the default one")
@all_requirements
def test_the_selector_loop_of_windows_fails_no_requirement_but_those_it_is_known_to_fail(requirement: str) -> None:
    assert (report := check_transport(asyncio.SelectorEventLoop, only=[requirement], timeout=30)).passed, report


@all_requirements
def test_our_loop_meets_every_requirement(requirement: str) -> None:
    loops = pytest.importorskip("proactor_echo.loops")
    # Wine brings nothing to a UDP socket that had an error, and half of this time passes before that is certain.
    deaf = WINE and requirement == "an unreachable peer is an error and not the end"
    report = check_transport(loops.new_event_loop, only=[requirement], timeout=6 if deaf else 30)
    (result,) = report.results
    assert result.outcome in (Outcome.OK, Outcome.SKIPPED), report
    assert result.outcome is Outcome.OK or sys.platform == "win32", report


# -- mistakes are found -----------------------------------------------------------------------------------------------


class Between(asyncio.Protocol):
    """Stands between a transport and its protocol, and passes everything on; its subclasses make mistakes."""

    def __init__(self, protocol: Any) -> None:
        self.protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self.protocol, name)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.protocol.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self.protocol.data_received(data)

    def eof_received(self) -> bool | None:
        return self.protocol.eof_received()  # type: ignore[no-any-return]

    def connection_lost(self, exc: Exception | None) -> None:
        self.protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        self.protocol.pause_writing()

    def resume_writing(self) -> None:
        self.protocol.resume_writing()


class LosesTwice(Between):
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        super().connection_lost(exc)


class NeverLoses(Between):
    def connection_lost(self, exc: Exception | None) -> None:
        pass


class LosesWithAnError(Between):
    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc or OSError("surprise"))


class HandsOutBytearrays(Between):
    def data_received(self, data: bytes) -> None:
        super().data_received(bytearray(data))  # type: ignore[arg-type, unused-ignore]


class DropsAByte(Between):
    def data_received(self, data: bytes) -> None:
        super().data_received(data[1:])


class EndsTwice(Between):
    def eof_received(self) -> bool | None:
        super().eof_received()
        return super().eof_received()


class AlwaysCloses(Between):
    def eof_received(self) -> bool | None:
        super().eof_received()
        return False


class NeverPauses(Between):
    def pause_writing(self) -> None:
        pass


class NeverResumes(Between):
    def resume_writing(self) -> None:
        pass


class Complains(Between):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        asyncio.get_running_loop().call_exception_handler({"message": "something is wrong"})


def loop_with(mistake: Callable[[Any], asyncio.BaseProtocol]) -> Callable[[], asyncio.AbstractEventLoop]:
    class Loop(asyncio.SelectorEventLoop):
        async def create_connection(self, protocol_factory: Any, *args: Any, **options: Any) -> Any:
            return await super().create_connection(lambda: mistake(protocol_factory()), *args, **options)

    return Loop


MISTAKES = [
    (LosesTwice, "connection lost comes once and never from inside close", "not made, lost, lost"),
    (NeverLoses, "writing after the end is harmless", "waited 1.5 s for connection_lost; events so far: made"),
    (LosesWithAnError, "connection lost comes once and never from inside close", "connection_lost got OSError"),
    (HandsOutBytearrays, "data received gets bytes", "data_received got bytearray and not bytes"),
    (DropsAByte, "connection made comes first and once", "waited 1.5 s for data_received with all bytes"),
    (EndsTwice, "end of file is told once then connection lost", "not made, data, eof, eof, lost"),
    (AlwaysCloses, "eof received that returns true leaves writing open", "the transport is closing"),
    (
        NeverPauses,
        "writing is paused when the buffer is full and resumed when it is not",
        "pause_writing was not called after",
    ),
    (
        NeverResumes,
        "with a high mark of 0 writing is paused by any byte left",
        "s for resume_writing; events so far",
    ),
    (Complains, "data received gets bytes", "the loop reported: something is wrong"),
]


@pytest.fixture(scope="module")
def reports() -> dict[type[Between], Report]:
    """Make all the mistakes at the same time: some are seen only when a wait is over."""

    def report(mistake: type[Between], requirement: str, _: str) -> Report:
        return check_transport(loop_with(mistake), only=[requirement], timeout=1.5)

    with ThreadPoolExecutor(len(MISTAKES)) as pool:
        return dict(
            zip((mistake for mistake, _, _ in MISTAKES), pool.map(report, *zip(*MISTAKES, strict=True)), strict=True)
        )


@pytest.mark.parametrize(("mistake", "requirement", "detail"), MISTAKES)
def test_a_mistake_fails_the_requirement_that_names_it(
    reports: dict[type[Between], Report], mistake: type[Between], requirement: str, detail: str
) -> None:
    report = reports[mistake]
    assert not report.passed
    assert report[requirement].outcome is Outcome.FAILED
    assert detail in report[requirement].detail


def test_what_is_known_of_asyncios_loops_is_no_excuse_for_others() -> None:
    class Mine(asyncio.SelectorEventLoop):
        pass

    name = "sending from a closed endpoint is harmless"
    assert check_transport(asyncio.SelectorEventLoop, only=[name])[name].outcome is Outcome.KNOWN
    assert check_transport(Mine, only=[name])[name].outcome is Outcome.FAILED


def test_the_report_names_the_loop_and_results_come_one_by_one() -> None:
    seen: list[str] = []
    names = list(PROMISES)[:3]
    report = check_transport(asyncio.SelectorEventLoop, only=names, each=lambda result: seen.append(result.name))
    assert seen == names
    assert report.subject.endswith("SelectorEventLoop")
    assert str(report).endswith("3 ok")


def test_it_needs_loops_of_its_own() -> None:
    async def inside() -> None:
        with pytest.raises(RuntimeError, match="call it where none is running"):
            check_transport(asyncio.SelectorEventLoop)

    asyncio.run(inside())


def test_what_is_no_requirement_is_refused() -> None:
    with pytest.raises(ValueError, match="not 'no such requirement'"):
        check_transport(asyncio.SelectorEventLoop, only=["no such requirement"])
