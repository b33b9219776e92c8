"""Requirements about the end of a stream: close, abort, and connection_lost exactly once."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

from typing import Any, Final

from proactor_echo.testing.conformance.transport.harness import Harness, NotObservable, RequirementFailed, bytes_to_send
from proactor_echo.testing.conformance.transport.reading import expect_events, expect_reset

__all__ = ["CLOSING"]

#: Far more bytes than small system buffers hold.
_MUCH: Final = 8 << 20


async def close_sends_what_is_buffered_first(harness: Harness) -> None:
    """Every byte, then the end; connection_lost(None) follows."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    data = bytes_to_send(_MUCH)
    transport.write(data)
    transport.close()
    if not transport.is_closing():
        raise RequirementFailed("is_closing() is false after close()")
    if await peer.receive_all() != data:
        raise RequirementFailed("what the peer received before the end is not what was written")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")


async def connection_lost_comes_once_and_never_from_inside_close(harness: Harness) -> None:
    """However often close and abort are called."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)
    transport.close()
    transport.close()
    expect_events(recorder.events, "made")
    transport.abort()
    expect_events(recorder.events, "made")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    transport.close()
    transport.abort()
    await peer.receive_rest()
    await harness.settle()
    expect_events(recorder.events, "made", "lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")


async def nothing_is_received_after_close(harness: Harness) -> None:
    """Not even what was on its way."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    transport.write(bytes_to_send(_MUCH))  # so that closing takes its time
    transport.close()
    await peer.send(b"too late")
    await harness.settle()
    if recorder.data:
        raise RequirementFailed(f"data_received got {bytes(recorder.data)!r} after close()")


async def writing_after_the_end_is_harmless(harness: Harness) -> None:
    """After close() and after connection_lost, once and often: nothing is raised and nothing sent."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)
    transport.close()
    transport.write(b"too late")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    for _ in range(10):
        transport.write(b"too late")
    if received := await peer.receive_all():
        raise RequirementFailed(f"the peer received {received!r}, written after close()")


async def abort_drops_what_is_buffered(harness: Harness) -> None:
    """The connection ends at once, with connection_lost(None), though the peer does not read."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    written = await harness.fill(transport)
    transport.abort()
    if not transport.is_closing():
        raise RequirementFailed("is_closing() is false after abort()")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")
    if await peer.receive_rest() >= written:
        raise RequirementFailed("all that was buffered was sent")
    expect_events([word for word in recorder.events if word not in ("pause", "resume")], "made", "lost")


async def abort_ends_a_close_that_cannot_end(harness: Harness) -> None:
    """A peer that does not read keeps close() waiting, and nothing else."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    written = await harness.fill(transport)
    transport.close()
    await harness.settle()
    if "lost" in recorder.events:
        if await peer.receive_rest() == written:
            raise NotObservable("the system took all that was written, though nobody read it")
        raise RequirementFailed("connection_lost came before what was written could be sent")
    transport.abort()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    await harness.settle()
    expect_events([word for word in recorder.events if word not in ("pause", "resume")], "made", "lost")


async def close_works_while_reading_is_paused(harness: Harness) -> None:
    """The peer sees the end, the protocol connection_lost."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)
    await harness.settle()
    transport.pause_reading()
    transport.write(b"bye")
    transport.close()
    if await peer.receive_all() != b"bye":
        raise RequirementFailed("what was written before close() did not arrive")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    expect_events(recorder.events, "made", "lost")


async def a_reset_ends_a_connection_that_is_being_written_to(harness: Harness) -> None:
    """What is buffered is dropped; connection_lost gets the error, once."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder, small=True)
    transport.write(bytes_to_send(_MUCH))
    await harness.settle()
    peer.reset()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    transport.write(b"too late")
    await harness.settle()
    expect_reset(recorder)


async def a_connection_can_be_closed_and_aborted_in_every_callback(harness: Harness) -> None:
    """connection_lost follows, once, and nothing else."""
    for ending in ("close", "abort"):
        for callback in ("on_made", "on_data"):
            recorder = harness.recorder()
            setattr(recorder, callback, lambda recorder=recorder, ending=ending: getattr(recorder.transport, ending)())
            _, peer = await harness.open(recorder, first=b"data")
            await harness.wait(lambda recorder=recorder: "lost" in recorder.events, "connection_lost")  # type: ignore[misc]
            await peer.receive_rest()
            expect_events(recorder.events, "made", *(["data"] if callback == "on_data" else []), "lost")


async def the_socket_is_closed_after_connection_lost(harness: Harness) -> None:
    """No descriptor stays open."""
    recorder = harness.recorder()
    transport, _ = await harness.open(recorder)
    sock: Any = transport.get_extra_info("socket")
    transport.close()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    await harness.settle()
    if sock.fileno() != -1:
        raise RequirementFailed("the socket is still open")


async def get_extra_info_knows_the_socket_and_both_addresses(harness: Harness) -> None:
    """Also after the end; what is unknown is the default."""
    recorder = harness.recorder()
    transport, peer = await harness.open(recorder)
    expected = {"peername": peer.sock.getsockname(), "sockname": peer.sock.getpeername()}
    if transport.get_extra_info("socket").getsockname() != expected["sockname"]:
        raise RequirementFailed("get_extra_info('socket') is another socket")
    transport.close()
    for _ in range(2):
        for name, value in expected.items():
            if (got := transport.get_extra_info(name)) != value:
                raise RequirementFailed(f"get_extra_info({name!r}) is {got!r} and not {value!r}")
        if transport.get_extra_info("no such thing", 5) != 5 or transport.get_extra_info("no such thing") is not None:
            raise RequirementFailed("get_extra_info of an unknown name is not the default")
        await harness.wait(lambda: "lost" in recorder.events, "connection_lost")


CLOSING: Final = (
    close_sends_what_is_buffered_first,
    connection_lost_comes_once_and_never_from_inside_close,
    nothing_is_received_after_close,
    writing_after_the_end_is_harmless,
    abort_drops_what_is_buffered,
    abort_ends_a_close_that_cannot_end,
    close_works_while_reading_is_paused,
    a_reset_ends_a_connection_that_is_being_written_to,
    a_connection_can_be_closed_and_aborted_in_every_callback,
    the_socket_is_closed_after_connection_lost,
    get_extra_info_knows_the_socket_and_both_addresses,
)
