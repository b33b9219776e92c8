"""Requirements about reading from a stream: which callbacks the protocol gets, in which order, and when none."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Final

from proactor_echo.testing.conformance.transport.harness import (
    Harness,
    NotObservable,
    RequirementFailed,
    bytes_to_send,
    resets_are_shown,
)
from proactor_echo.testing.conformance.transport.recorders import BufferedRecorder, Recorder

__all__ = ["READING", "expect_events", "expect_reset"]

_VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("_VARIABLE", default="outside")


def expect_events(events: list[str], *expected: str) -> None:
    """Compare the events that a protocol got. Raises RequirementFailed."""
    if events != list(expected):
        raise RequirementFailed(f"the protocol should get {', '.join(expected)}, not {', '.join(events)}")


def expect_reset(recorder: Recorder) -> None:
    """A reset is connection_lost with the error and no end of file. Raises RequirementFailed, or NotObservable."""
    events = [word for word in recorder.events if word != "pause"]
    if "eof" in events and not resets_are_shown():
        raise NotObservable("this system shows a reset as an end of file, to plain sockets too")
    expect_events(events, "made", "lost")
    if not isinstance(recorder.exception, OSError):
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not the system's error")


async def connection_made_comes_first_and_once(harness: Harness) -> None:
    """What came before the protocol existed comes after connection_made too."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, first=b"early ")
    await peer.send(b"late")
    await harness.wait(lambda: recorder.data == b"early late", "data_received with all bytes")
    expect_events(recorder.events, "made", "data")
    if recorder.transport is not transport:
        raise RequirementFailed("connection_made got another transport than create_connection returned")


async def data_received_gets_bytes(harness: Harness) -> None:
    """Not a bytearray, which the next read could change."""
    recorder = harness.recorder()
    _, peer = await harness.open(recorder)
    await peer.send(b"data")
    await harness.wait(lambda: len(recorder.data) == 4, "data_received")
    if recorder.kinds != {bytes}:
        raise RequirementFailed(
            f"data_received got {', '.join(kind.__name__ for kind in recorder.kinds)} and not bytes"
        )


async def received_bytes_are_whole_and_in_order(harness: Harness) -> None:
    """Whatever the pieces are."""
    recorder = harness.recorder()
    _, peer = await harness.open(recorder)
    data = bytes_to_send(4 << 20)
    await peer.send(data)
    await harness.wait(lambda: len(recorder.data) >= len(data), f"data_received with {len(data):,} bytes")
    if recorder.data != data:
        raise RequirementFailed("what data_received got is not what the peer sent")


async def end_of_file_is_told_once_then_connection_lost(harness: Harness) -> None:
    """An eof_received that returns None or False closes the transport."""
    recorder = harness.recorder()
    _, peer = await harness.open(recorder)
    await peer.send(b"last")
    peer.end()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    await harness.settle()
    expect_events(recorder.events, "made", "data", "eof", "lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")
    await peer.receive_all()


async def eof_received_that_returns_true_leaves_writing_open(harness: Harness) -> None:
    """A half-closed connection is the protocol's to close."""
    recorder = harness.recorder(keep_open=True)
    transport, peer = await harness.open(recorder)
    peer.end()
    await harness.wait(lambda: "eof" in recorder.events, "eof_received")
    await harness.settle()
    if transport.is_closing():
        raise RequirementFailed("the transport is closing, though eof_received returned True")
    transport.write(b"later")
    transport.close()
    if await peer.receive_all() != b"later":
        raise RequirementFailed("what was written after the end of file did not arrive")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    expect_events(recorder.events, "made", "eof", "lost")


async def no_data_while_reading_is_paused(harness: Harness) -> None:
    """pause_reading holds from now on, also for what is on its way; resume_reading brings it."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)
    transport.pause_reading()
    if transport.is_reading():
        raise RequirementFailed("is_reading() is true after pause_reading()")
    await peer.send(b"held back")
    await harness.settle()
    expect_events(recorder.events, "made")
    transport.resume_reading()
    await harness.wait(lambda: recorder.data == b"held back", "data_received after resume_reading")
    if not transport.is_reading():
        raise RequirementFailed("is_reading() is false after resume_reading()")


async def reading_can_be_paused_in_connection_made(harness: Harness) -> None:
    """Before anything was read."""
    recorder = harness.recorder()
    recorder.on_made = lambda: recorder.transport.pause_reading()  # noqa: PLW0108 (there is no transport yet)
    transport, _ = await harness.open(recorder, first=b"early")
    await harness.settle()
    expect_events(recorder.events, "made")
    transport.resume_reading()
    await harness.wait(lambda: recorder.data == b"early", "data_received after resume_reading")


async def pausing_and_resuming_again_and_again_changes_nothing(harness: Harness) -> None:
    """Twice in a row is allowed, and every byte comes in its order however often reading is paused."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)

    def pause() -> None:
        transport.pause_reading()
        transport.pause_reading()
        harness.loop.call_soon(transport.resume_reading)
        harness.loop.call_soon(transport.resume_reading)

    recorder.on_data = pause
    data = bytes_to_send(1 << 20)
    await peer.send(data)
    await harness.wait(lambda: len(recorder.data) >= len(data), f"data_received with {len(data):,} bytes")
    if recorder.data != data:
        raise RequirementFailed("what data_received got is not what the peer sent")


async def end_of_file_while_reading_is_paused_is_told_once_and_after_the_data(harness: Harness) -> None:
    """eof_received may come at once or after resume_reading, but not both."""
    for data in (b"", b"before the end"):
        recorder = harness.recorder()
        transport, peer = await harness.open(recorder)
        await harness.settle()  # a read is pending now
        transport.pause_reading()
        if data:
            await peer.send(data)
        peer.end()
        await harness.settle()
        if not transport.is_closing():
            transport.resume_reading()
        await harness.wait(lambda recorder=recorder: "lost" in recorder.events, "connection_lost")  # type: ignore[misc]
        await harness.settle()
        expect_events(recorder.events, "made", *(["data"] if data else []), "eof", "lost")


async def a_reset_is_connection_lost_with_the_error(harness: Harness) -> None:
    """And no end of file."""
    recorder = harness.recorder()
    _, peer = await harness.open(recorder)
    await harness.settle()
    peer.reset()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    await harness.settle()
    expect_reset(recorder)


async def a_buffered_protocol_is_received_into(harness: Harness) -> None:
    """Whatever the size of its buffers; then eof_received."""
    for size, buffer in ((10_000, 7), (1 << 20, 1 << 16)):
        recorder = harness.recorder(BufferedRecorder, size=buffer)
        _, peer = await harness.open(recorder)
        data = bytes_to_send(size)
        await peer.send(data)
        peer.end()
        await harness.wait(lambda recorder=recorder: "lost" in recorder.events, "connection_lost")  # type: ignore[misc]
        expect_events(recorder.events, "made", "data", "eof", "lost")
        if recorder.data != data:
            raise RequirementFailed(f"what came into buffers of {buffer} bytes is not what the peer sent")


async def set_protocol_takes_effect_at_once(harness: Harness) -> None:
    """From one data_received to the next, to a protocol of either kind; the last one gets connection_lost."""
    kinds: tuple[Callable[..., Recorder | BufferedRecorder], ...] = (Recorder, BufferedRecorder)
    for kind in kinds:
        first, second = harness.recorder(), harness.recorder(kind)
        transport, peer = await harness.open(first)
        first.on_data = lambda transport=transport, second=second: transport.set_protocol(second)
        await peer.send(b"one")
        await harness.wait(lambda first=first: first.data, "data_received")  # type: ignore[misc]
        if [transport.get_protocol()] != [second]:
            raise RequirementFailed("get_protocol() is not what set_protocol() was given")
        await peer.send(b"two")
        await harness.wait(lambda second=second: second.data, "data_received of the new protocol")  # type: ignore[misc]
        peer.end()
        await harness.wait(lambda second=second: "lost" in second.events, "connection_lost of the new one")  # type: ignore[misc]
        expect_events(first.events, "made", "data")
        expect_events(second.events, "data", "eof", "lost")
        if first.data != b"one" or second.data != b"two":
            raise RequirementFailed(f"the protocols got {bytes(first.data)!r} and {bytes(second.data)!r}")


async def an_exception_in_data_received_ends_that_connection_alone(harness: Harness) -> None:
    """The loop's exception handler is called."""
    bad, good = harness.recorder(), harness.recorder()
    _, bad_peer = await harness.open(bad)
    _, good_peer = await harness.open(good)

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    bad.on_data = fail
    await bad_peer.send(b"bad")
    await harness.take_report("on purpose")
    await harness.wait(lambda: "lost" in bad.events, "connection_lost")
    await good_peer.send(b"good")
    await harness.wait(lambda: good.data == b"good", "data_received on another connection")
    expect_events(bad.events, "made", "data", "lost")


async def callbacks_run_in_the_context_that_opened_the_connection(harness: Harness) -> None:
    """So that a contextvar set before is seen in them."""
    recorder = harness.recorder()
    seen: list[str] = []
    recorder.on_made = recorder.on_data = lambda: seen.append(_VARIABLE.get())

    async def opening() -> object:
        _VARIABLE.set("inside")
        return await harness.open(recorder, first=b"data")

    # In a task, whose context is its own.
    opened = await asyncio.create_task(opening())
    await harness.wait(lambda: recorder.data, "data_received")
    if set(seen) != {"inside"} or not opened:
        raise RequirementFailed(f"the variable was {seen} in the callbacks")


READING: Final = (
    connection_made_comes_first_and_once,
    data_received_gets_bytes,
    received_bytes_are_whole_and_in_order,
    end_of_file_is_told_once_then_connection_lost,
    eof_received_that_returns_true_leaves_writing_open,
    no_data_while_reading_is_paused,
    reading_can_be_paused_in_connection_made,
    pausing_and_resuming_again_and_again_changes_nothing,
    end_of_file_while_reading_is_paused_is_told_once_and_after_the_data,
    a_reset_is_connection_lost_with_the_error,
    a_buffered_protocol_is_received_into,
    set_protocol_takes_effect_at_once,
    an_exception_in_data_received_ends_that_connection_alone,
    callbacks_run_in_the_context_that_opened_the_connection,
)
