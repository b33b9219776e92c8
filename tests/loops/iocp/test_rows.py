"""Rows of the defect table: connections, cancelled receives and closing, on the stock loop and on ours."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import signal
import socket
import sys
import threading
from typing import Any

import pytest

if sys.platform != "win32":
    pytest.skip("the completion engine is for Windows", allow_module_level=True)

import tracemalloc  # PyPy has none

from helpers.peers import iterations
from helpers.recording import BufferedRecorder, Recorder, connection, tcp_pair
from helpers.windows_rows import bench, on_each, run, within

from proactor_echo.loops.iocp import port as iocp_poll
from proactor_echo.loops.iocp import winapi
from proactor_echo.loops.iocp.private import overlapped

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
        await iterations(5)
        here.close()
        return sock.fileno() == -1

    here = bench(kind)
    closed = run(here, main())
    assert closed == (kind == "ours")
    assert bool(here.errors) == (kind == "stock")


# -- row 11 ----------------------------------------------------------------------------------------------------------


@on_each
def test_an_end_of_file_while_paused_is_reported_once(kind: str) -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        async with connection() as (protocol, peer):
            protocol.keep_open = True
            await iterations(3)
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
        await iterations(3)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        for transport, _ in made:
            transport.abort()
        for peer, _ in pairs:
            peer.close()
        await iterations(5)
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
        async with connection(Asked()) as (protocol, peer):
            await iterations(3)
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
        async with connection(Typed()) as (protocol, peer):
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
        await iterations(5)
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
