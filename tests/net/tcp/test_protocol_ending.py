"""Every way to end a connection in callbacks: both ends of file, close, abort, and a peer that breaks it."""

import contextlib
import socket
from typing import Any

import pytest
from helpers.peers import RawClient, eventually, iterations
from helpers.stock import LENGTH, RecordingProtocol, reset_by_peer, stock_server, wire

import proactor_echo as pe

State = pe.ConnectionState


class HalfClosed(RecordingProtocol):
    """Stays open after the peer's end of file."""

    def end_received(self) -> None:
        self.events.append("end")


async def test_the_peer_may_end_first() -> None:
    async with stock_server(lambda: HalfClosed(LENGTH)) as serving:
        async with await RawClient.connect(serving.address) as client:
            client.send_eof()
            await eventually(lambda: serving.made and "end" in serving.only.events)
            protocol = serving.only
            assert protocol.state.value == "peer_eof"
            protocol.send_frame(b"still here")
            assert await client.receive_exactly(14) == wire(b"still here")
            protocol.send_eof()
            assert protocol.state.value == "closing"
            assert await client.receive_all() == b""
        await eventually(lambda: protocol.disconnect)
        assert protocol.events == ["opened", "end", "closed: end of file"]


async def test_we_may_end_first() -> None:
    async with stock_server(lambda: HalfClosed(LENGTH)) as serving:
        async with await RawClient.connect(serving.address) as client:
            protocol = await serving.opened()
            protocol.send_frame(b"last")
            protocol.send_eof()
            protocol.send_eof()
            assert protocol.state is State.OUR_EOF
            assert await client.receive_all() == wire(b"last")
            with pytest.raises(pe.ProtocolStateError, match=r"cannot send after send_eof\(\)"):
                protocol.send_frame(b"more")
        await eventually(lambda: protocol.disconnect)
        assert protocol.events == ["opened", "end", "closed: end of file"]


async def test_frames_are_received_after_our_own_end_of_file() -> None:
    class Deaf(HalfClosed):
        def frame_received(self, frame: bytes) -> None:
            self.frames.append(frame)
            if frame == b"one":
                self.send_frame(b"one and last")
                self.send_eof()

    async with stock_server(lambda: Deaf(LENGTH)) as serving, await RawClient.connect(serving.address) as client:
        await client.send(wire(b"one", b"two"))
        assert await client.receive_all() == wire(b"one and last")
        await client.send(wire(b"three"))
        client.send_eof()
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.frames == [b"one", b"two", b"three"]


async def test_an_end_of_file_is_reported_once_and_the_way_out_stays_open_whatever_back_pressure_does() -> None:
    """Reading resumes after the end of file when the peer reads again, and finds the end of file again."""

    class Late(HalfClosed):
        def end_received(self) -> None:
            super().end_received()
            for _ in range(64):
                self.send_frame(bytes(65536))

    async with stock_server(Late) as serving:
        async with await RawClient.connect(serving.address, receive_buffer=16384) as client:
            client.send_eof()
            await eventually(lambda: serving.made and "end" in serving.only.events)
            assert serving.only.transport.get_write_buffer_size() > 65536
            await client.receive_exactly(64 * 65536)
            await eventually(lambda: serving.only.transport.get_write_buffer_size() == 0)
            await iterations(20)
            assert serving.only.state is State.PEER_EOF
            serving.only.send_frame(b"the end")
            serving.only.close()
            assert await client.receive_all() == b"the end"
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.events == ["opened", "end", "closed: end of file"]


async def test_an_end_of_file_that_comes_while_reading_is_paused_is_reported_once() -> None:
    """The stock proactor transport calls eof_received twice then."""
    async with stock_server(HalfClosed) as serving:
        async with await RawClient.connect(serving.address) as client:
            protocol = await serving.opened()
            protocol.pause_writing()
            await client.send(b"before the end")
            client.send_eof()
            await iterations(20)
            protocol.resume_writing()
            await eventually(lambda: "end" in protocol.events)
            await iterations(20)
            assert protocol.state is State.PEER_EOF
            protocol.send_frame(b" and after it")
            protocol.close()
            assert await client.receive_all() == b"before the end and after it"
        await eventually(lambda: protocol.disconnect)
        assert protocol.events == ["opened", "frame", "end", "closed: end of file"]


@pytest.mark.parametrize("where", ["opened", "frame", "end"])
@pytest.mark.parametrize("how", ["close", "abort"])
async def test_it_can_be_ended_anywhere_and_is_told_nothing_more(where: str, how: str) -> None:
    class Ending(RecordingProtocol):
        def connection_opened(self) -> None:
            super().connection_opened()
            self._end("opened")

        def frame_received(self, frame: bytes) -> None:
            super().frame_received(frame)
            self._end("frame")

        def end_received(self) -> None:
            self.events.append("end")
            self._end("end")

        def _end(self, here: str) -> None:
            if here == where:
                getattr(self, how)()
                getattr(self, how)()

    async with stock_server(lambda: Ending(LENGTH)) as serving:
        async with await RawClient.connect(serving.address) as client:
            with contextlib.suppress(OSError):  # it may be over already
                await client.send(wire(*([b"x"] * (2 if where == "frame" else 1))))
                client.send_eof()
                if how == "close" and where != "opened":
                    assert await client.receive_all() == wire(b"x")
            await eventually(lambda: serving.made and serving.only.disconnect)
        events = {"opened": ["opened"], "frame": ["opened", "frame"], "end": ["opened", "frame", "end"]}[where]
        reason = "aborted here" if how == "abort" else "end of file" if where == "end" else "closed here"
        assert serving.only.events == [*events, f"closed: {reason}"]


async def test_what_the_transport_still_hands_over_after_close_is_nobodys_business() -> None:
    """A stock proactor transport delivers a read that had completed when it was closed."""
    async with stock_server(lambda: pe.EchoProtocol(LENGTH)) as serving, await RawClient.connect(serving.address):
        await serving.opened()
        serving.only.close()
        serving.only.data_received(wire(b"late"))
        serving.only.eof_received()
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.disconnect == (pe.DisconnectReason.LOCAL_CLOSE, None, "closed here")
        assert serving.only.stats.frames_in == 0


async def test_close_sends_all_pending_output_to_a_slow_reader() -> None:
    blob = bytes(range(256)) * 8192  # 2 MiB

    class Giver(RecordingProtocol):
        def connection_opened(self) -> None:
            self.send_frame(blob)
            self.close()

    async with stock_server(Giver) as serving:
        async with await RawClient.connect(serving.address, receive_buffer=16384) as client:
            assert await client.receive_all() == blob
        await eventually(lambda: serving.only.disconnect)
        assert serving.only.events == ["closed: closed here"]


async def test_a_peer_that_takes_none_of_the_pending_output_cannot_hold_up_closing() -> None:
    class Giver(RecordingProtocol):
        close_timeout = 0.05

        def connection_opened(self) -> None:
            self.send_frame(bytes(16 << 20))
            self.close()

    async with stock_server(Giver) as serving, await RawClient.connect(serving.address, receive_buffer=16384):
        await eventually(lambda: serving.made and serving.only.disconnect, within=5)
        assert serving.only.events == ["closed: timed out"]


async def test_a_peer_that_resets_is_reported_as_such() -> None:
    async with stock_server(RecordingProtocol) as serving:
        client = await RawClient.connect(serving.address)
        await client.send(b"x")
        assert await client.receive() == b"x"
        disconnect = await reset_by_peer(serving.only, client)
        assert disconnect.number
        assert serving.only.events[-1] == "closed: reset by peer"
        with pytest.raises(pe.Disconnected) as caught:
            serving.only.send_frame(b"anybody there?")
        assert caught.value.reason is pe.DisconnectReason.PEER_RESET


async def test_ending_a_connection_that_the_peer_just_reset_raises_nothing() -> None:
    """shutdown() fails on a socket that was reset, and the stock transports let that out of write_eof()."""
    async with stock_server(RecordingProtocol) as serving:
        client = await RawClient.connect(serving.address)
        protocol = await serving.opened()
        protocol.transport.pause_reading()
        client.reset()
        await eventually(lambda: _broken(protocol.transport.get_extra_info("socket")))
        protocol.send_eof()
        protocol.transport.resume_reading()
        await eventually(lambda: protocol.disconnect)
        assert protocol.events[0] == "opened"
        assert protocol.events[-1].startswith("closed: ")


def _broken(sock: Any) -> bool:
    try:
        sock.getpeername()
    except OSError:
        return True
    # Windows keeps the peer's name; there the reset has arrived for certain once a failing call says so.
    return hasattr(socket, "SIO_RCVALL")


async def test_a_callback_given_after_the_end_changes_nothing() -> None:
    async with stock_server(RecordingProtocol) as serving:
        client = await RawClient.connect(serving.address)
        client.close()
        await eventually(lambda: serving.made and serving.only.disconnect)
        protocol = serving.only
        events = list(protocol.events)
        protocol.close()
        protocol.abort()
        protocol.send_eof()
        assert protocol.events == events
        assert protocol.state is State.CLOSED
