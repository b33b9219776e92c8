"""No exception from a socket, a batch or a protocol ends the loop: it costs an endpoint at most."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from helpers.datagrams import Endpoint, Full, bind, close
from helpers.faults import ERRORS, Fault, FaultyCalls, FaultySocket
from helpers.recording import Bench

from proactor_echo.loops import datagram, private

DONE = private.WINDOWS

each_error = pytest.mark.parametrize("error", ERRORS)


async def settled(condition: Any) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.001)  # with nothing else to do, the loop calls transports straight from the poll


async def survives(victim: Any, fault: Fault, *, sends: bool = True) -> None:
    """Let the armed fault strike; then the endpoint serves, or has ended once, and another one never noticed."""
    good = await bind()
    fault.armed = True
    if sends:
        victim.transport.sendto(b"into the fault", good.address)
    good.transport.sendto(b"into the fault", victim.address)
    await settled(lambda: fault.hits)
    for _ in range(3):
        await asyncio.sleep(0)
    fault.armed = False
    if not victim.transport.is_closing():
        while True:  # what struck may have cost a datagram
            good.transport.sendto(b"after", victim.address)
            for _ in range(5):
                await asyncio.sleep(0)
            if not victim.received.empty() and (await victim.received.get())[0] == b"after":
                break
        victim.transport.abort()
    await victim.lost  # a future: a second call of connection_lost would raise
    for _ in range(3):
        await asyncio.sleep(0)
    await close(good)


@each_error
@pytest.mark.parametrize("call", ["sendto", "close"] if DONE else ["sendto", "recvfrom", "close"])
def test_a_call_of_its_socket_that_raises_costs_an_endpoint_at_most(
    ours: Bench, monkeypatch: pytest.MonkeyPatch, call: str, error: str
) -> None:
    fault = Fault(call, ERRORS[error])
    if not DONE:
        from proactor_echo.loops.readiness import mmsg

        monkeypatch.setattr(mmsg, "new_batch", lambda: None)

    async def main() -> None:
        victim = await bind()
        transport = victim.transport
        if call == "close":
            transport._sock = FaultySocket.of(transport._sock, fault)
            fault.armed = True
            closed = asyncio.ensure_future(transport.wait_closed())
            await asyncio.sleep(0)
            transport.abort()
            await victim.lost
            await settled(lambda: fault.hits)
            fault.armed = False
            await asyncio.wait_for(closed, 5)
            other = await bind()
            await close(other)
        else:
            transport._sock = FaultySocket.of(transport._sock, fault)
            await survives(victim, fault)

    ours.run(main())


@pytest.mark.skipif(DONE, reason="recvmmsg is Linux's")
@each_error
@pytest.mark.parametrize("call", ["receive", "send"])
def test_a_batch_that_raises_costs_an_endpoint_at_most(ours: Bench, call: str, error: str) -> None:
    fault = Fault(call, ERRORS[error])

    async def main() -> None:
        victim = await bind()
        if victim.transport._batch is None:
            pytest.skip("this system has no batches")
        victim.transport._batch = FaultyCalls(victim.transport._batch, fault)
        if call == "send":
            fault.armed = True
            victim.transport.sendto_many([(b"one", victim.address), (b"two", victim.address)])
        await survives(victim, fault, sends=False)

    ours.run(main())


@pytest.mark.skipif(DONE, reason="on Windows the receives of a socket fail otherwise; there is a test of its own")
def test_receives_that_only_fail_wait_for_a_moment_also_when_reading_is_resumed(
    ours: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault("receive", ERRORS["OSError"])
    monkeypatch.setattr(datagram, "BACKOFF", 3600.0)  # longer than this test

    async def main() -> None:
        victim = await bind()
        if victim.transport._batch is None:
            pytest.skip("this system has no batches")
        victim.transport._batch = FaultyCalls(victim.transport._batch, fault)
        fault.armed = True
        victim.transport.sendto(b"never received", victim.address)
        await settled(lambda: fault.hits == datagram.ERRORS_IN_A_ROW)
        victim.transport.pause_reading()
        victim.transport.resume_reading()
        for _ in range(10):
            await asyncio.sleep(0)
        assert fault.hits == datagram.ERRORS_IN_A_ROW
        fault.armed = False
        await close(victim)

    ours.run(main())


@pytest.mark.skipif(not DONE, reason="these calls are those of Windows")
@each_error
@pytest.mark.parametrize("call", ["WSARecvFrom", "CancelIoEx"])
def test_a_call_of_windows_that_raises_costs_an_endpoint_at_most(
    ours: Bench, monkeypatch: pytest.MonkeyPatch, call: str, error: str
) -> None:
    from proactor_echo.loops.iocp import winapi

    fault = Fault(call, ERRORS[error])

    async def main() -> None:
        victim, good = await bind(), await bind()
        monkeypatch.setattr(winapi, call, getattr(FaultyCalls(winapi, fault), call))
        fault.victim = victim.transport._sock.fileno()
        fault.armed = True
        good.transport.sendto(b"next", victim.address)
        if call == "CancelIoEx":
            await victim.received.get()
            victim.transport.abort()
        await settled(lambda: fault.hits)
        await victim.lost
        fault.armed = False
        await close(good)

    ours.run(main())


@each_error
@pytest.mark.parametrize(
    "name", ["datagram_received", "datagrams_received", "error_received", "datagram_not_sent", "connection_lost"]
)
def test_a_callback_that_raises_is_reported_and_costs_an_endpoint_at_most(ours: Bench, name: str, error: str) -> None:
    fault = Fault(name, ERRORS[error])

    class Raising(Endpoint):
        """Its callbacks are the endpoint's; the one that is named raises first."""

        def datagram_received(self, data: bytes, addr: Any) -> None:
            fault.check("datagram_received")
            super().datagram_received(data, addr)

        def error_received(self, exc: Exception) -> None:
            fault.check("error_received")
            super().error_received(exc)

        def datagram_not_sent(self, data: bytes, addr: Any) -> None:
            fault.check("datagram_not_sent")

        def connection_lost(self, exc: Exception | None) -> None:
            super().connection_lost(exc)
            fault.check("connection_lost")

    class RaisingBatches(Raising):
        def datagrams_received(self, datagrams: Any) -> None:
            fault.check("datagrams_received")
            for data, addr in datagrams:
                super().datagram_received(data, addr)

    async def main() -> None:
        victim = await bind(RaisingBatches if name == "datagrams_received" else Raising)
        fault.armed = True
        if name == "connection_lost":
            victim.transport.abort()
            await settled(lambda: fault.hits)
            await victim.transport.wait_closed()
            return
        victim.transport.sendto(b"x" * 70_000, ("127.0.0.1", 9))
        await survives(victim, fault)

    ours.run(main())
    assert [type(context["exception"]) for context in ours.errors[:1]] == [type(ERRORS[error]())]


@pytest.mark.skipif(DONE, reason="there the kernel has the datagram and waits for room itself")
@each_error
@pytest.mark.parametrize("name", ["pause_writing", "resume_writing"])
def test_flow_control_that_raises_is_reported_and_the_datagrams_leave(ours: Bench, name: str, error: str) -> None:
    fault = Fault(name, ERRORS[error])
    fault.armed = True

    class Raising(Endpoint):
        def pause_writing(self) -> None:
            fault.check("pause_writing")

        def resume_writing(self) -> None:
            fault.check("resume_writing")

    async def main() -> None:
        victim, good = await bind(Raising), await bind()
        victim.transport.set_write_buffer_limits(high=0)
        victim.transport._sock = full = Full(victim.transport._sock)
        victim.transport.sendto(b"waits", good.address)
        full.writable = True
        assert (await good.received.get())[0] == b"waits"
        assert fault.hits == 1
        await close(victim, good)

    ours.run(main())
