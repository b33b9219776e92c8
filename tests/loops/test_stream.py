"""What a stream transport of ours promises beyond what check_transport asks of every loop."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import socket
from typing import Any

import pytest
from helpers.peers import iterations
from helpers.recording import Bench, Recorder, connection, let_go, read_all, tcp_pair

from proactor_echo.loops import private


def test_a_protocol_may_go_on_with_another_method(each: Bench) -> None:
    """An instance that goes into its next state by assigning to itself, and a class that is patched later."""

    class Stateful(Recorder):
        def data_received(self, data: bytes) -> None:
            heard.append(("head", data))
            super().data_received(data)
            self.data_received = self.body  # type: ignore[method-assign]

        def body(self, data: bytes) -> None:
            heard.append(("body", data))
            super().data_received(data)

    def patched(self: Recorder, data: bytes) -> None:
        heard.append(("patched", data))
        Recorder.data_received(self, data)

    heard: list[tuple[str, bytes]] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with connection(Stateful()) as (protocol, peer):
            await loop.sock_sendall(peer, b"1")
            await protocol.until(1)
            await loop.sock_sendall(peer, b"2")
            await protocol.until(2)
            del protocol.data_received
            Stateful.data_received = patched  # type: ignore[method-assign]
            await loop.sock_sendall(peer, b"3")
            await protocol.until(3)

    each.run(main())
    assert heard == [("head", b"1"), ("body", b"2"), ("patched", b"3")]


def test_end_of_file_is_reported_once_even_when_paused_before_it(ours: Bench) -> None:
    async def main() -> list[str]:
        async with connection() as (protocol, peer):
            protocol.keep_open = True
            protocol.transport.pause_reading()
            peer.shutdown(socket.SHUT_WR)
            await iterations(10)
            assert "eof" not in protocol.calls
            protocol.transport.resume_reading()
            await protocol.ended.wait()
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            await iterations(10)
            calls: list[str] = protocol.calls[:]
            return calls

    assert ours.run(main()) == ["made", "eof"]


@pytest.mark.parametrize("paused_before", [False, True])
def test_the_stock_loop_reports_the_end_of_file_twice(stock: Bench, paused_before: bool) -> None:
    """Shows the defect: the selector loop on resuming after it, the proactor loop on resuming before it."""

    async def main() -> int:
        async with connection() as (protocol, peer):
            protocol.keep_open = True
            if paused_before:
                protocol.transport.pause_reading()
            peer.shutdown(socket.SHUT_WR)
            await iterations(10)
            protocol.transport.resume_reading()
            await protocol.ended.wait()
            protocol.transport.pause_reading()
            protocol.transport.resume_reading()
            await iterations(10)
            count: int = protocol.calls.count("eof")
            return count

    if private.WINDOWS:
        pytest.skip("shown for the proactor loop with the other rows of Windows")
    assert stock.run(main()) > 1


def test_a_protocol_that_pauses_in_its_callback_gets_no_more(ours: Bench) -> None:
    class OneAtATime(Recorder):
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.pause_reading()

    async def main() -> None:
        async with connection(OneAtATime()) as (protocol, peer):
            loop = asyncio.get_running_loop()
            await loop.sock_sendall(peer, b"a")
            await protocol.until(1)
            await loop.sock_sendall(peer, b"b")
            await iterations(20)
            assert bytes(protocol.received) == b"a"
            protocol.transport.resume_reading()
            assert await protocol.until(2) == b"ab"

    ours.run(main())


def test_what_resume_writing_writes_while_closing_is_sent(ours: Bench) -> None:
    """TLS keeps its farewell back while writing is paused, and closes meanwhile."""

    class Farewell(Recorder):
        def resume_writing(self) -> None:
            super().resume_writing()
            self.transport.write(b"farewell")

    async def main() -> bytes:
        async with connection(Farewell()) as (protocol, peer):
            while "pause" not in protocol.calls:
                protocol.transport.write(b"z" * 100_000)
            protocol.transport.close()
            return (await read_all(peer))[-10:]

    assert ours.run(main()) == b"zzfarewell"


@pytest.mark.parametrize("method", ["connection_made", "data_received", "eof_received", "connection_lost"])
def test_an_exception_in_a_callback_ends_that_connection_only(ours: Bench, method: str) -> None:
    class Broken(Recorder):
        pass

    def broken(self: Recorder, *args: Any) -> None:
        getattr(Recorder, method)(self, *args)
        raise ZeroDivisionError(method)

    setattr(Broken, method, broken)

    async def main() -> None:
        async with connection() as (good, good_peer), connection(Broken()) as (protocol, peer):
            with contextlib.suppress(OSError):  # the server may have closed already
                await asyncio.get_running_loop().sock_sendall(peer, b"x")
                peer.shutdown(socket.SHUT_WR)
            await protocol.lost
            await asyncio.get_running_loop().sock_sendall(good_peer, b"fine")
            assert await good.until(4) == b"fine"

    ours.run(main())
    assert [type(context["exception"]) for context in ours.errors] == [ZeroDivisionError]


def test_callbacks_share_the_context_of_their_connection(ours: Bench) -> None:
    variable = contextvars.ContextVar("variable", default="nobody")

    class Named(Recorder):
        seen: list[str]

        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.seen = [variable.get()]
            variable.set(f"of {id(self)}")

        def data_received(self, data: bytes) -> None:
            self.seen.append(variable.get())
            super().data_received(data)

        def connection_lost(self, exc: BaseException | None) -> None:
            self.seen.append(variable.get())
            super().connection_lost(exc)

    async def main() -> None:
        variable.set("the caller")
        async with connection(Named()) as (one, peer), connection(Named()) as (other, _):
            await asyncio.get_running_loop().sock_sendall(peer, b"x")
            await one.until(1)
            one.transport.close()
            await one.lost
            assert one.seen == ["the caller", f"of {id(one)}", f"of {id(one)}"]
            assert other.seen == ["the caller"]
        assert variable.get() == "the caller"

    ours.run(main())


def test_addresses_can_be_asked_for_after_the_end(ours: Bench) -> None:
    async def main() -> None:
        here, there = tcp_pair()
        names = there.getsockname(), here.getsockname()
        protocol = Recorder()
        transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, there)
        transport.abort()
        await protocol.lost
        assert (transport.get_extra_info("sockname"), transport.get_extra_info("peername")) == names
        assert transport.get_extra_info("socket").fileno() == -1
        assert transport.get_extra_info("nonsense", 7) == 7
        here.close()

    ours.run(main())


def test_an_abandoned_transport_warns_and_closes_its_socket(ours: Bench) -> None:
    async def main() -> None:
        here, there = tcp_pair()
        held: list[Any] = [await asyncio.get_running_loop().connect_accepted_socket(asyncio.Protocol, there)]
        held[0][0].pause_reading()
        await asyncio.get_running_loop().sock_sendall(here, b"x")  # the event finds nobody reading: watched no more
        await iterations(5)
        with pytest.warns(ResourceWarning, match="unclosed transport"):
            let_go(held)
        assert there.fileno() == -1
        here.close()

    ours.run(main())


def test_repr_shows_the_state(ours: Bench) -> None:
    async def main() -> list[str]:
        async with connection() as (protocol, _):
            seen = [repr(protocol.transport)]
            protocol.transport.pause_reading()
            seen.append(repr(protocol.transport))
            protocol.transport.close()
            seen.append(repr(protocol.transport))
            await protocol.lost
            seen.append(repr(protocol.transport))
            return seen

    reading, paused, closing, closed = ours.run(main())
    assert "read=on" in reading
    assert "read=paused" in paused
    assert "closing" in closing
    assert "closed" in closed
