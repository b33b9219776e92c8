"""Requirements about ``create_server``: whatever clients and factories do, it goes on accepting."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

import asyncio
import socket
from typing import Final

from proactor_echo.testing.conformance.transport.harness import Harness, RequirementFailed, reset
from proactor_echo.testing.conformance.transport.reading import expect_events

__all__ = ["ACCEPTING"]


async def an_accepted_connection_is_told_its_whole_life(harness: Harness) -> None:
    """In order, with both addresses known; its writes arrive."""
    recorder = harness.recorder()
    recorder.on_data = lambda: recorder.transport.write(recorder.data)
    _, address = await harness.serve(lambda: recorder)
    peer = await harness.call(address)
    await peer.send(b"hello")
    await peer.receive(5)
    names = recorder.transport.get_extra_info("sockname"), recorder.transport.get_extra_info("peername")
    if names != (address, peer.address):
        raise RequirementFailed(f"the accepted connection's addresses are {names}, not {(address, peer.address)}")
    peer.end()
    await harness.wait(lambda: "lost" in recorder.events, "connection_lost")
    expect_events(recorder.events, "made", "data", "eof", "lost")


async def connections_outlive_the_server(harness: Harness) -> None:
    """Closing the server stops accepting and nothing else."""
    recorder = harness.recorder()
    recorder.on_data = lambda: recorder.transport.write(recorder.data)
    server, address = await harness.serve(lambda: recorder)
    peer = await harness.call(address)
    await harness.wait(lambda: recorder.events, "connection_made")
    server.close()
    await harness.settle()
    await peer.send(b"still here")
    await peer.receive(10)
    expect_events(recorder.events, "made", "data")


async def a_factory_that_raises_costs_one_connection(harness: Harness) -> None:
    """The next client is served. The loop may report it or not."""
    recorder = harness.recorder()
    address = await _serve_after_a_failure(harness, recorder)
    await harness.call(address)
    peer = await harness.call(address)
    await peer.send(b"next")
    await harness.wait(lambda: recorder.data == b"next", "the connection after the one whose factory raised")
    harness.drop_reports("on purpose")


async def a_factory_that_raises_leaves_no_socket_open(harness: Harness) -> None:
    """Its client sees the end, and does not wait for an answer for ever."""
    address = await _serve_after_a_failure(harness, harness.recorder())
    await (await harness.call(address)).receive_rest()
    harness.drop_reports("on purpose")


async def _serve_after_a_failure(harness: Harness, protocol: asyncio.BaseProtocol) -> tuple[str, int]:
    """Start a server whose factory raises the first time."""
    failed: list[bool] = []

    def factory() -> asyncio.BaseProtocol:
        if not failed:
            failed.append(True)
            raise ZeroDivisionError("on purpose")
        return protocol

    return (await harness.serve(factory))[1]


async def a_server_survives_clients_that_reset(harness: Harness) -> None:
    """Sixty that connect, send a byte and reset; the next one is served."""
    _, address = await harness.serve(harness.recorder)

    def behave_badly() -> None:
        for _ in range(60):
            sock = socket.create_connection(address, timeout=harness.timeout)
            sock.sendall(b"x")
            reset(sock)

    harness.waiting_for = "sixty clients to connect and reset"
    await harness.in_thread(behave_badly, "one of sixty clients that reset could not connect")
    peer = await harness.call(address)
    await peer.send(b"honest")
    await harness.wait(
        lambda: any(recorder.data == b"honest" for recorder in harness.recorders), "an honest client's data"
    )
    harness.reports.clear()  # what it says of the sixty is its own affair


ACCEPTING: Final = (
    an_accepted_connection_is_told_its_whole_life,
    connections_outlive_the_server,
    a_factory_that_raises_costs_one_connection,
    a_factory_that_raises_leaves_no_socket_open,
    a_server_survives_clients_that_reset,
)
