"""Buffers and OVERLAPPED live until their completion, and nothing outlives it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import sys
import weakref
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

import tracemalloc  # PyPy has none

from helpers.peers import iterations
from helpers.recording import Bench, BufferedRecorder, Recorder, connection, reset, tcp_pair, until
from helpers.windows_handles import handle_count
from helpers.windows_rows import run

from proactor_echo import loops
from proactor_echo.loops.iocp import buffers, winapi


async def nothing_pending(loop: Any) -> None:
    await until(lambda: not loop._proactor.pending)


async def abort_many(count: int, at_once: int = 100) -> None:
    """Connections aborted with a receive pending, and every other one with a send pending too."""
    loop: Any = asyncio.get_running_loop()
    for _ in range(count // at_once):
        pairs = [tcp_pair() for _ in range(at_once)]
        made = [await loop.connect_accepted_socket(Recorder, sock) for _, sock in pairs]
        for transport, protocol in made[::2]:
            while not transport._sending:  # until the system takes no more
                if transport.is_closing():
                    raise AssertionError("a send failed") from await protocol.lost
                transport.write(bytes(1 << 20))
        await iterations(2)
        assert loop._proactor.pending >= at_once
        for number, ((transport, _), (peer, _)) in enumerate(zip(made, pairs, strict=True)):
            if number % 3 == 2:
                reset(peer)
            else:
                transport.abort()
        await asyncio.gather(*(protocol.lost for _, protocol in made))
        for peer, _ in pairs:
            peer.close()


def test_thousands_aborted_mid_operation_leave_no_operation_no_handle_no_memory(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        await abort_many(100)
        gc.collect()
        tracemalloc.start()
        try:
            handles, memory = handle_count(), tracemalloc.get_traced_memory()[0]
            await abort_many(2000)
            await nothing_pending(loop)
            gc.collect()
            assert handle_count() <= handles + 5
            assert tracemalloc.get_traced_memory()[0] <= memory + 256 * 1024
        finally:
            tracemalloc.stop()

    run(ours, main())


def test_an_address_is_not_used_twice_while_pending(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        seen: dict[int, Any] = {}
        keep = loop._proactor.keep

        def keeping(address: int, operation: Any) -> None:
            assert address not in loop._proactor._operations
            seen[address] = operation
            keep(address, operation)

        loop._proactor.keep = keeping
        await abort_many(400)
        assert len(seen) >= 400 // 2
        del loop._proactor.keep

    run(ours, main())


def test_the_kernel_writes_to_living_memory_after_everybody_let_go(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        peer, sock = tcp_pair()
        transport: Any
        transport, _ = await loop.connect_accepted_socket(asyncio.Protocol, sock)
        await iterations(2)
        (receive,) = loop._proactor._operations.values()
        operation, block = weakref.ref(receive._block), receive._block
        del receive, block
        dead: Any = weakref.ref(transport)
        del transport, sock
        gc.collect()
        assert operation() is not None  # the kernel has it
        assert dead() is not None  # and it the transport, as on the stock loop
        peer.send(b"written by the kernel")
        await iterations(5)
        dead().abort()
        await nothing_pending(loop)

        def freed() -> bool:
            gc.collect()
            return operation() is None

        await until(freed)
        peer.close()

    run(ours, main())


def test_connection_lost_comes_when_the_kernel_has_let_go(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()

        class Lost(Recorder):
            def connection_lost(self, exc: BaseException | None) -> None:
                self.status = self.transport._receive._overlapped.Internal
                super().connection_lost(exc)

        async with connection(Lost()) as (protocol, _):
            await iterations(2)
            assert loop._proactor.pending == 1
            protocol.transport.abort()
            assert "lost" not in protocol.calls
            assert loop._proactor.pending == 1  # until its packet has been taken
            await protocol.lost
            assert protocol.status != winapi.STATUS_PENDING
            await nothing_pending(loop)

    run(ours, main())


def test_an_operation_the_kernel_is_slow_to_give_back_is_waited_for(
    ours: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        async with connection() as (protocol, peer):
            await iterations(2)
            with monkeypatch.context() as patch:
                patch.setattr(winapi, "CancelIoEx", lambda *_: True)  # noted, and nothing done yet
                protocol.transport.abort()
                await iterations(5)
                assert "lost" not in protocol.calls
            peer.send(b"this completes it")
            await protocol.lost
            assert protocol.received == b""

    run(ours, main())


def test_a_buffer_lent_by_a_protocol_cannot_be_resized_while_the_kernel_has_it(ours: Bench) -> None:
    async def main() -> None:
        async with connection(BufferedRecorder(100)) as (protocol, peer):
            await iterations(2)
            with pytest.raises(BufferError):
                protocol.buffer.extend(b"more")
            protocol.transport.pause_reading()
            await asyncio.get_running_loop().sock_sendall(peer, b"x")
            await until(lambda: protocol.transport._held is not None)
            protocol.buffer.extend(b"more")

    run(ours, main())


def test_closing_the_loop_has_everything_back() -> None:
    loop: Any = loops.new_event_loop()
    pairs = [tcp_pair() for _ in range(20)]

    async def main() -> list[Any]:
        made = [(await loop.connect_accepted_socket(Recorder, sock))[0] for _, sock in pairs]
        server = await loop.create_server(Recorder, "127.0.0.1", 0)
        listeners.extend(server.sockets)
        await iterations(3)
        return made

    listeners: list[Any] = []
    made = loop.run_until_complete(main())
    proactor = loop._proactor
    assert proactor.pending > 20
    loop.close()
    assert proactor.pending == 0
    for listener in listeners:
        listener._sock.close()
    for transport, (peer, sock) in zip(made, pairs, strict=True):
        with pytest.raises(RuntimeError, match="closed"):
            transport.abort()
        sock.close()
        peer.close()
    made.clear()
    del transport
    with pytest.warns(ResourceWarning, match="unclosed"):
        gc.collect()


def test_the_receive_buffer_grows_with_its_use_and_shrinks_again(ours: Bench) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connection() as (protocol, peer):

            def size() -> int:
                return buffers.SIZES[protocol.transport._receive._level]

            assert size() == buffers.SIZES[0]
            await loop.sock_sendall(peer, bytes(1 << 20))
            await protocol.until(1 << 20)
            assert size() == buffers.SIZES[-1]
            for number in range(1, 11):
                await loop.sock_sendall(peer, b"x")
                await protocol.until((1 << 20) + number)
            assert size() == buffers.SIZES[0]

    run(ours, main())


def test_what_arrives_behind_a_keyboard_interrupt_is_not_lost() -> None:
    class Interrupts(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if len(self.calls) == 2:
                raise KeyboardInterrupt

    loop = loops.new_event_loop()
    pairs = [tcp_pair() for _ in range(3)]

    async def connect() -> list[Any]:
        made = [(await loop.connect_accepted_socket(Interrupts, sock))[1] for _, sock in pairs]
        await iterations(3)
        return made

    async def receive(protocols: list[Any]) -> None:
        for protocol in protocols:
            await protocol.until(1)

    made = loop.run_until_complete(connect())
    for peer, _ in pairs:
        peer.send(b"x")
    interrupted = loop.create_future()  # never done: it is the interrupt that ends each wait
    limit = loop.call_later(5, interrupted.set_exception, TimeoutError())
    for _ in pairs:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(interrupted)
    limit.cancel()
    loop.run_until_complete(asyncio.wait_for(receive(made), 5))
    for protocol in made:
        protocol.transport.abort()
        loop.run_until_complete(protocol.lost)
    for peer, _ in pairs:
        peer.close()
    loop.close()


def test_a_stock_transfer_on_a_silent_socket_leaves_nothing_registered(ours: Bench, tmp_path: Any) -> None:
    (tmp_path / "file").write_bytes(bytes(100_000))

    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        async with connection() as (protocol, peer):
            with (tmp_path / "file").open("rb") as file:
                sending = asyncio.ensure_future(loop.sendfile(protocol.transport, file))
                got = 0
                while got < 100_000:
                    got += len(await loop.sock_recv(peer, 1 << 16))
                assert await sending == 100_000
            sock = protocol.transport._sock
            await until(lambda: all(entry[2] is not sock for entry in loop._proactor._cache.values()))

    run(ours, main())


@pytest.mark.parametrize("error", [0, winapi.WSA_IO_PENDING], ids=["done", "pending"])
def test_a_stock_operation_that_was_pending_is_kept_for_its_packet_although_it_is_done(ours: Bench, error: int) -> None:
    """It may be done a moment after its call; on Wine TransmitFile looks done before it has begun."""

    class Done:
        address = 1
        pending = False

    async def main() -> bool:
        loop: Any = asyncio.get_running_loop()
        async with connection() as (protocol, _):
            operation: Any = Done()
            operation.error = error
            future = loop._proactor._register(operation, protocol.transport._sock, lambda *_: "result")
            assert await future == "result"
            return loop._proactor._cache.pop(operation.address, None) is not None

    assert run(ours, main()) == bool(error)


def test_an_operation_of_asyncios_own_that_fails_leaves_no_garbage(ours: Bench) -> None:
    """The traceback of its error holds the frame that completed it, which must not hold its future."""

    async def main() -> list[Any]:
        loop: Any = asyncio.get_running_loop()
        here, there = tcp_pair()
        here.setblocking(False)
        gc.collect()
        gc.disable()
        try:
            receiving = loop._proactor.recv(here, 10)
            reset(there)
            with contextlib.suppress(ConnectionResetError):  # pytest.raises would keep it
                await receiving
                pytest.fail("a reset was expected")
            del receiving
            await iterations(2)  # the handle that woke this task holds it too
            gc.set_debug(gc.DEBUG_SAVEALL)
            gc.collect()
            return [repr(thing) for thing in gc.garbage if isinstance(thing, asyncio.Future)]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
            here.close()

    assert ours.run(main()) == []
