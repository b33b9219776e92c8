"""What a loop is asked most often: callbacks, timers, calls from other threads, addresses."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from typing import Any

import pytest
from helpers.recording import Bench

from proactor_echo import loops

posix = pytest.mark.skipif(sys.platform == "win32", reason="the self-pipe of the readiness loop")


# -- handles -------------------------------------------------------------------------------------------------------


def nothing() -> None:
    pass


def test_handles_have_all_that_asyncios_have(ours: Bench, stock: Bench) -> None:
    async def main() -> list[tuple[dict[str, bool], str]]:
        loop = asyncio.get_running_loop()
        handles = loop.call_soon(nothing), loop.call_later(60, nothing), loop.call_at(loop.time() + 60, nothing)
        seen = []
        for handle in handles:
            names = [name for kind in type(handle).__mro__ for name in getattr(kind, "__slots__", ())]
            seen.append(({name: hasattr(handle, name) for name in names}, type(handle).__name__))
            assert repr(handle).startswith(f"<{type(handle).__name__}")
            assert "nothing" in repr(handle)
            handle.cancel()
            assert handle.cancelled()
            assert "cancelled" in repr(handle)
        return seen

    assert ours.run(main()) == stock.run(main())


def test_timers_run_in_the_order_of_their_times_and_a_cancelled_one_not_at_all(each: Bench) -> None:
    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        ran: list[int] = []
        now = loop.time()
        timers = {number: loop.call_at(now + number / 1000, ran.append, number) for number in (5, 1, 4, 2, 3)}
        timers[2].cancel()
        timers[2].cancel()
        assert timers[1] < timers[2] < timers[3]
        assert timers[4].when() == now + 4 / 1000
        done = loop.create_future()
        loop.call_later(0.006, done.set_result, None)
        await done
        return ran

    assert each.run(main()) == [1, 3, 4, 5]


def test_cancelled_timers_do_not_pile_up(each: Bench) -> None:
    async def main() -> int:
        loop: Any = asyncio.get_running_loop()
        for _ in range(1000):
            loop.call_later(3600, nothing).cancel()
        await asyncio.sleep(0)
        return len(loop._scheduled)

    assert each.run(main()) < 100


def test_debug_mode_shows_where_a_callback_was_queued(each: Bench) -> None:
    each.debug = True

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for handle in (loop.call_soon(nothing), loop.call_later(60, nothing), loop.call_at(60, nothing)):
            assert handle._source_traceback[-1].filename == __file__  # type: ignore[attr-defined]
            handle.cancel()

    each.run(main())


def test_asking_wrongly_is_refused(each: Bench) -> None:
    loop = each.factory()
    with pytest.raises(TypeError):
        loop.call_later(None, nothing)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        loop.call_at(None, nothing)  # type: ignore[arg-type]
    loop.close()
    for ask in (loop.call_soon, loop.call_soon_threadsafe, lambda call: loop.call_later(1, call)):
        with pytest.raises(RuntimeError, match="closed"):
            ask(nothing)


# -- from other threads --------------------------------------------------------------------------------------------


def test_every_call_from_threads_is_heard_by_a_loop_that_waits(each: Bench) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        left = 4 * 500
        heard = asyncio.Event()

        def hear() -> None:
            nonlocal left
            left -= 1
            if not left:
                heard.set()

        def call() -> None:
            for _ in range(500):
                answered = threading.Event()
                loop.call_soon_threadsafe(hear)
                loop.call_soon_threadsafe(answered.set)
                assert answered.wait(10)

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        await heard.wait()
        for thread in threads:
            await asyncio.to_thread(thread.join)

    each.run(main())


@posix
@pytest.mark.skipif(not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="each wakes the loop without the lock")
def test_many_calls_from_a_thread_wake_the_loop_once(ours: Bench) -> None:
    async def main() -> None:
        loop: Any = asyncio.get_running_loop()
        heard: list[int] = []

        def call() -> None:
            for number in range(1000):
                loop.call_soon_threadsafe(heard.append, number)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()  # the loop does not run meanwhile
        assert loop._ssock.recv(4096, socket.MSG_PEEK) == b"\0"
        await asyncio.sleep(0)
        assert heard == list(range(1000))

    ours.run(main())


@posix
@pytest.mark.parametrize("error", [BlockingIOError, KeyboardInterrupt])
def test_a_wake_up_that_fails_does_not_stand_for_those_that_follow(error: type[BaseException]) -> None:
    class Failing:
        def send(self, data: bytes) -> None:
            raise error

    loop: Any = loops.new_event_loop()
    pipe, loop._csock = loop._csock, Failing()
    try:
        loop.call_soon_threadsafe(nothing)
    except KeyboardInterrupt:
        assert error is KeyboardInterrupt
    loop._csock = pipe
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, [loop.stop])
    loop.call_soon(thread.start)
    watchdog = loop.call_later(10, pytest.fail, "the loop was not woken")
    loop.run_forever()
    watchdog.cancel()
    thread.join()
    loop.close()


def test_a_loop_that_an_interrupt_ended_can_be_woken_again(each: Bench) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    loop = each.factory()
    loop.call_soon_threadsafe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    thread = threading.Timer(0.05, loop.call_soon_threadsafe, [loop.stop])
    loop.call_soon(thread.start)
    watchdog = loop.call_later(10, pytest.fail, "the loop was not woken")
    loop.run_forever()
    watchdog.cancel()
    thread.join()
    loop.close()


# -- addresses -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "::ffff:1.2.3.4", "fe80::1%1"])
@pytest.mark.parametrize("port", [80, "80", None])
@pytest.mark.parametrize("kind", [0, socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_an_address_is_understood_without_a_thread(ours: Bench, host: str, port: Any, kind: int) -> None:
    async def main() -> Any:
        loop: Any = asyncio.get_running_loop()
        found = await loop.getaddrinfo(host, port, type=kind)
        assert loop._default_executor is None
        return found

    assert ours.run(main()) == socket.getaddrinfo(host, port, type=kind)


@pytest.mark.parametrize(
    ("host", "port", "family"),
    [
        ("127.0.0.1", 80, socket.AF_INET6),
        ("::1", 80, socket.AF_INET),
        ("127.0.0.1", "no-such-service-1", 0),
        ("1.2.3.4.5", 80, 0),
        ("::1::2", 80, 0),
        ("::1%no-such-interface9", 80, 0),
        (None, 80, 0),
        ("localhost", 80, 0),
    ],
)
def test_what_is_no_address_is_looked_up_as_ever(ours: Bench, stock: Bench, host: Any, port: Any, family: int) -> None:
    async def main() -> Any:
        try:
            return await asyncio.get_running_loop().getaddrinfo(host, port, family=family)
        except OSError as exc:
            return type(exc), exc.args

    assert ours.run(main()) == stock.run(main())
