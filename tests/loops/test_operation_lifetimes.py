"""An operation is idle, pending or cancelled, on a kernel made for these tests: so on any system.

That Windows' own kernel agrees is tried in ``tests/loops/iocp/test_lifetimes.py``.
"""

from __future__ import annotations

import asyncio
import random
import socket
from itertools import permutations
from typing import Any

import pytest
from helpers.recording import Bench, Recorder, tcp_pair

from proactor_echo.loops.iocp.lifetimes import CompletionTransport, Operation, State
from proactor_echo.loops.stream import StreamTransport


class Kernel:
    """Has operations, lets go of them in any order, and posts a packet for each."""

    def __init__(self) -> None:
        self.has: list[FakeOperation] = []
        self.packets: list[FakeOperation] = []
        self.asked: set[FakeOperation] = set()
        self.refuses = False  # to be asked

    def holds(self, operation: FakeOperation) -> bool:
        """Tell whether the memory of an operation must live: a packet names it, too."""
        return operation in self.has or operation in self.packets

    def let_go(self, operation: FakeOperation) -> None:
        self.has.remove(operation)
        self.packets.append(operation)

    def deliver(self) -> None:
        operation = self.packets.pop(0)
        self.asked.discard(operation)
        operation.done(0)


class FakeOperation(Operation):
    def __init__(self, kernel: Kernel, transport: Any = None) -> None:
        super().__init__()
        self.kernel = kernel
        self.transport = transport
        self.memory: bytearray | None = bytearray(1)
        self.told = 0

    def submit(self) -> None:
        assert self.state is State.IDLE
        self.memory = bytearray(1)
        self.state = State.PENDING
        self.kernel.has.append(self)

    def done(self, count: int) -> None:
        self.state = State.IDLE
        if self.transport is None:
            self.discard()
            return
        self.told += 1
        if getattr(self.transport, "_cancelled", False):
            self.discard()
            self.transport._one_completed()

    def discard(self) -> None:
        self.state = State.IDLE
        self.memory = None

    def _request_cancel(self) -> None:
        if self.kernel.refuses:
            raise OSError("the kernel does not want to be asked")
        if self in self.kernel.has:
            self.kernel.asked.add(self)

    def _is_with_kernel(self) -> bool:
        return self in self.kernel.has

    def _detach(self) -> None:
        self.transport = None


def state_of(operation: Operation) -> State:
    """Return it anew: a type checker takes what an attribute was compared with for what it still is."""
    return operation.state


def test_an_operation_is_pending_until_its_completion() -> None:
    kernel = Kernel()
    operation = FakeOperation(kernel, transport=object())
    assert state_of(operation) is State.IDLE
    operation.submit()
    assert state_of(operation) is State.PENDING
    kernel.let_go(operation)
    assert state_of(operation) is State.PENDING  # its packet is still to be taken
    kernel.deliver()
    assert state_of(operation) is State.IDLE
    assert operation.told == 1


def test_cancelling_frees_nothing_and_the_completion_does() -> None:
    kernel = Kernel()
    operation = FakeOperation(kernel)
    operation.submit()
    operation.cancel()
    assert state_of(operation) is State.CANCELLED
    assert operation.memory is not None
    kernel.let_go(operation)
    assert state_of(operation) is State.CANCELLED
    assert operation.memory is not None
    kernel.deliver()
    assert state_of(operation) is State.IDLE
    assert operation.memory is None


def test_cancelling_what_is_idle_asks_nobody() -> None:
    kernel = Kernel()
    kernel.refuses = True
    operation = FakeOperation(kernel)
    operation.cancel()
    assert state_of(operation) is State.IDLE


def test_what_cannot_be_asked_for_stays_pending_and_is_waited_for_by_nobody() -> None:
    kernel = Kernel()
    kernel.refuses = True
    operation = FakeOperation(kernel, transport=object())
    operation.submit()
    assert operation.reclaim()  # closing the socket, which follows, brings it back
    assert state_of(operation) is State.PENDING
    assert operation.memory is not None
    kernel.let_go(operation)
    kernel.deliver()
    assert operation.memory is None
    assert operation.told == 0


def test_what_is_withdrawn_with_its_packet_on_the_way_is_kept_for_it_and_reports_nothing() -> None:
    kernel = Kernel()
    operation = FakeOperation(kernel, transport=object())
    operation.submit()
    kernel.let_go(operation)
    assert operation.reclaim()
    assert operation.memory is not None
    kernel.deliver()
    assert operation.memory is None
    assert operation.told == 0


def step(rng: random.Random, kernel: Kernel, operation: FakeOperation) -> None:
    """Do one of the things that may happen now."""
    possible = [operation.cancel, operation.reclaim]
    if operation.state is State.IDLE:
        possible.append(lambda: setattr(operation, "transport", rng.choice([None, object()])))
        possible.append(operation.submit)
    if operation in kernel.has:
        possible.append(lambda: kernel.let_go(operation))
    if kernel.packets:
        possible.append(kernel.deliver)
    rng.choice(possible)()


@pytest.mark.parametrize("seed", range(50))
def test_no_order_of_events_frees_what_the_kernel_holds(seed: int) -> None:
    """The reference: pending and cancelled are what the kernel holds, and which of the two, whether it was asked."""
    rng = random.Random(seed)
    kernel = Kernel()
    operations = [FakeOperation(kernel) for _ in range(3)]
    seen = set()
    for _ in range(200):
        step(rng, kernel, rng.choice(operations))
        for operation in operations:
            seen.add(operation.state)
            assert (operation.state is not State.IDLE) == kernel.holds(operation)
            if operation.state is not State.IDLE:
                assert operation.memory is not None
            if operation in kernel.asked:
                assert state_of(operation) is State.CANCELLED
    assert seen == set(State)


class FakeStream(CompletionTransport, StreamTransport):
    """A stream transport over that kernel, with a receive that is always out and a send when asked."""

    __slots__ = ("_cancelled", "_outstanding", "kernel", "receive", "send")

    def _init_engine(self, sock: socket.socket) -> None:
        self._cancelled = False
        self._outstanding = 0
        self.kernel = Kernel()
        self.receive = FakeOperation(self.kernel, self)
        self.send = FakeOperation(self.kernel, self)

    def _operations(self) -> list[FakeOperation]:
        return [self.receive, self.send]

    def _start_receiving(self) -> None:
        if self.receive.state is State.IDLE:
            self.receive.submit()

    def _stop_receiving(self) -> None:
        """Leave it out."""

    def _submit_send(self) -> None:
        self.send.submit()

    def _has_more_to_receive(self) -> bool:
        return False


async def opened(protocol: Recorder) -> tuple[FakeStream, socket.socket]:
    peer, sock = tcp_pair()
    transport = FakeStream(asyncio.get_running_loop(), sock, protocol)
    transport._context.run(transport._open)
    return transport, peer


@pytest.mark.parametrize("order", [*permutations(["receive", "send"])], ids="-".join)
def test_a_transport_is_closed_only_when_its_pending_operations_are_back(ours: Bench, order: tuple[str, ...]) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await opened(protocol)
        kernel = transport.kernel
        transport._submit_send()
        transport.abort()
        for name in order:
            operation = getattr(transport, name)
            assert state_of(operation) is State.CANCELLED
            for _ in range(3):
                await asyncio.sleep(0)
            assert "lost" not in protocol.calls
            assert transport._sock is not None
            assert transport._sock.fileno() != -1
            kernel.let_go(operation)
            kernel.deliver()
            assert state_of(operation) is State.IDLE
        assert await protocol.lost is None
        await asyncio.sleep(0)
        assert transport._sock is None
        peer.close()

    ours.run(main())


def test_a_transport_with_nothing_out_is_closed_at_once(ours: Bench) -> None:
    async def main() -> None:
        protocol = Recorder()
        transport, peer = await opened(protocol)
        transport.kernel.let_go(transport.receive)  # its packet is on the way; nobody waits for it
        transport.abort()
        assert await protocol.lost is None
        assert transport.receive.memory is not None
        transport.kernel.deliver()
        assert transport.receive.memory is None
        peer.close()

    ours.run(main())
