"""Stopping a server that is slow to stop; real signals, raised in this process."""

import asyncio
import signal
from typing import Any

import pytest

import proactor_echo as pe
from proactor_echo.cli.background import background_output
from proactor_echo.cli.serve import run, serve_tcp_until_stopped, serve_udp_until_stopped
from proactor_echo.cli.stop_signals import StopSignals
from proactor_echo.loops import EventLoop


class Stuck:
    """A UDP server with datagrams that the system does not take, which no real one can be made to have at will."""

    addresses = (("127.0.0.1", 9),)
    stats = pe.DatagramStats(datagrams_in=2, datagrams_out=1)

    def __init__(self) -> None:
        self._aborted = asyncio.Event()

    async def close(self) -> None:
        signal.raise_signal(signal.SIGTERM)  # the second one
        await self._aborted.wait()

    def abort(self) -> None:
        self._aborted.set()

    async def __aenter__(self) -> "Stuck":
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass


def test_a_second_signal_drops_what_udp_could_not_send(capsys: pytest.CaptureFixture[str]) -> None:
    async def starting() -> Any:
        asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGTERM)
        return Stuck()

    with background_output() as output:
        run(serve_udp_until_stopped(starting(), output=output, signals=StopSignals(), stats=False))
    assert capsys.readouterr().out == "listening udp 127.0.0.1:9\nstopped: 2 datagrams in, 1 out, 0 dropped\n"


def test_a_signal_that_comes_while_it_starts_stops_it_once_it_has(capsys: pytest.CaptureFixture[str]) -> None:
    async def starting() -> pe.Server:
        signal.raise_signal(signal.SIGTERM)
        return await pe.serve_tcp(protocol_factory=pe.EchoProtocol)

    with background_output() as output:
        run(serve_tcp_until_stopped(starting(), output=output, signals=StopSignals(), drain=5, stats=False))
    assert "\nstopped: 0 finished, 0 aborted in " in capsys.readouterr().out


def test_a_start_that_fails_gives_the_signals_back() -> None:
    async def starting() -> pe.Server:
        raise pe.BindError("cannot bind")

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(pe.BindError), background_output() as output:
        run(serve_tcp_until_stopped(starting(), output=output, signals=StopSignals(), drain=5, stats=False))
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_line_runs_on_our_loop_and_on_the_stock_one_when_told_to() -> None:
    async def kind() -> type[asyncio.AbstractEventLoop]:
        return type(asyncio.get_running_loop())

    assert run(kind()) is EventLoop
    stock = asyncio.new_event_loop()
    stock.close()
    assert run(kind(), "stock") is type(stock)
