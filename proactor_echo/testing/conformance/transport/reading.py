"""Requirements about reading from a stream: what the protocol is told, in which order, and when it is not told."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

import asyncio
import contextvars
from typing import Final

from proactor_echo.testing.conformance.transport.harness import (
    RequirementFailed,
    Stage,
    Untold,
    bytes_to_send,
    resets_are_shown,
)
from proactor_echo.testing.conformance.transport.recorders import BufferedRecorder, Recorder

__all__ = ["READING", "expect_reset", "expect_told"]

_VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("_VARIABLE", default="outside")


def expect_told(told: list[str], *expected: str) -> None:
    """Compare what a protocol was told. Raises RequirementFailed."""
    if told != list(expected):
        raise RequirementFailed(f"the protocol should be told {', '.join(expected)}, not {', '.join(told)}")


def expect_reset(recorder: Recorder) -> None:
    """A reset is connection_lost with the error and no end of file. Raises RequirementFailed, or Untold."""
    told = [word for word in recorder.told if word != "pause"]
    if "eof" in told and not resets_are_shown():
        raise Untold("this system shows a reset as an end of file, to plain sockets too")
    expect_told(told, "made", "lost")
    if not isinstance(recorder.exception, OSError):
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not the system's error")


async def connection_made_comes_first_and_once(stage: Stage) -> None:
    """What came before the protocol existed comes after connection_made too."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder, first=b"early ")
    await peer.send(b"late")
    await stage.wait(lambda: recorder.data == b"early late", "data_received with all bytes")
    expect_told(recorder.told, "made", "data")
    if recorder.transport is not transport:
        raise RequirementFailed("connection_made got another transport than create_connection returned")


async def data_received_gets_bytes(stage: Stage) -> None:
    """Not a bytearray, which the next read could change."""
    recorder = stage.recorder()
    _, peer = await stage.open(recorder)
    await peer.send(b"data")
    await stage.wait(lambda: len(recorder.data) == 4, "data_received")
    if recorder.kinds != {bytes}:
        raise RequirementFailed(
            f"data_received got {', '.join(kind.__name__ for kind in recorder.kinds)} and not bytes"
        )


async def received_bytes_are_whole_and_in_order(stage: Stage) -> None:
    """Whatever the pieces are."""
    recorder = stage.recorder()
    _, peer = await stage.open(recorder)
    data = bytes_to_send(4 << 20)
    await peer.send(data)
    await stage.wait(lambda: len(recorder.data) >= len(data), f"data_received with {len(data):,} bytes")
    if recorder.data != data:
        raise RequirementFailed("what data_received got is not what the peer sent")


async def end_of_file_is_told_once_then_connection_lost(stage: Stage) -> None:
    """An eof_received that returns None or False closes the transport."""
    recorder = stage.recorder()
    _, peer = await stage.open(recorder)
    await peer.send(b"last")
    peer.end()
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    await stage.passing()
    expect_told(recorder.told, "made", "data", "eof", "lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")
    await peer.receive_all()


async def eof_received_that_returns_true_leaves_writing_open(stage: Stage) -> None:
    """A half-closed connection is the protocol's to close."""
    recorder = stage.recorder(keep_open=True)
    transport, peer = await stage.open(recorder)
    peer.end()
    await stage.wait(lambda: "eof" in recorder.told, "eof_received")
    await stage.passing()
    if transport.is_closing():
        raise RequirementFailed("the transport is closing, though eof_received returned True")
    transport.write(b"later")
    transport.close()
    if await peer.receive_all() != b"later":
        raise RequirementFailed("what was written after the end of file did not arrive")
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    expect_told(recorder.told, "made", "eof", "lost")


async def no_data_while_reading_is_paused(stage: Stage) -> None:
    """pause_reading holds from now on, also for what is on its way; resume_reading brings it."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder)
    transport.pause_reading()
    if transport.is_reading():
        raise RequirementFailed("is_reading() is true after pause_reading()")
    await peer.send(b"held back")
    await stage.passing()
    expect_told(recorder.told, "made")
    transport.resume_reading()
    await stage.wait(lambda: recorder.data == b"held back", "data_received after resume_reading")
    if not transport.is_reading():
        raise RequirementFailed("is_reading() is false after resume_reading()")


async def reading_can_be_paused_in_connection_made(stage: Stage) -> None:
    """Before anything was read."""
    recorder = stage.recorder()
    recorder.on_made = lambda: recorder.transport.pause_reading()  # noqa: PLW0108 (there is no transport yet)
    transport, _ = await stage.open(recorder, first=b"early")
    await stage.passing()
    expect_told(recorder.told, "made")
    transport.resume_reading()
    await stage.wait(lambda: recorder.data == b"early", "data_received after resume_reading")


async def pausing_and_resuming_again_and_again_changes_nothing(stage: Stage) -> None:
    """Twice in a row is allowed, and every byte comes in its order however often reading is paused."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder)

    def pause() -> None:
        transport.pause_reading()
        transport.pause_reading()
        stage.loop.call_soon(transport.resume_reading)
        stage.loop.call_soon(transport.resume_reading)

    recorder.on_data = pause
    data = bytes_to_send(1 << 20)
    await peer.send(data)
    await stage.wait(lambda: len(recorder.data) >= len(data), f"data_received with {len(data):,} bytes")
    if recorder.data != data:
        raise RequirementFailed("what data_received got is not what the peer sent")


async def end_of_file_while_reading_is_paused_is_told_once_and_after_the_data(stage: Stage) -> None:
    """It may be told at once or after resume_reading, but not both."""
    for data in (b"", b"before the end"):
        recorder = stage.recorder()
        transport, peer = await stage.open(recorder)
        await stage.passing()  # a read is pending now
        transport.pause_reading()
        if data:
            await peer.send(data)
        peer.end()
        await stage.passing()
        if not transport.is_closing():
            transport.resume_reading()
        await stage.wait(lambda recorder=recorder: "lost" in recorder.told, "connection_lost")  # type: ignore[misc]
        await stage.passing()
        expect_told(recorder.told, "made", *(["data"] if data else []), "eof", "lost")


async def a_reset_is_connection_lost_with_the_error(stage: Stage) -> None:
    """And no end of file."""
    recorder = stage.recorder()
    _, peer = await stage.open(recorder)
    await stage.passing()
    peer.reset()
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    await stage.passing()
    expect_reset(recorder)


async def a_buffered_protocol_is_received_into(stage: Stage) -> None:
    """Whatever the size of its buffers, and it is told the end."""
    for size, buffer in ((10_000, 7), (1 << 20, 1 << 16)):
        recorder = stage.recorder(BufferedRecorder, size=buffer)
        _, peer = await stage.open(recorder)
        data = bytes_to_send(size)
        await peer.send(data)
        peer.end()
        await stage.wait(lambda recorder=recorder: "lost" in recorder.told, "connection_lost")  # type: ignore[misc]
        expect_told(recorder.told, "made", "data", "eof", "lost")
        if recorder.data != data:
            raise RequirementFailed(f"what came into buffers of {buffer} bytes is not what the peer sent")


async def set_protocol_takes_effect_at_once(stage: Stage) -> None:
    """From one data_received to the next, to a protocol of either kind; the last one gets connection_lost."""
    for kind in (Recorder, BufferedRecorder):
        first, second = stage.recorder(), stage.recorder(kind)
        transport, peer = await stage.open(first)
        first.on_data = lambda transport=transport, second=second: transport.set_protocol(second)
        await peer.send(b"one")
        await stage.wait(lambda first=first: first.data, "data_received")  # type: ignore[misc]
        if [transport.get_protocol()] != [second]:
            raise RequirementFailed("get_protocol() is not what set_protocol() was given")
        await peer.send(b"two")
        await stage.wait(lambda second=second: second.data, "data_received of the new protocol")  # type: ignore[misc]
        peer.end()
        await stage.wait(lambda second=second: "lost" in second.told, "connection_lost of the new one")  # type: ignore[misc]
        expect_told(first.told, "made", "data")
        expect_told(second.told, "data", "eof", "lost")
        if (first.data, second.data) != (b"one", b"two"):
            raise RequirementFailed(f"the protocols got {bytes(first.data)!r} and {bytes(second.data)!r}")


async def an_exception_in_data_received_ends_that_connection_alone(stage: Stage) -> None:
    """The loop's exception handler hears of it."""
    bad, good = stage.recorder(), stage.recorder()
    _, bad_peer = await stage.open(bad)
    _, good_peer = await stage.open(good)

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    bad.on_data = fail
    await bad_peer.send(b"bad")
    await stage.take_report("on purpose")
    await stage.wait(lambda: "lost" in bad.told, "connection_lost")
    await good_peer.send(b"good")
    await stage.wait(lambda: good.data == b"good", "data_received on another connection")
    expect_told(bad.told, "made", "data", "lost")


async def callbacks_run_in_the_context_that_opened_the_connection(stage: Stage) -> None:
    """So that a contextvar set before is seen in them."""
    recorder = stage.recorder()
    seen: list[str] = []
    recorder.on_made = recorder.on_data = lambda: seen.append(_VARIABLE.get())

    async def opening() -> object:
        _VARIABLE.set("inside")
        return await stage.open(recorder, first=b"data")

    # In a task, whose context is its own.
    opened = await asyncio.create_task(opening())
    await stage.wait(lambda: recorder.data, "data_received")
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
