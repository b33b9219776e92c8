"""Requirements about datagram transports: each datagram once and whole, and no error ends the endpoint."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

import asyncio
import socket
from typing import Any, Final

from proactor_echo.testing.conformance.transport.harness import Harness, NotObservable, RequirementFailed, bytes_to_send
from proactor_echo.testing.conformance.transport.reading import expect_events

__all__ = ["DATAGRAMS"]

_LARGEST: Final = 65507


async def a_datagram_comes_whole_as_bytes_with_its_source(harness: Harness) -> None:
    """connection_made first; boundaries are kept."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    peers = [harness.datagram_peer(), harness.datagram_peer()]
    sent = [(b"datagram %d" % number, peers[number % 2].address) for number in range(20)]
    for number, (data, _) in enumerate(sent):
        peers[number % 2].send_datagram(data, transport.get_extra_info("sockname"))
        await harness.wait(lambda number=number: len(recorder.received) > number, "datagram_received")  # type: ignore[misc]
    if recorder.received != sent:
        raise RequirementFailed("the datagrams or their addresses are not those that were sent")
    if kinds := {type(data).__name__ for data in recorder.datagrams} - {"bytes"}:
        raise RequirementFailed(f"datagram_received got {', '.join(kinds)} and not bytes")
    expect_events(list(dict.fromkeys(recorder.events)), "made", "datagram")


async def a_datagram_is_sent_whole_to_its_address(harness: Harness) -> None:
    """To several addresses, as bytes, bytearray and memoryview."""
    transport = await harness.open_datagrams(harness.datagram_recorder())
    peers = [harness.datagram_peer(), harness.datagram_peer()]
    for number in range(12):
        data = bytes_to_send(number * 100 + 1)
        transport.sendto((bytes, bytearray, memoryview)[number % 3](data), peers[number % 2].address)
        if await peers[number % 2].datagram() != (data, transport.get_extra_info("sockname")):
            raise RequirementFailed(f"the datagram of {len(data)} bytes arrived otherwise")


async def the_largest_datagram_comes_and_goes(harness: Harness) -> None:
    """65,507 bytes."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    peer = harness.datagram_peer()
    data = bytes_to_send(_LARGEST)
    peer.send_datagram(data, transport.get_extra_info("sockname"))
    await harness.wait(lambda: recorder.received, "datagram_received")
    if recorder.datagrams != [data]:
        raise RequirementFailed(f"a datagram of {_LARGEST:,} bytes came with {len(recorder.datagrams[0]):,}")
    transport.sendto(data, peer.address)
    if (await peer.datagram())[0] != data:
        raise RequirementFailed(f"a datagram of {_LARGEST:,} bytes was sent otherwise")


async def an_empty_datagram_is_received(harness: Harness) -> None:
    """It is no end of anything."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    peer = harness.datagram_peer()
    for data in (b"", b"", b"not empty"):
        peer.send_datagram(data, transport.get_extra_info("sockname"))
    await harness.wait(lambda: b"not empty" in recorder.datagrams, "the datagram after two empty ones")
    if recorder.datagrams != [b"", b"", b"not empty"]:
        raise RequirementFailed(f"datagram_received got {recorder.datagrams}")


async def an_empty_datagram_is_sent(harness: Harness) -> None:
    """UDP has them, and protocols use them."""
    transport = await harness.open_datagrams(harness.datagram_recorder())
    peer = harness.datagram_peer()
    transport.sendto(b"", peer.address)
    transport.sendto(b"next", peer.address)
    if (first := (await peer.datagram())[0]) != b"":
        raise RequirementFailed(f"an empty datagram was sent, {first!r} came first")


async def a_connected_endpoint_talks_to_one_peer(harness: Harness) -> None:
    """Without an address, or with that one; another is refused with ValueError."""
    recorder = harness.datagram_recorder()
    peer = harness.datagram_peer()
    transport = await harness.open_datagrams(recorder, remote=peer.address)
    if transport.get_extra_info("peername") != peer.address:
        raise RequirementFailed(
            f"get_extra_info('peername') is {transport.get_extra_info('peername')}, not {peer.address}"
        )
    transport.sendto(b"one")
    data, address = await peer.datagram()
    transport.sendto(b"two", peer.address)
    await peer.datagram()
    try:
        transport.sendto(b"three", ("127.0.0.1", 9))
    except ValueError:
        pass
    else:
        raise RequirementFailed("sendto() another address than the connected one did not raise ValueError")
    peer.send_datagram(b"answer", address)
    await harness.wait(lambda: recorder.received, "datagram_received")
    if (data, recorder.received) != (b"one", [(b"answer", peer.address)]):
        raise RequirementFailed(f"the endpoint received {recorder.received}")


async def what_is_not_bytes_cannot_be_sent(harness: Harness) -> None:
    """TypeError at once."""
    transport = await harness.open_datagrams(harness.datagram_recorder())
    wrong: Any
    for wrong in ("text", 5):
        try:
            transport.sendto(wrong, ("127.0.0.1", 9))
        except TypeError:
            continue
        raise RequirementFailed(f"sendto({wrong!r}) did not raise TypeError")


async def an_unreachable_peer_is_an_error_and_not_the_end(harness: Harness) -> None:
    """error_received may be called; once the peer is there, datagrams go both ways."""
    recorder = harness.datagram_recorder()
    first = harness.datagram_peer()
    port = first.address[1]
    transport = await harness.open_datagrams(recorder, remote=first.address)
    first.close()
    for _ in range(3):
        transport.sendto(b"is anybody there?")
        await harness.settle()
    peer = harness.datagram_peer(port)
    # A pending error may cost one datagram on the way out: that is how the systems report it.
    for _ in range(3):
        transport.sendto(b"hello")
        await harness.settle()
    await peer.datagram()
    peer.send_datagram(b"welcome", transport.get_extra_info("sockname"))
    try:
        async with asyncio.timeout(harness.timeout / 4):
            await harness.wait(
                lambda: b"welcome" in recorder.datagrams, "a datagram after the peer had been unreachable"
            )
    except TimeoutError:
        if await _is_deaf_after_an_error(harness):
            raise NotObservable("this system brings nothing to a socket that had an error, transport or not") from None
        events = ", ".join(recorder.events)
        raise RequirementFailed(f"no datagram came after the peer had been unreachable; events: {events}") from None


async def _is_deaf_after_an_error(harness: Harness) -> bool:
    """Return whether the loop's ``sock_recvfrom`` receives nothing after an error either, as with IOCP under Wine."""
    first = harness.datagram_peer()
    port = first.address[1]
    first.close()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.connect(first.address)
        # Both receives have to be waiting when something comes, as a transport's are.
        receiving = asyncio.ensure_future(harness.loop.sock_recvfrom(sock, 100))
        await harness.settle()
        await harness.loop.sock_sendall(sock, b"is anybody there?")
        await asyncio.wait({receiving}, timeout=harness.timeout / 4)
        peer = harness.datagram_peer(port)
        if receiving.done():
            receiving.exception()  # seen
            receiving = asyncio.ensure_future(harness.loop.sock_recvfrom(sock, 100))
            await harness.settle()
        peer.send_datagram(b"welcome", sock.getsockname())
        await asyncio.wait({receiving}, timeout=harness.timeout / 4)
        heard = receiving.done() and receiving.exception() is None
        receiving.cancel()
        await asyncio.wait({receiving})
    return not heard


async def a_datagram_too_long_is_an_error_and_not_the_end(harness: Harness) -> None:
    """error_received is called or sendto raises; the next datagram goes out, and reading goes on."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    peer = harness.datagram_peer()
    try:
        transport.sendto(bytes(70_000), peer.address)
    except (OSError, ValueError):
        pass
    else:
        await harness.wait(lambda: recorder.errors, "error_received")
    transport.sendto(b"next", peer.address)
    if (data := (await peer.datagram())[0]) != b"next":
        raise RequirementFailed(f"the peer received {len(data):,} bytes")
    peer.send_datagram(b"answer", transport.get_extra_info("sockname"))
    await harness.wait(lambda: recorder.received, "datagram_received")


async def close_sends_the_datagrams_that_are_queued(harness: Harness) -> None:
    """Then connection_lost(None), once."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    peer = harness.datagram_peer()
    for number in range(20):
        transport.sendto(b"%d" % number, peer.address)
    transport.close()
    if not transport.is_closing():
        raise RequirementFailed("is_closing() is false after close()")
    expect_events([word for word in recorder.events if word not in ("pause", "resume")], "made")
    for number in range(20):
        if (data := (await peer.datagram())[0]) != b"%d" % number:
            raise RequirementFailed(f"datagram {number} of 20 queued at close() arrived as {data!r}")
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    await harness.settle()
    if recorder.events.count("lost") != 1 or recorder.exception is not None:
        raise RequirementFailed(
            f"connection_lost came {recorder.events.count('lost')} times, with {recorder.exception!r}"
        )


async def a_closed_endpoint_is_silent(harness: Harness) -> None:
    """connection_lost once, however often it is closed; nothing is received any more."""
    for ending in ("close", "abort"):
        recorder = harness.datagram_recorder()
        transport = await harness.open_datagrams(recorder)
        peer = harness.datagram_peer()
        address = transport.get_extra_info("sockname")
        await harness.settle()
        getattr(transport, ending)()
        transport.close()
        transport.abort()
        peer.send_datagram(b"too late", address)
        await harness.wait(lambda recorder=recorder: "lost" in recorder.events, "connection_lost")  # type: ignore[misc]
        await harness.settle()
        expect_events(recorder.events, "made", "lost")


async def sending_from_a_closed_endpoint_is_harmless(harness: Harness) -> None:
    """After close() and after connection_lost, nothing is raised."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    transport.close()
    transport.sendto(b"too late", ("127.0.0.1", 9))
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    transport.sendto(b"too late", ("127.0.0.1", 9))


async def every_pause_is_followed_by_a_resume(harness: Harness) -> None:
    """Whether or not the system ever makes a datagram wait; in the end nothing is counted as buffered."""
    recorder = harness.datagram_recorder()
    transport = await harness.open_datagrams(recorder)
    transport.set_write_buffer_limits(high=200)  # type: ignore[attr-defined]
    peer = harness.datagram_peer()
    for number in range(20):
        for _ in range(10):
            transport.sendto(b"%0100d" % number, peer.address)
        for _ in range(10):
            await peer.datagram()
    await harness.settle()
    marks = [word for word in recorder.events if word in ("pause", "resume")]
    if marks != ["pause", "resume"] * (len(marks) // 2):
        raise RequirementFailed(f"pauses and resumes do not alternate: {', '.join(marks[-5:])}")
    if size := transport.get_write_buffer_size():  # type: ignore[attr-defined]
        raise RequirementFailed(f"everything was received, and get_write_buffer_size() is {size:,}")


async def an_exception_in_datagram_received_is_reported(harness: Harness) -> None:
    """To the loop's exception handler; other endpoints go on."""
    bad, good = harness.datagram_recorder(), harness.datagram_recorder()
    bad_transport = await harness.open_datagrams(bad)
    good_transport = await harness.open_datagrams(good)
    peer = harness.datagram_peer()

    def fail() -> None:
        raise ZeroDivisionError("on purpose")

    bad.on_datagram = fail
    peer.send_datagram(b"bad", bad_transport.get_extra_info("sockname"))
    await harness.take_report("on purpose")
    peer.send_datagram(b"good", good_transport.get_extra_info("sockname"))
    await harness.wait(lambda: good.received, "datagram_received of another endpoint")


DATAGRAMS: Final = (
    a_datagram_comes_whole_as_bytes_with_its_source,
    a_datagram_is_sent_whole_to_its_address,
    the_largest_datagram_comes_and_goes,
    an_empty_datagram_is_received,
    an_empty_datagram_is_sent,
    a_connected_endpoint_talks_to_one_peer,
    what_is_not_bytes_cannot_be_sent,
    an_unreachable_peer_is_an_error_and_not_the_end,
    a_datagram_too_long_is_an_error_and_not_the_end,
    close_sends_the_datagrams_that_are_queued,
    a_closed_endpoint_is_silent,
    sending_from_a_closed_endpoint_is_harmless,
    every_pause_is_followed_by_a_resume,
    an_exception_in_datagram_received_is_reported,
)
