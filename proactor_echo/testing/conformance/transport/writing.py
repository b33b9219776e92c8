"""Requirements about writing to a stream: everything arrives, and a peer that does not read is felt."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

import asyncio
from typing import Any, Final

from proactor_echo.testing.conformance.transport.harness import Harness, RequirementFailed, bytes_to_send
from proactor_echo.testing.conformance.transport.reading import expect_events

__all__ = ["WRITING"]

#: Bytes after which writing to a peer that does not read should long have been paused.
_MOST: Final = 8 << 20


async def written_bytes_arrive_whole_and_in_order(harness: Harness) -> None:
    """Bytes, bytearrays, memoryviews and lists of them, small and large."""
    transport, peer = await harness.open(harness.recorder())
    data = bytes_to_send(300_000)
    reading = asyncio.ensure_future(peer.receive(len(data)))
    place = 0
    for number, size in enumerate([1, 10, 1000, 70_000] * 4):
        piece = data[place : place + size]
        place += size
        if number % 4 == 3:
            transport.writelines([piece[:9], bytearray(piece[9:500]), memoryview(piece)[500:]])
        else:
            transport.write((bytes, bytearray, memoryview)[number % 3](piece))
    transport.write(data[place:])
    if await reading != data:
        raise RequirementFailed("what the peer received is not what was written")


async def a_large_write_arrives_whole(harness: Harness) -> None:
    """One write, far more than the system takes at once."""
    transport, peer = await harness.open(harness.recorder(), small=True)
    data = bytes_to_send(8 << 20)
    transport.write(data)
    if await peer.receive(len(data)) != data:
        raise RequirementFailed("what the peer received is not what was written")


async def writing_nothing_sends_nothing(harness: Harness) -> None:
    """An empty write is no end of file and no error."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)
    transport.write(b"")
    transport.writelines([])
    transport.writelines([b"", b""])
    transport.write(b"x")
    if await peer.receive(1) != b"x":
        raise RequirementFailed("what the peer received is not what was written")
    expect_events(recorder.events, "made")


async def what_is_not_bytes_cannot_be_written(harness: Harness) -> None:
    """TypeError at once, and the connection goes on."""
    transport, peer = await harness.open(harness.recorder())
    wrong: Any
    for wrong in ("text", 5, None):
        try:
            transport.write(wrong)
        except TypeError:
            continue
        raise RequirementFailed(f"write({wrong!r}) did not raise TypeError")
    transport.write(b"x")
    await peer.receive(1)


async def writing_is_paused_when_the_buffer_is_full_and_resumed_when_it_is_not(harness: Harness) -> None:
    """pause_writing above the high mark, resume_writing at the low one, in turn, and nothing is lost."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    transport.set_write_buffer_limits(high=1 << 17, low=1 << 14)
    piece = bytes_to_send(1 << 16)
    written = pauses = 0
    while not pauses or recorder.events[-1] == "resume":  # the system may have room again, though nobody reads
        pauses += 1
        harness.waiting_for = "pause_writing"
        while recorder.events.count("pause") < pauses:
            if written > _MOST:
                raise RequirementFailed(f"pause_writing was not called after {written:,} bytes that nobody read")
            transport.write(piece)
            written += len(piece)
            size = transport.get_write_buffer_size()
            if recorder.events.count("pause") < pauses:
                await asyncio.sleep(0)
        if size <= 1 << 17:
            raise RequirementFailed(f"paused with {size:,} bytes, below the high mark of {1 << 17:,}")
        transport.write(piece)
        written += len(piece)
        await harness.settle()
    events = ["made", *["pause", "resume"] * pauses]
    expect_events(recorder.events, *events[:-1])
    received = await peer.receive(written)
    await harness.wait(lambda: len(recorder.events) == len(events), "resume_writing")
    expect_events(recorder.events, *events)
    await harness.settle()
    if size := transport.get_write_buffer_size():
        raise RequirementFailed(f"everything was received, and get_write_buffer_size() is {size:,}")
    if received != piece * (written // len(piece)):
        raise RequirementFailed("what the peer received is not what was written")


async def write_buffer_limits_are_what_they_were_set_to(harness: Harness) -> None:
    """(low, high); low is a quarter of high unless given; (0, 0) is allowed, low above high is not."""
    transport, _ = await harness.open(harness.recorder())
    for options, expected in (
        ({"high": 4000}, (1000, 4000)),
        ({"high": 4000, "low": 1}, (1, 4000)),
        ({"high": 0}, (0, 0)),
    ):
        transport.set_write_buffer_limits(**options)
        if (limits := transport.get_write_buffer_limits()) != expected:
            raise RequirementFailed(f"after set_write_buffer_limits({options}) the limits are {limits}, not {expected}")
    try:
        transport.set_write_buffer_limits(high=1, low=2)
    except ValueError:
        return
    raise RequirementFailed("set_write_buffer_limits(high=1, low=2) did not raise ValueError")


async def with_a_high_mark_of_0_writing_is_paused_by_any_byte_left(harness: Harness) -> None:
    """And resumed when the buffer is empty."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    transport.set_write_buffer_limits(high=0)
    written = await harness.fill(transport)
    if "pause" not in recorder.events:
        raise RequirementFailed(f"pause_writing was not called after {written:,} bytes that nobody read")
    await peer.receive(written)
    await harness.wait(lambda: recorder.events[-1] == "resume", "resume_writing")
    expect_events(recorder.events, "made", *["pause", "resume"] * recorder.events.count("pause"))


async def write_eof_sends_the_rest_then_the_end_and_reading_goes_on(harness: Harness) -> None:
    """The peer's answer still comes; writing again is a RuntimeError."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    if not transport.can_write_eof():
        raise RequirementFailed("can_write_eof() is false")
    data = bytes_to_send(1 << 20)
    transport.write(data)
    transport.write_eof()
    transport.write_eof()
    try:
        transport.write(b"too late")
    except RuntimeError:
        pass
    else:
        raise RequirementFailed("write() after write_eof() did not raise RuntimeError")
    if await peer.receive_all() != data:
        raise RequirementFailed("what the peer received before the end is not what was written")
    await peer.send(b"answer")
    peer.end()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    expect_events([word for word in recorder.events if word not in ("pause", "resume")], "made", "data", "eof", "lost")
    if recorder.data != b"answer":
        raise RequirementFailed(f"data_received got {bytes(recorder.data)!r} after write_eof()")


async def writing_works_from_every_callback(harness: Harness) -> None:
    """connection_made, data_received and eof_received."""
    recorder = harness.recorder()
    recorder.on_made = lambda: recorder.transport.write(b"hello ")
    recorder.on_data = lambda: recorder.transport.write(b"thanks ")
    recorder.on_eof = lambda: recorder.transport.write(b"bye")
    _, peer = await harness.open(recorder)
    await peer.receive(6)
    await peer.send(b"data")
    await peer.receive(7)
    peer.end()
    if (last := await peer.receive_all()) != b"bye":
        raise RequirementFailed(f"written in eof_received: b'bye'; the peer received {last!r}")


WRITING: Final = (
    written_bytes_arrive_whole_and_in_order,
    a_large_write_arrives_whole,
    writing_nothing_sends_nothing,
    what_is_not_bytes_cannot_be_written,
    writing_is_paused_when_the_buffer_is_full_and_resumed_when_it_is_not,
    write_buffer_limits_are_what_they_were_set_to,
    with_a_high_mark_of_0_writing_is_paused_by_any_byte_left,
    write_eof_sends_the_rest_then_the_end_and_reading_goes_on,
    writing_works_from_every_callback,
)
