"""Requirements about the end of a stream: close, abort, and connection_lost exactly once."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

from typing import Any, Final

from proactor_echo.testing.conformance.transport.harness import RequirementFailed, Stage, Untold, bytes_to_send
from proactor_echo.testing.conformance.transport.reading import expect_reset, expect_told

__all__ = ["CLOSING"]

_MUCH: Final = 8 << 20
"""Far more bytes than small system buffers hold."""


async def close_sends_what_is_buffered_first(stage: Stage) -> None:
    """Every byte, then the end; connection_lost(None) follows."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder, small=True)
    data = bytes_to_send(_MUCH)
    transport.write(data)
    transport.close()
    if not transport.is_closing():
        raise RequirementFailed("is_closing() is false after close()")
    if await peer.receive_all() != data:
        raise RequirementFailed("what the peer received before the end is not what was written")
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")


async def connection_lost_comes_once_and_never_from_inside_close(stage: Stage) -> None:
    """However often close and abort are called."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder)
    transport.close()
    transport.close()
    expect_told(recorder.told, "made")
    transport.abort()
    expect_told(recorder.told, "made")
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    transport.close()
    transport.abort()
    await peer.receive_rest()
    await stage.passing()
    expect_told(recorder.told, "made", "lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")


async def nothing_is_received_after_close(stage: Stage) -> None:
    """Not even what was on its way."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder, small=True)
    transport.write(bytes_to_send(_MUCH))  # so that closing takes its time
    transport.close()
    await peer.send(b"too late")
    await stage.passing()
    if recorder.data:
        raise RequirementFailed(f"data_received got {bytes(recorder.data)!r} after close()")


async def writing_after_the_end_is_harmless(stage: Stage) -> None:
    """After close() and after connection_lost, once and often: nothing is raised and nothing sent."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder)
    transport.close()
    transport.write(b"too late")
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    for _ in range(10):
        transport.write(b"too late")
    if received := await peer.receive_all():
        raise RequirementFailed(f"the peer received {received!r}, written after close()")


async def abort_drops_what_is_buffered(stage: Stage) -> None:
    """The connection ends at once, with connection_lost(None), though the peer does not read."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder, small=True)
    written = await stage.fill(transport)
    transport.abort()
    if not transport.is_closing():
        raise RequirementFailed("is_closing() is false after abort()")
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    if recorder.exception is not None:
        raise RequirementFailed(f"connection_lost got {recorder.exception!r} and not None")
    if await peer.receive_rest() >= written:
        raise RequirementFailed("all that was buffered was sent")
    expect_told([word for word in recorder.told if word not in ("pause", "resume")], "made", "lost")


async def abort_ends_a_close_that_cannot_end(stage: Stage) -> None:
    """A peer that does not read keeps close() waiting, and nothing else."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder, small=True)
    written = await stage.fill(transport)
    transport.close()
    await stage.passing()
    if "lost" in recorder.told:
        if await peer.receive_rest() == written:
            raise Untold("the system took all that was written, though nobody read it")
        raise RequirementFailed("connection_lost came before what was written could be sent")
    transport.abort()
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    await stage.passing()
    expect_told([word for word in recorder.told if word not in ("pause", "resume")], "made", "lost")


async def close_works_while_reading_is_paused(stage: Stage) -> None:
    """The peer sees the end, the protocol connection_lost."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder)
    await stage.passing()
    transport.pause_reading()
    transport.write(b"bye")
    transport.close()
    if await peer.receive_all() != b"bye":
        raise RequirementFailed("what was written before close() did not arrive")
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    expect_told(recorder.told, "made", "lost")


async def a_reset_ends_a_connection_that_is_being_written_to(stage: Stage) -> None:
    """What is buffered is dropped; connection_lost gets the error, once."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder, small=True)
    transport.write(bytes_to_send(_MUCH))
    await stage.passing()
    peer.reset()
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    transport.write(b"too late")
    await stage.passing()
    expect_reset(recorder)


async def a_connection_can_be_closed_and_aborted_in_every_callback(stage: Stage) -> None:
    """connection_lost follows, once, and nothing else."""
    for ending in ("close", "abort"):
        for callback in ("on_made", "on_data"):
            recorder = stage.recorder()
            setattr(recorder, callback, lambda recorder=recorder, ending=ending: getattr(recorder.transport, ending)())
            _, peer = await stage.open(recorder, first=b"data")
            await stage.wait(lambda recorder=recorder: "lost" in recorder.told, "connection_lost")  # type: ignore[misc]
            await peer.receive_rest()
            expect_told(recorder.told, "made", *(["data"] if callback == "on_data" else []), "lost")


async def the_socket_is_closed_after_connection_lost(stage: Stage) -> None:
    """No descriptor stays open."""
    recorder = stage.recorder()
    transport, _ = await stage.open(recorder)
    sock: Any = transport.get_extra_info("socket")
    transport.close()
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    await stage.passing()
    if sock.fileno() != -1:
        raise RequirementFailed("the socket is still open")


async def get_extra_info_knows_the_socket_and_both_addresses(stage: Stage) -> None:
    """Also after the end; what is unknown is the default."""
    recorder = stage.recorder()
    transport, peer = await stage.open(recorder)
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
        await stage.wait(lambda: "lost" in recorder.told, "connection_lost")


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
