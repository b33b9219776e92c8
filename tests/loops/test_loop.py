"""What the loop itself promises: fairness, signals, names it needs, life after errors."""

from __future__ import annotations

import asyncio
import errno
import gc
import importlib
import logging
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
from helpers.recording import Bench, Echo, Recorder, connection, let_go, tcp_pair

from proactor_echo import loops
from proactor_echo.loops import private
from proactor_echo.testing.conformance import check_transport

posix = pytest.mark.skipif(sys.platform == "win32", reason="the readiness engine is for POSIX")


def test_run_runs_on_our_loop() -> None:
    async def main() -> type:
        return type(asyncio.get_running_loop())

    assert loops.run(main()) is loops.EventLoop
    assert issubclass(loops.EventLoop, private.StockLoop)


def test_run_passes_debug_on() -> None:
    async def main() -> bool:
        return asyncio.get_running_loop().get_debug()

    assert loops.run(main(), debug=True)
    assert not loops.run(main(), debug=False)


def test_run_in_a_running_loop_is_refused_with_a_sentence_and_no_warning() -> None:
    async def inner() -> None: ...

    async def main() -> None:
        with pytest.raises(RuntimeError, match=r"^proactor_echo\.run\(\) cannot be called from a running event loop"):
            loops.run(inner())

    loops.run(main())
    gc.collect()


def test_a_timer_is_on_time_while_connections_and_a_flood_are_busy(ours: Bench) -> None:
    """Work in one iteration is bounded: 20 echoing connections and a UDP flood delay a timer by little."""

    class Flooded(asyncio.DatagramProtocol):
        count = 0

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.count += 1

    stop = threading.Event()

    def flood(address: Any) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.connect(address)
            while not stop.is_set():
                for _ in range(50):
                    try:
                        sock.send(b"x" * 100)
                    except OSError:
                        break
                time.sleep(0)  # let the loop's thread have the interpreter

    async def main() -> list[float]:
        loop = asyncio.get_running_loop()
        transport, flooded = await loop.create_datagram_endpoint(Flooded, ("127.0.0.1", 0))
        thread = threading.Thread(target=flood, args=(transport.get_extra_info("sockname"),))
        late = []
        thread.start()
        try:
            async with connection(Echo()) as (_, peer):
                await loop.sock_sendall(peer, b"y" * 10_000)
                for _ in range(20):
                    due = loop.time() + 0.01
                    await asyncio.sleep(0.01)
                    late.append(loop.time() - due)
                    await loop.sock_sendall(peer, await loop.sock_recv(peer, 1 << 16))
        finally:
            stop.set()
            thread.join()
            transport.close()
        assert flooded.count > 100
        return late

    assert sorted(ours.run(main()))[10] < 0.25  # the median, since a loaded machine spoils some; starved, it never ends


def test_a_slow_callback_is_named_in_debug_mode(ours: Bench, caplog: pytest.LogCaptureFixture) -> None:
    class Slow(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            end = time.perf_counter() + 0.02
            while time.perf_counter() < end:
                pass

    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.slow_callback_duration = 0.01
        async with connection(Slow()) as (protocol, peer):
            await loop.sock_sendall(peer, b"x")
            await protocol.until(1)

    ours.debug = True
    with caplog.at_level(logging.WARNING, logger="asyncio"):
        ours.run(main())
    assert any("took" in record.getMessage() for record in caplog.records)


def test_what_was_queued_before_runs_before_what_arrives(each: Bench) -> None:
    """A task that was about to prepare for data is not overtaken by it."""

    loop = each.factory()
    order: list[str] = []
    here, there = tcp_pair()

    class Notes(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            order.append("data")
            loop.stop()

    transport, _ = loop.run_until_complete(loop.connect_accepted_socket(Notes, there))
    here.send(b"x")
    select.select([there], [], [], 0.1 if private.WINDOWS else 5)  # a receive that is pending there takes it away
    loop.call_soon(order.append, "queued before")
    loop.run_forever()
    transport.abort()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()
    here.close()
    assert order == ["queued before", "data"]


@posix
def test_a_watched_descriptor_may_not_be_used_twice(ours: Bench) -> None:
    async def main() -> None:
        async with connection() as (protocol, peer):
            fd = protocol.transport.get_extra_info("socket").fileno()
            loop = asyncio.get_running_loop()
            with pytest.raises(RuntimeError, match=rf"^File descriptor {fd} is used by transport <.*fd={fd} .*>$"):
                loop.add_reader(fd, print)
            protocol.transport.pause_reading()
            await loop.sock_sendall(peer, b"x")
            for _ in range(5):
                await asyncio.sleep(0)
            with pytest.raises(RuntimeError, match="is used by transport"):
                loop.add_writer(fd, print)

    ours.run(main())


@posix
def test_a_socket_gets_only_one_transport(ours: Bench) -> None:
    """As on the stock loop from Python 3.12 on. Before, the second takes the events and the first waits for ever."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        here, there = tcp_pair()
        transport, _ = await loop.connect_accepted_socket(Recorder, there)
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.connect_accepted_socket(Recorder, there)
        transport.abort()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            endpoint, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
            with pytest.raises(RuntimeError, match="is used by transport"):
                await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=sock)
            endpoint.abort()
            await asyncio.sleep(0)
        here.close()

    ours.run(main())


@posix
@pytest.mark.parametrize("name", ["PollSelector", "SelectSelector", "EpollSelector", "KqueueSelector"])
def test_every_selector_can_carry_the_transports(name: str) -> None:
    """The path that macOS takes, on whatever this system has."""
    from proactor_echo.loops.readiness.loop import EventLoop
    from proactor_echo.loops.readiness.poller import SelectorHandlers

    base = getattr(selectors, name, None)
    if base is None:
        pytest.skip(f"this system has no {name}")
    poller = type("Poller", (SelectorHandlers, base), {})
    requirements = (
        "eof received that returns true leaves writing open",
        "writing is paused when the buffer is full and resumed when it is not",
        "a large write arrives whole",
        "a datagram is sent whole to its address",
        "the largest datagram comes and goes",
    )
    report = check_transport(lambda: EventLoop(poller()), only=requirements)
    assert report.passed, report


@posix
@pytest.mark.parametrize("name", ["PollSelector", "EpollSelector"])
def test_a_descriptor_that_cannot_be_watched_costs_its_connection_alone(name: str) -> None:
    from proactor_echo.loops.readiness.epoll import new_poller
    from proactor_echo.loops.readiness.loop import EventLoop
    from proactor_echo.loops.readiness.poller import SelectorHandlers

    base = getattr(selectors, name, None)
    if base is None:
        pytest.skip(f"this system has no {name}")
    own = type(new_poller())
    bases = (own,) if issubclass(own, base) else (SelectorHandlers, base)

    def watch(self: Any, fd: int, events: int, handler: Any) -> None:
        if fd == full:
            raise OSError(errno.ENOSPC, "no room to watch one more")  # epoll's answer at max_user_watches
        bases[0].watch(self, fd, events, handler)

    full = -1
    poller = type("Full", bases, {"watch": watch})

    async def main() -> BaseException | None:
        nonlocal full
        here, there = tcp_pair()
        full = there.fileno()
        _, protocol = await asyncio.get_running_loop().connect_accepted_socket(Recorder, there)
        lost = await asyncio.wait_for(protocol.lost, 5)
        assert here.recv(1) == b""
        here.close()
        full = -1  # the number is used again
        async with connection() as (other, peer):
            peer.send(b"x")
            await other.until(1)
        result: BaseException | None = lost
        return result

    lost = Bench(lambda: EventLoop(poller())).run(main())
    assert isinstance(lost, OSError)
    assert lost.errno == errno.ENOSPC


def test_a_python_without_a_private_name_gets_the_stock_loop_and_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "missing", lambda: ["asyncio.events._something"])
    try:
        with pytest.warns(RuntimeWarning, match="_something: using the stock event loop"):
            importlib.reload(loops)
        assert loops.EventLoop is private.StockLoop
    finally:
        monkeypatch.undo()
        importlib.reload(loops)


def test_this_python_has_every_private_name() -> None:
    assert private.missing() == []


def test_add_reader_and_threads_and_subprocesses_still_work(ours: Bench) -> None:
    async def main() -> bytes:
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "print(input()[::-1])", stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        out, _ = await process.communicate(b"stressed\n")
        assert process.returncode == 0
        return out.strip()

    assert ours.run(main()) == b"desserts"


CTRL_C = """
import asyncio, os, signal, sys
from proactor_echo import loops

signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may have it ignored

async def main():
    try:
        asyncio.get_running_loop().call_later(0.02, signal.raise_signal, signal.SIGINT)
        await asyncio.Event().wait()
    finally:
        print("cleaned up", flush=True)

try:
    loops.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_ctrl_c_cancels_main_and_runs_its_cleanup() -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CTRL_C],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(p or os.getcwd() for p in sys.path)},
    )
    assert done.stdout.split() == ["cleaned", "up", "interrupted"], done.stderr


def test_a_signal_handler_can_be_added(ours: Bench) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        heard = asyncio.Event()
        loop.add_signal_handler(signal.SIGTERM, heard.set)
        loop.call_later(0.01, signal.raise_signal, signal.SIGTERM)
        await asyncio.wait_for(heard.wait(), 5)
        assert loop.remove_signal_handler(signal.SIGTERM)
        assert not loop.remove_signal_handler(signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    ours.run(main())
    assert signal.getsignal(signal.SIGTERM) == before


def test_keyboard_interrupt_in_a_callback_leaves_the_loop_usable() -> None:
    class Interrupts(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(b"before")
            raise KeyboardInterrupt

    loop = loops.new_event_loop()
    held: Any = None

    async def start() -> Any:
        nonlocal held
        held = connection(Interrupts())
        return await held.__aenter__()

    try:
        _, peer = loop.run_until_complete(start())
        peer.send(b"x")
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        assert loop.run_until_complete(loop.sock_recv(peer, 10)) == b"before"
        loop.run_until_complete(held.__aexit__(None, None, None))
    finally:
        loop.close()


def test_what_was_written_leaves_from_a_loop_that_nests(ours: Bench) -> None:
    """nest_asyncio puts its own ``_run_once`` into the loop's class, and calls it in callbacks of a loop that runs."""

    class Nested(loops.EventLoop):  # type: ignore[valid-type, misc]
        pass

    def run_once(loop: Any) -> None:
        private.StockLoop._run_once(loop)

    async def main() -> bytes:
        async with connection() as (protocol, peer):
            Nested._run_once = run_once
            for data in (b"one", b"two"):
                protocol.transport.write(data)
            asyncio.get_running_loop().call_soon(bool)
            asyncio.get_running_loop()._run_once()  # type: ignore[attr-defined]
            return peer.recv(10)

    ours.factory = Nested
    assert ours.run(main()) == b"onetwo"


def test_a_loop_can_be_closed_with_connections_open() -> None:
    here, there = tcp_pair()
    loop = loops.new_event_loop()
    held: list[Any] = [loop.run_until_complete(loop.connect_accepted_socket(asyncio.Protocol, there))]
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        held[0][0].abort()
    there.close()
    here.close()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        let_go(held)
