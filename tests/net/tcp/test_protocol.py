"""FramedProtocol in a plain asyncio server: frames in, frames out, whatever the callbacks do."""

import asyncio
import contextlib
import logging
from typing import Any

import pytest
from helpers.peers import RawClient, eventually
from helpers.stock import LENGTH, RecordingProtocol, Watched, stock_server, wire

import proactor_echo as pe


async def test_frames_come_and_go_on_a_stock_server() -> None:
    async with stock_server(lambda: RecordingProtocol(LENGTH)) as serving:
        async with await RawClient.connect(serving.address) as client:
            await client.send(wire(b"one", b"", b"three"))
            client.send_eof()
            assert await client.receive_all() == wire(b"one", b"", b"three")
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.events == ["opened", "frame", "frame", "frame", "end", "closed: end of file"]
        stats = serving.only.stats
        assert (stats.frames_in, stats.frames_out, stats.bytes_in, stats.bytes_out) == (3, 3, 20, 20)


async def test_frames_come_and_go_on_a_stock_client() -> None:
    async with stock_server(lambda: RecordingProtocol(LENGTH)) as serving:
        loop = asyncio.get_running_loop()
        _, client = await loop.create_connection(lambda: Quiet(LENGTH), *serving.address)
        client.send_frames([b"one", b"two"])
        client.send_frame(b"three")
        await eventually(lambda: len(client.frames) == 3)
        client.close()
        await eventually(lambda: client.disconnect)
        assert client.frames == [b"one", b"two", b"three"]
        assert client.events == ["opened", "frame", "frame", "frame", "closed: closed here"]


class Quiet(RecordingProtocol):
    """Does not answer."""

    def frame_received(self, frame: bytes) -> None:
        self.events.append("frame")
        self.frames.append(frame)


async def test_the_codec_may_stand_in_the_class() -> None:
    class Lines(RecordingProtocol):
        codec = pe.LineCodec()

    async with stock_server(Lines) as serving, await RawClient.connect(serving.address) as client:
        await client.send(b"one\r\ntwo\nrest")
        await eventually(lambda: len(serving.made) == 1 and len(serving.only.frames) == 2)
        assert serving.only.frames == [b"one", b"two"]
        assert not serving.only.idle


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
async def test_payloads_of_every_bytes_type_are_sent(kind: Any) -> None:
    class Greeter(Quiet):
        def connection_opened(self) -> None:
            self.send_frame(kind(b"one"))
            self.send_frames([kind(b"two"), kind(b"three")])
            self.close()

    async with stock_server(lambda: Greeter(LENGTH)) as serving, await RawClient.connect(serving.address) as client:
        assert await client.receive_all() == wire(b"one", b"two", b"three")


async def test_a_payload_may_be_changed_once_it_was_sent() -> None:
    class Greeter(Quiet):
        def connection_opened(self) -> None:
            payload = bytearray(b"first")
            for text in (b"first", b"again"):
                payload[:] = text
                self.send_frame(payload)
            self.close()

    async with stock_server(Greeter) as serving, await RawClient.connect(serving.address) as client:
        assert await client.receive_all() == b"firstagain"


async def test_a_read_that_comes_as_a_bytearray_is_handed_over_as_bytes() -> None:
    """The proactor transport of Python 3.11 hands a slice of its own buffer over (gh-99941)."""
    async with stock_server(Quiet) as serving, await RawClient.connect(serving.address):
        await serving.opened()
        piece = bytearray(b"piece")
        serving.only.data_received(piece)  # type: ignore[arg-type]
        piece[:] = b"other"
        assert serving.only.frames == [b"piece"]
        assert type(serving.only.frames[0]) is bytes


async def test_frames_before_a_framing_error_are_delivered_and_answered(caplog: pytest.LogCaptureFixture) -> None:
    async with stock_server(lambda: RecordingProtocol(pe.LengthCodec(max_frame_length=10))) as serving:
        async with await RawClient.connect(serving.address) as client:
            await client.send(wire(b"one", b"two") + b"\0\0\0\x0b")
            assert await client.receive_all() == wire(b"one", b"two")
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.events == ["opened", "frame", "frame", "closed: bad framing"]
        loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(loud) == 1
        assert "a frame of 11 bytes is over the limit of 10" in loud[0].getMessage()


async def test_a_stream_that_ends_inside_a_frame_is_a_framing_error() -> None:
    async with stock_server(lambda: RecordingProtocol(LENGTH)) as serving:
        async with await RawClient.connect(serving.address) as client:
            await client.send(wire(b"one") + b"\0\0")
            client.send_eof()
            assert await client.receive_all() == wire(b"one")
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.events == ["opened", "frame", "closed: bad framing"]


async def test_a_partial_line_is_delivered_before_the_end_when_the_codec_says_so() -> None:
    async with stock_server(lambda: RecordingProtocol(pe.LineCodec(partial="deliver"))) as serving:
        async with await RawClient.connect(serving.address) as client:
            await client.send(b"whole\nhalf")
            client.send_eof()
            await client.receive_all()
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.frames == [b"whole", b"half"]
        assert serving.only.events[-2:] == ["end", "closed: end of file"]


async def test_frames_sent_in_one_callback_leave_in_one_write_and_in_order() -> None:
    class Talker(Watched, RecordingProtocol):
        def frame_received(self, frame: bytes) -> None:
            self.send_frame(frame)
            self.send_frames([b"x", b"y"])
            self.send_frame(b"z")

    async with stock_server(lambda: Talker(LENGTH)) as serving, await RawClient.connect(serving.address) as client:
        await client.send(wire(b"a", b"b"))
        expected = wire(b"a", b"x", b"y", b"z", b"b", b"x", b"y", b"z")
        assert await client.receive_exactly(len(expected)) == expected
        assert serving.only.writes == [expected]


async def test_a_frame_sent_outside_a_callback_leaves_at_once() -> None:
    class Talker(Watched, RecordingProtocol):
        pass

    async with stock_server(lambda: Talker(LENGTH)) as serving, await RawClient.connect(serving.address):
        protocol = await serving.opened()
        protocol.send_frame(b"now")
        assert protocol.writes == [wire(b"now")]


async def test_a_frame_that_the_codec_cannot_carry_is_refused_and_nothing_is_sent() -> None:
    codec = pe.LengthCodec(max_frame_length=3)
    async with (
        stock_server(lambda: RecordingProtocol(codec)) as serving,
        await RawClient.connect(serving.address) as client,
    ):
        protocol = await serving.opened()
        with pytest.raises(pe.FrameTooLong):
            protocol.send_frame(b"four")
        with pytest.raises(pe.FrameTooLong):
            protocol.send_frames([b"ok", b"four"])
        protocol.send_frame(b"yes")
        protocol.close()
        assert await client.receive_all() == wire(b"yes")
        assert protocol.stats.frames_out == 1


async def test_the_peer_and_our_own_address_are_known() -> None:
    async with stock_server(RecordingProtocol) as serving, await RawClient.connect(serving.address) as client:
        await serving.opened()
        assert serving.only.peer == pe.format_address(client.sock.getsockname())
        assert serving.only.local == pe.format_address(serving.address)


async def test_a_protocol_without_a_connection_says_so() -> None:
    protocol = RecordingProtocol()
    assert protocol.state is pe.ConnectionState.OPENING
    assert protocol.peer == protocol.local == ""
    assert protocol.idle
    with pytest.raises(pe.ProtocolStateError, match="opening"):
        protocol.send_frame(b"early")
    with pytest.raises(pe.ProtocolStateError, match="opening"):
        protocol.send_eof()


@pytest.mark.parametrize("end", ["close", "abort", "reset"])
async def test_a_protocol_ended_before_it_was_connected_ends_its_connection_when_it_comes(end: str) -> None:
    def ended() -> RecordingProtocol:
        protocol = RecordingProtocol()
        getattr(protocol, end)()
        assert protocol.state is pe.ConnectionState.CLOSED
        return protocol

    async with stock_server(ended) as serving, await RawClient.connect(serving.address) as client:
        with suppress_reset():
            assert await client.receive_all() == b""
        await eventually(lambda: serving.only.disconnect)
        reason = "closed here" if end == "close" else "aborted here"
        assert serving.only.events == [f"closed: {reason}"]


def suppress_reset() -> contextlib.AbstractContextManager[None]:
    return contextlib.suppress(ConnectionError)


@pytest.mark.parametrize("limit", [(1, 2), (-1, -2), (10, -1)])
def test_write_limits_that_make_no_sense_are_refused_when_they_are_given(limit: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="write_limit"):
        RecordingProtocol(write_limit=limit)


async def test_write_limits_reach_the_transport() -> None:
    limits = (4000, 2000)
    async with (
        stock_server(lambda: RecordingProtocol(write_limit=limits)) as serving,
        await RawClient.connect(serving.address),
    ):
        protocol = await serving.opened()
        assert protocol.transport.get_write_buffer_limits() == (2000, 4000)
