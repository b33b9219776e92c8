"""Rows of the defect table: connections, cancelled receives, signals and closing, on the stock loop and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

import tracemalloc  # PyPy has none

from loops.recording import Bench, BufferedRecorder, Recorder, connection, reset, tcp_pair
from loops.windows_rows import bench, on_each, run, within

from proactor_echo import loops
from proactor_echo.loops import iocp_poll, winapi
from proactor_echo.loops.private_windows import overlapped


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


# -- row 10 ----------------------------------------------------------------------------------------------------------


@on_each
def test_a_connection_whose_shutdown_fails_is_closed_all_the_same(kind: str) -> None:
    class Refuses(socket.socket):
        def shutdown(self, how: int) -> None:
            raise ConnectionResetError(10054, "injected")

    async def main() -> bool:
        here, there = tcp_pair()
        sock = Refuses(fileno=there.detach())
        transport, protocol = await asyncio.get_running_loop().connect_accepted_socket(Recorder, sock)
        transport.close()
        await protocol.lost
        await turns(5)
        here.close()
        return sock.fileno() == -1

    here = bench(kind)
    closed = run(here, main())
    assert closed == (kind == "ours")
    assert bool(here.errors) == (kind == "stock")


# -- row 11 ----------------------------------------------------------------------------------------------------------


@on_each
def test_an_end_of_file_while_paused_is_told_once(kind: str) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        async with connection() as (peer, protocol):
            protocol.keep_open = True
            await turns(3)
            protocol.transport.pause_reading()
            peer.shutdown(socket.SHUT_WR)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.1):
                    await protocol.ended.wait()  # it must not come
            protocol.transport.resume_reading()
            await protocol.ended.wait()
            await within(0.1, loop.create_future())
            count: int = protocol.calls.count("eof")
            return count

    assert run(bench(kind), main()) == (1 if kind == "ours" else 2)


# -- row 12 ----------------------------------------------------------------------------------------------------------


@pytest.mark.loop_errors
@on_each
def test_closing_with_an_operation_that_never_completes_is_bounded(
    kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(iocp_poll.BatchProactor.close, "__defaults__", (0.1,))
    monkeypatch.setattr(iocp_poll, "_never_completed", [])
    loop: Any = bench(kind).factory()
    lost = overlapped.Overlapped(0)
    future = loop.create_future()
    future.cancel()
    loop._proactor._cache[lost.address] = (future, lost, None, None)
    thread = threading.Thread(target=loop.close)
    cache = loop._proactor._cache
    thread.start()
    thread.join(0.5)
    hangs = thread.is_alive()
    cache.clear()  # what the kernel never does: give it back
    thread.join()
    signal.set_wakeup_fd(-1)  # only the main thread's close may do this
    assert hangs == (kind == "stock")
    assert ("has not given back" in caplog.text) == (kind == "ours")


# -- row 13 ----------------------------------------------------------------------------------------------------------


@on_each
def test_an_idle_connection_is_small(kind: str) -> None:
    count = 100

    async def main() -> float:
        loop = asyncio.get_running_loop()
        pairs = [tcp_pair() for _ in range(count)]
        gc.collect()
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        made = [await loop.connect_accepted_socket(asyncio.Protocol, sock) for _, sock in pairs]
        await turns(3)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for transport, _ in made:
            transport.abort()
        for peer, _ in pairs:
            peer.close()
        await turns(5)
        return (after - before) / count

    size = run(bench(kind), main())
    assert (size < 8 * 1024) if kind == "ours" else (size > 64 * 1024), size


# -- row 14 ----------------------------------------------------------------------------------------------------------


@on_each
def test_a_buffered_protocol_is_received_into_without_a_copy(kind: str) -> None:
    class Asked(BufferedRecorder):
        asked = False

        def get_buffer(self, sizehint: int) -> bytearray:
            self.asked = True
            return self.buffer

    async def main() -> tuple[bool, bytes]:
        async with connection(Asked()) as (peer, protocol):
            await turns(3)
            before_data = protocol.asked  # the kernel has the protocol's own buffer
            await asyncio.get_running_loop().sock_sendall(peer, b"straight")
            return before_data, await protocol.until(8)

    assert run(bench(kind), main()) == (kind == "ours", b"straight")


@on_each
def test_a_protocol_receives_bytes(kind: str) -> None:
    class Typed(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.type = type(data)

    async def main() -> type:
        async with connection(Typed()) as (peer, protocol):
            await asyncio.get_running_loop().sock_sendall(peer, b"x")
            await protocol.until(1)
            kind_of_data: type = protocol.type
            return kind_of_data

    broken = kind == "stock" and sys.version_info < (3, 12)  # gh-99941
    assert run(bench(kind), main()) is (bytearray if broken else bytes)


# -- row 15 ----------------------------------------------------------------------------------------------------------


@on_each
def test_fifty_completions_are_taken_in_one_call(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    module: Any = winapi if kind == "ours" else importlib.import_module("_overlapped")
    name = "GetQueuedCompletionStatusEx" if kind == "ours" else "GetQueuedCompletionStatus"
    original = getattr(module, name)

    def counted(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        return original(*args)

    async def main() -> int:
        nonlocal calls
        loop = asyncio.get_running_loop()
        pairs = [tcp_pair() for _ in range(50)]
        made = [await loop.connect_accepted_socket(Recorder, sock) for _, sock in pairs]
        await turns(5)
        for peer, _ in pairs:
            peer.send(b"x")
        monkeypatch.setattr(module, name, counted)
        await asyncio.gather(*(protocol.until(1) for _, protocol in made))
        monkeypatch.setattr(module, name, original)
        counted_calls = calls
        for transport, _ in made:
            transport.abort()
        await asyncio.gather(*(protocol.lost for _, protocol in made))
        for peer, _ in pairs:
            peer.close()
        return counted_calls

    count = run(bench(kind), main())
    assert count <= 10 if kind == "ours" else count >= 50, count


# -- row 16 ----------------------------------------------------------------------------------------------------------


@on_each
@pytest.mark.parametrize("into", [False, True])
def test_a_cancelled_sock_recv_loses_no_byte(kind: str, into: bool) -> None:
    async def main() -> bytes | None:
        loop = asyncio.get_running_loop()
        here, there = tcp_pair()

        async def receive() -> bytes:
            if not into:
                return await loop.sock_recv(there, 100)
            buffer = bytearray(100)
            return bytes(buffer[: await loop.sock_recv_into(there, buffer)])

        task = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        here.send(b"precious")
        task.cancel()  # the kernel has the bytes for it already, and nobody has looked
        await asyncio.wait([task])
        data = await within(0.5, receive())
        here.close()
        there.close()
        return data

    assert run(bench(kind), main()) == (b"precious" if kind == "ours" else None)


# -- row 17 ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def handlers_kept(*numbers: int) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@on_each
def test_a_signal_handler_can_be_added_and_is_taken_away_at_the_end(kind: str) -> None:
    numbers = [signal.SIGINT, signal.SIGTERM, signal.SIGBREAK]

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        seen: list[int] = []
        arrived = asyncio.Event()

        def handler(number: int) -> None:
            seen.append(number)
            arrived.set()

        for number in numbers:
            loop.add_signal_handler(number, handler, int(number))
        for number in numbers:
            arrived.clear()
            threading.Thread(target=signal.raise_signal, args=(number,)).start()  # the loop waits in the kernel
            await arrived.wait()
        assert loop.remove_signal_handler(signal.SIGTERM)
        assert not loop.remove_signal_handler(signal.SIGTERM)
        return seen

    with handlers_kept(*numbers):
        before = [signal.getsignal(number) for number in numbers]
        if kind == "stock":
            with pytest.raises(NotImplementedError):
                run(bench(kind), main())
        else:
            assert run(bench(kind), main()) == numbers
        assert [signal.getsignal(number) for number in numbers] == before


def test_what_cannot_be_a_signal_handler_is_refused(ours: Bench) -> None:
    async def coroutine() -> None: ...

    async def main() -> None:
        loop = asyncio.get_running_loop()
        with pytest.raises(TypeError, match="coroutines"):
            loop.add_signal_handler(signal.SIGINT, coroutine)
        with pytest.raises(ValueError, match="invalid signal"):
            loop.add_signal_handler(1000, print)
        with pytest.raises(RuntimeError, match="cannot be caught"):
            loop.add_signal_handler(signal.SIGSEGV, print)
        with pytest.raises(RuntimeError, match="main thread"):
            await loop.run_in_executor(None, loop.add_signal_handler, signal.SIGINT, print)

    run(ours, main())


@on_each
def test_ctrl_c_ends_a_loop_that_waits_in_the_kernel(kind: str) -> None:
    async def main() -> None:
        threading.Thread(target=signal.raise_signal, args=(signal.SIGINT,)).start()
        await asyncio.get_running_loop().create_future()

    with asyncio.Runner(loop_factory=bench(kind).factory) as runner, pytest.raises(KeyboardInterrupt):
        runner.run(main())


def test_ctrl_c_that_raises_when_the_poll_returns_loses_no_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    loop: Any = loops.new_event_loop()
    here, there = tcp_pair()
    poll = winapi.GetQueuedCompletionStatusEx

    def interrupted(*args: Any) -> Any:
        if poll(*args):  # the call is over, its result not yet looked at: where Python runs the signal's handler
            raise KeyboardInterrupt
        return 0

    async def connect() -> Any:
        protocol = (await loop.connect_accepted_socket(Recorder, there))[1]
        await turns(3)
        return protocol

    protocol = loop.run_until_complete(connect())
    for _ in range(3):
        here.send(b"x")
        with monkeypatch.context() as patch:
            patch.setattr(winapi, "GetQueuedCompletionStatusEx", interrupted)
            with pytest.raises(KeyboardInterrupt):
                loop.run_until_complete(loop.create_future())
        loop.run_until_complete(turns(3))
    loop.run_until_complete(asyncio.wait_for(protocol.until(3), 5))
    protocol.transport.abort()
    loop.run_until_complete(protocol.lost)
    here.close()
    proactor = loop._proactor
    loop.close()
    assert proactor.pending == 0


def test_ctrl_c_wakes_a_loop_although_another_one_was_closed(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = threading.Event()
    poll = winapi.GetQueuedCompletionStatusEx

    def polling(port: int, entries: int, count: int, taken: int, timeout: int, alertable: bool) -> Any:
        if timeout > 1000:  # for the end of the time limit
            waiting.set()
        return poll(port, entries, count, taken, timeout, alertable)

    def raise_while_it_waits() -> None:
        waiting.wait(5)
        signal.raise_signal(signal.SIGTERM)

    async def main() -> None:
        other = loops.new_event_loop()
        other.close()  # CPython takes the wake-up descriptor away here
        await turns(3)
        thread = threading.Thread(target=raise_while_it_waits)
        thread.start()
        monkeypatch.setattr(winapi, "GetQueuedCompletionStatusEx", polling)
        async with asyncio.timeout(5):
            await arrived.wait()
        thread.join()

    arrived = asyncio.Event()
    with handlers_kept(signal.SIGTERM), asyncio.Runner(loop_factory=ours.factory) as runner:
        runner.get_loop().add_signal_handler(signal.SIGTERM, arrived.set)
        runner.run(main())


# -- row 18 ----------------------------------------------------------------------------------------------------------


@on_each
def test_an_end_of_file_on_the_self_pipe_is_told_and_does_not_spin(kind: str) -> None:
    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        turns_before = count
        loop._csock.shutdown(socket.SHUT_WR)
        await within(0.3, loop.create_future())
        return count - turns_before

    count = 0
    here = bench(kind)
    factory: Any = asyncio.ProactorEventLoop if kind == "stock" else loops.EventLoop

    class Counting(factory):  # type: ignore[misc]
        def _run_once(self) -> None:
            nonlocal count
            count += 1
            super()._run_once()

    here.factory = Counting
    turned = run(here, main())
    if kind == "stock":
        assert turned > 100
        assert here.errors == []
    else:
        assert turned < 20
        assert [type(context["exception"]) for context in here.errors] == [EOFError]


def test_the_loop_can_be_woken_after_its_self_pipe_broke(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        reset(loop._csock)
        while not ours.errors:
            await asyncio.sleep(0.01)
        assert await loop.run_in_executor(None, lambda: 7) == 7

    with handlers_kept(signal.SIGTERM):
        run(ours, main())
    assert len(ours.errors) == 1
