"""What goes wrong in the code that serves a connection costs that connection and one log record, nothing else."""

import asyncio
import contextlib
import logging
from collections.abc import Callable

import pytest
from helpers.peers import RawClient, eventually
from helpers.stock import RecordingProtocol, stock_server

import proactor_echo as pe

LENGTH = pe.LengthCodec()


class Opening(RecordingProtocol):
    def connection_opened(self) -> None:
        super().connection_opened()
        raise self.error

    error: BaseException


class OneFrame(RecordingProtocol):
    def frame_received(self, frame: bytes) -> None:
        raise self.error

    error: BaseException


class Batch(RecordingProtocol):
    def frames_received(self, frames: list[bytes]) -> None:
        raise self.error

    error: BaseException


class Ending(RecordingProtocol):
    def end_received(self) -> None:
        raise self.error

    error: BaseException


class Closing(RecordingProtocol):
    def connection_closed(self, disconnect: pe.Disconnect) -> None:
        super().connection_closed(disconnect)
        raise self.error

    error: BaseException


@pytest.mark.parametrize("mistake", [ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.parametrize("kind", [Opening, OneFrame, Batch, Ending, Closing])
async def test_an_exception_in_a_callback_ends_that_connection_with_one_record(
    kind: type[RecordingProtocol], mistake: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    error = mistake("made on purpose")
    failing = type("Failing", (kind,), {"error": error})
    kinds = [RecordingProtocol, failing]
    async with stock_server(lambda: kinds.pop(0)(LENGTH)) as serving:
        async with await RawClient.connect(serving.address) as honest:
            await honest.send(LENGTH.encode(b"before"))
            assert await honest.receive_exactly(10) == LENGTH.encode(b"before")
            client = await RawClient.connect(serving.address)
            with contextlib.suppress(OSError):  # it may be over already
                await client.send(LENGTH.encode_many([b"one", b"two"]))
                client.send_eof()
            await eventually(lambda: len(serving.made) == 2 and serving.made[1].disconnect)
            client.close()
            await honest.send(LENGTH.encode(b"still"))
            assert await honest.receive_exactly(9) == LENGTH.encode(b"still")
        failed = serving.made[1]
        assert failed.state is pe.ConnectionState.CLOSED
        assert failed.disconnect is not None
        if kind is not Closing:
            assert failed.disconnect.reason is pe.DisconnectReason.HANDLER_FAILED
            assert failed.events[-1] == "closed: handler failed"
        loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(loud) == 1
        assert loud[0].exc_info is not None
        assert loud[0].exc_info[1] is error
        assert loud[0].name.startswith("proactor_echo")


class BadDecoder(pe.Decoder):
    def __init__(self, fails: Callable[[bytes], bool]) -> None:
        super().__init__()
        self.fails = fails

    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        frames.append(data)
        if self.fails(data):
            raise IndexError("a mistake in somebody's decoder")

    def decode_end(self, frames: list[bytes]) -> None:
        if self.fails(b""):
            raise IndexError("a mistake in somebody's decoder")


class BadCodec(pe.Codec):
    def __init__(self, fails: Callable[[bytes], bool]) -> None:
        self.fails = fails

    def encode(self, payload: bytes | bytearray | memoryview) -> bytes:
        return bytes(payload)

    def decoder(self) -> pe.Decoder:
        return BadDecoder(self.fails)


@pytest.mark.parametrize("fails", [lambda data: data == b"bad", lambda data: not data], ids=["feed", "eof"])
async def test_a_mistake_in_a_codec_ends_that_connection_with_one_record(
    fails: Callable[[bytes], bool], caplog: pytest.LogCaptureFixture
) -> None:
    async with stock_server(lambda: RecordingProtocol(BadCodec(fails))) as serving:
        async with await RawClient.connect(serving.address) as client:
            with contextlib.suppress(OSError):  # it may be over already
                await client.send(b"bad")
                client.send_eof()
            await eventually(lambda: serving.made and serving.only.disconnect)
        assert serving.only.events[-1] == "closed: handler failed"
        loud = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert [record.exc_info[0] for record in loud if record.exc_info] == [IndexError]


async def test_what_was_sent_before_the_exception_is_dropped_with_the_connection() -> None:
    class Half(RecordingProtocol):
        def frame_received(self, frame: bytes) -> None:
            self.send_frame(b"half an answer")
            raise ZeroDivisionError

    async with stock_server(lambda: Half(LENGTH)) as serving, await RawClient.connect(serving.address) as client:
        await client.send(LENGTH.encode(b"question"))
        with pytest.raises(ConnectionError):
            raise ConnectionResetError(await client.receive_all())
        await eventually(lambda: serving.only.disconnect)


@pytest.mark.parametrize("reading", [True, False])
async def test_writing_on_after_the_connection_broke_is_quiet(reading: bool, caplog: pytest.LogCaptureFixture) -> None:
    """asyncio warns "socket.send() raised exception" from the fifth write on."""
    async with stock_server(RecordingProtocol) as serving:
        client = await RawClient.connect(serving.address)
        protocol = await serving.opened()
        if not reading:
            protocol.transport.pause_reading()
        client.reset()
        async with asyncio.timeout(10):
            while protocol.disconnect is None:
                for _ in range(20):
                    try:
                        protocol.send_frame(b"anybody there?")
                    except (pe.Disconnected, pe.ProtocolStateError):
                        break
                await asyncio.sleep(0)
        with pytest.raises(pe.Disconnected):
            protocol.send_frame(b"too late")
        assert not [record for record in caplog.records if record.name == "asyncio" and record.levelno >= 30]
