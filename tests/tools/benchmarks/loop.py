"""Measure what an event loop does beside sockets, and how late its timers are while sockets keep it busy.

    python tests/tools/benchmarks/loop.py              the stock loop, ours, uvloop or winloop if installed
    python tests/tools/benchmarks/loop.py --rounds 9

For each loop in turn, in rounds; ratios are medians of the ratios within each round. Below 1.00 ours takes less time.

    import     of the package, in a fresh interpreter
    loop       importing what makes a loop, and making it, in a fresh interpreter; ours brings in asyncio first
    call_soon  a callback that schedules the next
    timers     call_later, for many due at different times
    cancel     call_later, cancelled at once
    futures    a future made, awaited and set by a callback
    threads    call_soon_threadsafe from another thread, as fast as it can
    handoff    a future set by another thread, which waits for the next: there and back again
    literal    getaddrinfo of an address, not of a name
    connect    create_connection to an address, with a server on the same loop

Then how late a timer of 1 ms is, in microseconds: on an idle loop; beside 50 TCP connections that always have data to
echo; and beside a flood of datagrams from a thread of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import queue
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

import proactor_echo as pe  # noqa: E402  # the checkout's own

Factory = Callable[[], asyncio.AbstractEventLoop]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--one", nargs=2, metavar=("WORK", "LOOP"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    loops: dict[str, Factory] = {"ours": pe.new_event_loop, "stock": asyncio.new_event_loop}
    for name in ("uvloop", "winloop"):
        if importlib.util.find_spec(name):
            loops[name] = importlib.import_module(name).new_event_loop
    works = {work.__name__: work for work in (call_soon, timers, cancel, futures, threads, handoff, literal, connect)}
    if options.one:
        what, name = options.one
        print(statistics.median(run(loops[name], works[what]()) for _ in range(5)))
        return
    print(f"{sys.version.split()[0]} on {sys.platform}, {options.rounds} rounds; nanoseconds each")
    packages = {"ours": "proactor_echo", "stock": "asyncio"}
    for what, then in (("import (ms)", ""), ("loop (ms)", ".new_event_loop().close()")):
        codes = {
            name: f"import {package}" + (f"; {package}{then}" if then else "") for name, package in packages.items()
        }
        compare(what, {name: partial(fresh, code) for name, code in codes.items()}, options.rounds)
    for what in works:
        compare(what, {name: partial(alone, what, name) for name in loops}, options.rounds)
    loads: dict[str, Callable[[], Any]] = {"nothing": Nothing, "TCP": TcpLoad, "UDP flood": UdpFlood}
    print("\nhow late a timer of 1 ms is, microseconds: median, 99th percentile, most")
    for what, load in loads.items():
        for name, factory in loops.items():
            late = sorted(value for _ in range(options.rounds) for value in run(factory, lateness(load())))
            shown = (statistics.median(late), late[len(late) * 99 // 100], late[-1])
            print(f"beside {what:<10} {name:<8}" + "".join(f"{1e6 * value:>9.0f}" for value in shown))


def compare(what: str, measures: dict[str, Callable[[], float]], rounds: int) -> None:
    """Print the medians of the `measures` and the ratios of the first to the others."""
    seen: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(rounds):
        for name, measure in measures.items():
            seen[name].append(measure())
    text = "".join(f"  {name} {statistics.median(values):.1f}" for name, values in seen.items())
    ours = seen["ours"]
    for name, values in seen.items():
        if name != "ours":
            text += f"  ours/{name} {statistics.median(a / b for a, b in zip(ours, values, strict=True)):.2f}"
    print(f"{what:<12}{text}", flush=True)


def run(factory: Factory, main: Coroutine[Any, Any, Any]) -> Any:
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(main)


# -- work beside sockets: each returns nanoseconds for one ---------------------------------------------------------


def fresh(code: str) -> float:
    """Return milliseconds that `code` takes in an interpreter that has just started."""
    timed = f"import sys, time; sys.path.insert(0, {str(ROOT)!r}); t = time.perf_counter(); {code}; "
    timed += "print((time.perf_counter() - t) * 1e3)"
    return float(subprocess.run([sys.executable, "-c", timed], capture_output=True, text=True, check=True).stdout)


def alone(what: str, name: str) -> float:
    """Return what one piece of work takes in an interpreter that has seen no other loop, which would slow both down."""
    command = [sys.executable, __file__, "--one", what, name]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


async def call_soon(count: int = 50_000) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def step() -> None:
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            done.set_result(None)

    start = time.perf_counter_ns()
    loop.call_soon(step)
    await done
    return (time.perf_counter_ns() - start) / count


async def timers(count: int = 20_000) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    start = time.perf_counter_ns()
    for i in range(count):
        loop.call_later(i % 100 * 1e-6, int)
    loop.call_later(0.0002, done.set_result, None)
    await done
    return (time.perf_counter_ns() - start) / count


async def cancel(count: int = 20_000) -> float:
    loop = asyncio.get_running_loop()
    start = time.perf_counter_ns()
    for _ in range(count):
        loop.call_later(60, int).cancel()
    await asyncio.sleep(0)
    return (time.perf_counter_ns() - start) / count


async def futures(count: int = 20_000) -> float:
    loop = asyncio.get_running_loop()
    start = time.perf_counter_ns()
    for _ in range(count):
        future = loop.create_future()
        loop.call_soon(future.set_result, None)
        await future
    return (time.perf_counter_ns() - start) / count


async def threads(count: int = 20_000) -> float:
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    left = count

    def heard() -> None:
        nonlocal left
        left -= 1
        if not left:
            done.set_result(None)

    def call() -> None:
        for _ in range(count):
            loop.call_soon_threadsafe(heard)

    thread = threading.Thread(target=call)
    start = time.perf_counter_ns()
    thread.start()
    await done
    took = time.perf_counter_ns() - start
    thread.join()
    return took / count


async def handoff(count: int = 3_000) -> float:
    loop = asyncio.get_running_loop()
    asked: queue.SimpleQueue[asyncio.Future[None] | None] = queue.SimpleQueue()

    def answer() -> None:
        while (future := asked.get()) is not None:
            loop.call_soon_threadsafe(future.set_result, None)

    thread = threading.Thread(target=answer)
    thread.start()
    start = time.perf_counter_ns()
    for _ in range(count):
        future = loop.create_future()
        asked.put(future)
        await future
    took = time.perf_counter_ns() - start
    asked.put(None)
    thread.join()
    return took / count


async def literal(count: int = 2_000) -> float:
    loop = asyncio.get_running_loop()
    start = time.perf_counter_ns()
    for _ in range(count):
        await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
    return (time.perf_counter_ns() - start) / count


async def connect(count: int = 500) -> float:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
    address = server.sockets[0].getsockname()
    start = time.perf_counter_ns()
    for _ in range(count):
        transport, _ = await loop.create_connection(asyncio.Protocol, *address)
        transport.abort()
    took = time.perf_counter_ns() - start
    server.close()
    await asyncio.sleep(0.01)
    return took / count


# -- timers beside sockets -----------------------------------------------------------------------------------------


async def lateness(load: Any, count: int = 300, interval: float = 0.001) -> list[float]:
    """Return how many seconds too late each of `count` timers came while `load` ran."""
    late = []
    async with load:
        for _ in range(count):
            due = time.perf_counter() + interval
            await asyncio.sleep(interval)
            late.append(max(0.0, time.perf_counter() - due))
    return late


class Nothing:
    async def __aenter__(self) -> None:
        pass

    async def __aexit__(self, *exc_info: object) -> None:
        pass


class TcpLoad:
    """An echo server and 50 clients on this loop which send back what they get: somebody always has data."""

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.Echo, "127.0.0.1", 0)
        address = self.server.sockets[0].getsockname()
        made = [await loop.create_connection(self.Echo, *address) for _ in range(50)]
        self.transports = [transport for transport, _ in made]
        for transport in self.transports:
            transport.write(bytes(1024))

    async def __aexit__(self, *exc_info: object) -> None:
        for transport in self.transports:
            transport.abort()
        self.server.close()
        await asyncio.sleep(0.01)


class UdpFlood:
    """An echo endpoint, and a thread that sends to it as fast as it can."""

    class Echo(asyncio.DatagramProtocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def datagram_received(self, data: bytes, addr: Any) -> None:
            self.transport.sendto(data, addr)

    async def __aenter__(self) -> None:
        loop = asyncio.get_running_loop()
        self.transport, _ = await loop.create_datagram_endpoint(self.Echo, local_addr=("127.0.0.1", 0))
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.flood, args=self.transport.get_extra_info("sockname"))
        self.thread.start()

    def flood(self, host: str, port: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            data = bytes(64)
            while not self.over.is_set():
                try:
                    sock.sendto(data, (host, port))
                except OSError:  # an answer that nobody reads, told on Windows
                    continue

    async def __aexit__(self, *exc_info: object) -> None:
        self.over.set()
        self.thread.join()
        self.transport.abort()
        await asyncio.sleep(0.01)


if __name__ == "__main__":
    main()
