"""TLS in the transport: both directions end apart, truncation is told, nothing is waited for that may not come.

Tests with ``each`` run on the stock loop too; those with ``stock`` and ``ours`` show what the stock loops do wrong.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from typing import Any

import pytest
from helpers.recording import Bench, BufferedRecorder, Recorder, tcp_pair
from helpers.tls import client_context, server_context
from helpers.tls_peer import TlsPeer, connected, tls_connection

SOON = 0.05


def tls_1_2() -> ssl.SSLContext:
    context = client_context()
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    return context


# -- the peer's end ------------------------------------------------------------------------------------------------


async def late_answer(context: ssl.SSLContext | None = None) -> bytes:
    """What a client gets that says goodbye after its question, from a server that has to think about it."""
    served = Recorder()
    served.keep_open = True
    async with tls_connection(served, context=context) as peer:
        await peer.write(b"question")
        await peer.close_notify()
        await served.until(8)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(served.ended.wait(), 5)
        await asyncio.sleep(SOON)
        served.transport.write(b"answer")
        served.transport.close()
        return await peer.read_to_end()


@pytest.mark.parametrize("context", [client_context(), tls_1_2()], ids=["TLS 1.3", "TLS 1.2"])
def test_an_answer_after_the_peers_close_notify_arrives(ours: Bench, context: ssl.SSLContext) -> None:
    assert ours.run(late_answer(context)) == b"answer"


def test_the_stock_loop_loses_an_answer_after_the_peers_close_notify(stock: Bench) -> None:
    assert stock.run(late_answer()) == b""


async def late_answer_of_streams() -> bytes:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.read()
        await asyncio.sleep(SOON)
        writer.write(b"answer to " + question)
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context())
    async with server:
        with await connected(server.sockets[0].getsockname()) as sock:
            peer = TlsPeer(sock)
            await peer.shake()
            await peer.write(b"question")
            await peer.close_notify()
            return await peer.read_to_end()


def test_streams_can_answer_after_the_peers_end(ours: Bench) -> None:
    assert ours.run(late_answer_of_streams()) == b"answer to question"


def test_streams_of_the_stock_loop_cannot(stock: Bench) -> None:
    assert stock.run(late_answer_of_streams()) == b""


@pytest.mark.parametrize("make", [Recorder, BufferedRecorder])
def test_an_answer_written_at_once_comes_before_the_end_that_arrived_with_the_question(ours: Bench, make: Any) -> None:
    class Answering(make):  # type: ignore[misc]
        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.transport.write(data)

    async def scenario() -> None:
        served = Answering()
        served.keep_open = True
        async with tls_connection(served) as peer:
            peer.tls.ssl_object.write(b"question")
            await peer.close_notify()  # in the same segment
            assert await peer.read(8) == b"question"
            await served.ended.wait()
            assert served.calls == ["made", "data", "eof"]
            served.transport.write(b"more")
            assert await peer.read(4) == b"more"

    ours.run(scenario())


def test_a_protocol_that_does_not_keep_it_open_is_closed_at_the_peers_end(each: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served) as peer:
            await peer.write(b"x")
            await peer.close_notify()
            assert await peer.read_to_end() == b""
            assert peer.tls.closed
            assert await served.lost is None
            assert served.calls == ["made", "data", "eof", "lost"]

    each.run(scenario())
    assert not each.errors


# -- truncation ----------------------------------------------------------------------------------------------------


async def truncated(*, allow: bool | None = None) -> tuple[Recorder, BaseException | None]:
    if allow is not None:
        asyncio.get_running_loop().allow_tls_truncation = allow  # type: ignore[attr-defined]
    served = Recorder()
    async with tls_connection(served) as peer:
        await peer.write(b"half of a mess")
        peer.end_tcp()
        return served, await served.lost


def test_an_end_of_tcp_alone_is_no_end_of_file(ours: Bench) -> None:
    served, lost = ours.run(truncated())
    assert isinstance(lost, ssl.SSLEOFError)
    assert served.received == b"half of a mess"
    assert "eof" not in served.calls


def test_the_stock_loop_takes_a_truncated_stream_for_a_complete_one(stock: Bench) -> None:
    served, lost = stock.run(truncated())
    assert lost is None
    assert served.calls == ["made", "data", "eof", "lost"]


def test_truncation_can_be_allowed_for_the_whole_loop(ours: Bench) -> None:
    served, lost = ours.run(truncated(allow=True))
    assert lost is None
    assert served.calls == ["made", "data", "eof", "lost"]


def test_a_reader_of_a_truncated_stream_gets_an_error(ours: Bench) -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        here, there = tcp_pair()
        loop = asyncio.get_running_loop()
        peer = TlsPeer(here)
        accepting = asyncio.create_task(loop.connect_accepted_socket(lambda: protocol, there, ssl=server_context()))
        await peer.shake()
        await accepting
        peer.end_tcp()
        with pytest.raises(ssl.SSLEOFError):
            await reader.read()
        here.close()

    ours.run(scenario())


def test_a_cut_record_is_truncation_too(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served) as peer:
            peer.tls.ssl_object.write(b"whole")
            peer.tls.ssl_object.write(b"cut")
            await asyncio.get_running_loop().sock_sendall(peer.sock, peer.tls.taken()[:-1])
            peer.end_tcp()
            assert isinstance(await served.lost, ssl.SSLEOFError)
            assert served.received == b"whole"

    ours.run(scenario())


def test_a_damaged_record_ends_the_connection_with_its_cause(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served) as peer:
            peer.tls.ssl_object.write(b"damaged")
            data = bytearray(peer.tls.taken())
            data[-1] ^= 1
            await asyncio.get_running_loop().sock_sendall(peer.sock, data)
            lost = await served.lost
            assert isinstance(lost, ssl.SSLError)
            assert not isinstance(lost, ssl.SSLEOFError)
            with pytest.raises(ssl.SSLError, match=r"(?i)bad.record.mac|record.layer.failure"):  # the alert
                await peer.read_to_end()

    ours.run(scenario())
    assert not ours.errors


# -- our end -------------------------------------------------------------------------------------------------------


def test_after_our_close_notify_the_peers_data_still_arrives(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served) as peer:
            assert served.transport.can_write_eof()
            served.transport.write(b"all")
            served.transport.write_eof()
            assert await peer.read_to_end() == b"all"
            assert peer.tls.closed
            with pytest.raises(RuntimeError, match="write_eof"):
                served.transport.write(b"more")
            await peer.write(b"still here")
            assert await served.until(10) == b"still here"
            await peer.close_notify()
            assert await served.lost is None
            assert served.calls == ["made", "data", "eof", "lost"]

    ours.run(scenario())


def test_over_tls_1_2_our_close_notify_is_sent_but_not_recommended(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served, context=tls_1_2()) as peer:
            assert not served.transport.can_write_eof()
            served.transport.write_eof()
            assert await peer.read_to_end() == b""
            assert peer.tls.closed

    ours.run(scenario())


def test_closing_sends_everything_and_close_notify(each: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        data = bytes(8_000_000)
        async with tls_connection(served) as peer:
            served.transport.write(data)
            served.transport.close()
            assert len(await peer.read_to_end()) == len(data)
            assert peer.tls.closed
            await peer.close_notify()
            assert await served.lost is None

    each.run(scenario())


def test_closing_does_not_wait_for_the_peers_close_notify(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served) as peer:
            served.transport.write(b"bye")
            served.transport.close()
            assert served.transport.is_closing()
            assert await asyncio.wait_for(served.lost, 5) is None
            assert await peer.read_to_end() == b"bye"

    ours.run(scenario())


def test_the_stock_loop_waits_for_the_peers_close_notify(stock: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served):
            served.transport.close()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(served.lost), 0.3)

    stock.run(scenario())


def test_closing_waits_for_the_peers_close_notify_when_asked_to(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served, ssl_shutdown_timeout=20) as peer:
            served.transport.write(b"bye")
            served.transport.close()
            assert served.transport.is_closing()
            assert await peer.read_to_end() == b"bye"
            await asyncio.sleep(SOON)
            assert not served.lost.done()
            await peer.write(b"too late")
            await peer.close_notify()
            assert await asyncio.wait_for(served.lost, 5) is None
            assert not served.received

    ours.run(scenario())


def test_the_wait_for_the_peers_close_notify_is_bounded(each: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served, ssl_shutdown_timeout=0.1) as peer:
            served.transport.close()
            assert isinstance(await asyncio.wait_for(served.lost, 5), TimeoutError)
            assert await peer.read_to_end() == b""

    each.run(scenario())


# -- reading -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Recorder, BufferedRecorder])
def test_nothing_is_delivered_while_reading_is_paused(each: Bench, make: Any) -> None:
    async def scenario() -> None:
        served = make()
        async with tls_connection(served) as peer:
            await peer.write(b"one")
            await served.until(3)
            served.transport.pause_reading()
            await peer.write(b"two")
            await peer.close_notify()
            await asyncio.sleep(SOON)
            assert served.received == b"one"
            assert "eof" not in served.calls
            served.transport.resume_reading()
            await served.until(6)
            await served.ended.wait()

    each.run(scenario())


class PausesEachTime(BufferedRecorder):
    """Stops after each buffer that it was given."""

    def buffer_updated(self, nbytes: int) -> None:
        super().buffer_updated(nbytes)
        self.transport.pause_reading()


def test_a_buffered_protocol_may_pause_in_the_middle_of_a_record(ours: Bench) -> None:
    async def scenario() -> None:
        served = PausesEachTime(100)
        async with tls_connection(served) as peer:
            await peer.write(b"x" * 1000)
            await peer.close_notify()
            for count in range(100, 1001, 100):
                await served.until(count)
                await asyncio.sleep(0)
                assert len(served.received) == count
                assert "eof" not in served.calls
                served.transport.resume_reading()
            await served.ended.wait()

    ours.run(scenario())


def test_a_protocol_may_pause_at_once(each: Bench) -> None:
    class Paused(Recorder):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            self.transport.pause_reading()

    async def scenario() -> None:
        served = Paused()
        async with tls_connection(served, shake=False) as peer:
            while not peer.tls.shake():
                await peer.flush()
                await peer._receive()
            await peer.write(b"with the last of the handshake")
            await served.made
            await asyncio.sleep(SOON)
            assert not served.received
            served.transport.resume_reading()
            await served.until(30)

    each.run(scenario())


# -- writing -------------------------------------------------------------------------------------------------------


def test_the_limits_hold_for_the_whole_stack(ours: Bench) -> None:
    async def scenario() -> None:
        served = Recorder()
        async with tls_connection(served) as peer:
            total = 0
            while "pause" not in served.calls:
                served.transport.write(bytes(16384))
                total += 16384
            waiting = served.transport.get_write_buffer_size()
            low, high = served.transport.get_write_buffer_limits()
            assert high < waiting <= high + 2 * 16384
            assert served.transport._size == waiting  # nothing anywhere else
            assert len(await peer.read(total)) == total
            await served.resumed.wait()
            assert served.transport.get_write_buffer_size() <= low

    ours.run(scenario())
