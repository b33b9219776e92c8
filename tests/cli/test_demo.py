"""The demonstration works, and says so when something does not."""

import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

import proactor_echo as pe
from proactor_echo.cli.demo import STEPS, Servers, Step, StepResult, WrongEcho, run_demo, run_step


async def test_every_step_works() -> None:
    shown: list[str] = []
    assert await run_demo(shown.append)
    assert sum(line.endswith("ok\x1b[0m") for line in shown) == len(STEPS)
    assert shown[-1].startswith(f"All {len(STEPS)} came back as sent, in ")


async def test_the_table_is_80_columns_wide_at_most() -> None:
    shown: list[str] = []
    await run_demo(lambda line: shown.append(line.replace("\x1b[32m", "").replace("\x1b[0m", "")))
    assert [line for line in shown if len(line) > 80] == []


async def test_on_a_narrow_terminal_the_table_is_narrow() -> None:
    shown: list[str] = []
    await run_demo(shown.append, width=77)
    lines = [line.replace("\x1b[32m", "").replace("\x1b[0m", "") for text in shown for line in text.split("\n")]
    assert [line for line in lines if len(line) > 45] == []
    assert sum(line.endswith("  ok") for line in lines) == len(STEPS)


class Corrupting(pe.FramedProtocol):
    """Changes the last byte of what it echoes."""

    def frames_received(self, frames: list[bytes]) -> None:
        self.send_frames([frame[:-1] + bytes([frame[-1] ^ 1]) if frame else frame for frame in frames])


class Swallowing(pe.FramedProtocol):
    """Sends nothing back."""

    def frames_received(self, frames: list[bytes]) -> None:
        pass


class Resetting(pe.FramedProtocol):
    """Ends every connection at once."""

    def connection_opened(self) -> None:
        self.abort()


class CorruptingDatagrams(pe.EchoDatagramProtocol):
    def handle(self, data: bytes, addr: pe.Address) -> None:
        super().handle(data[::-1] + b"!", addr)


@contextlib.asynccontextmanager
async def bad_servers(factory: Callable[[], pe.FramedProtocol]) -> AsyncIterator[Servers]:
    async with contextlib.AsyncExitStack() as stack:
        raw, frames, lines = [
            await stack.enter_async_context(await pe.serve_tcp(protocol_factory=factory, codec=codec))
            for codec in (pe.RawCodec(), pe.LengthCodec(), pe.RawCodec())
        ]
        datagrams = await stack.enter_async_context(await pe.serve_udp(CorruptingDatagrams))
        yield Servers(raw, frames, lines, datagrams)


@pytest.mark.parametrize("factory", [Corrupting, Swallowing, Resetting])
async def test_every_step_finds_what_a_bad_server_does(
    factory: Callable[[], pe.FramedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("proactor_echo.cli.demo.STEP_TIMEOUT", 0.3)  # no step has to succeed
    async with bad_servers(factory) as servers:
        results = [await run_step(step, servers) for step in STEPS]
    assert [result.name for result in results if result.problem is None] == []


async def result_of(work: Callable[[Servers], object]) -> StepResult:
    async with bad_servers(Swallowing) as servers:
        return await run_step(Step("a step", work), servers)  # type: ignore[arg-type]


async def test_what_was_wrong_is_reported() -> None:
    async def work(servers: Servers) -> tuple[str, str]:
        raise WrongEcho("byte 7 of 9 came back different")

    assert (await result_of(work)).problem == "byte 7 of 9 came back different"


async def test_an_error_without_words_has_a_name_at_least() -> None:
    async def work(servers: Servers) -> tuple[str, str]:
        raise ConnectionResetError

    assert (await result_of(work)).problem == "ConnectionResetError"


async def test_a_mistake_of_ours_costs_its_step_alone() -> None:
    async def work(servers: Servers) -> tuple[str, str]:
        raise AttributeError("no such thing")

    assert (await result_of(work)).problem == "AttributeError: no such thing"


async def test_a_step_that_gets_no_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work(servers: Servers) -> tuple[str, str]:
        async with await pe.connect_tcp(*servers.raw.addresses[0][:2]) as conn:
            return str(await conn.receive()), ""

    monkeypatch.setattr("proactor_echo.cli.demo.STEP_TIMEOUT", 0.05)
    assert (await result_of(work)).problem == "no answer within 0.05 s"
