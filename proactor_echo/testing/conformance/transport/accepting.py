"""Requirements about ``create_server``: whatever clients and factories do, it goes on accepting."""

# A requirement is a statement, and so is its docstring.
# ruff: noqa: D401

from __future__ import annotations

import asyncio
import socket
from typing import Final

from proactor_echo.testing.conformance.transport.harness import RequirementFailed, Stage, reset
from proactor_echo.testing.conformance.transport.reading import expect_told

__all__ = ["ACCEPTING"]


async def an_accepted_connection_is_told_its_whole_life(stage: Stage) -> None:
    """In order, with both addresses known; its writes arrive."""
    recorder = stage.recorder()
    recorder.on_data = lambda: recorder.transport.write(recorder.data)
    _, address = await stage.serve(lambda: recorder)
    peer = await stage.call(address)
    await peer.send(b"hello")
    await peer.receive(5)
    names = recorder.transport.get_extra_info("sockname"), recorder.transport.get_extra_info("peername")
    if names != (address, peer.address):
        raise RequirementFailed(f"the accepted connection's addresses are {names}, not {(address, peer.address)}")
    peer.end()
    await stage.wait(lambda: "lost" in recorder.told, "connection_lost")
    expect_told(recorder.told, "made", "data", "eof", "lost")


async def connections_outlive_the_server(stage: Stage) -> None:
    """Closing the server stops accepting and nothing else."""
    recorder = stage.recorder()
    recorder.on_data = lambda: recorder.transport.write(recorder.data)
    server, address = await stage.serve(lambda: recorder)
    peer = await stage.call(address)
    await stage.wait(lambda: recorder.told, "connection_made")
    server.close()
    await stage.passing()
    await peer.send(b"still here")
    await peer.receive(10)
    expect_told(recorder.told, "made", "data")


async def a_factory_that_raises_costs_one_connection(stage: Stage) -> None:
    """The next client is served. The loop may report it or not."""
    recorder = stage.recorder()
    address = await _serve_after_a_failure(stage, recorder)
    await stage.call(address)
    peer = await stage.call(address)
    await peer.send(b"next")
    await stage.wait(lambda: recorder.data == b"next", "the connection after the one whose factory raised")
    stage.forgive("on purpose")


async def a_factory_that_raises_leaves_no_socket_open(stage: Stage) -> None:
    """Its client sees the end, and does not wait for an answer for ever."""
    address = await _serve_after_a_failure(stage, stage.recorder())
    await (await stage.call(address)).receive_rest()
    stage.forgive("on purpose")


async def _serve_after_a_failure(stage: Stage, protocol: asyncio.BaseProtocol) -> tuple[str, int]:
    """Start a server whose factory raises the first time."""
    failed: list[bool] = []

    def factory() -> asyncio.BaseProtocol:
        if not failed:
            failed.append(True)
            raise ZeroDivisionError("on purpose")
        return protocol

    return (await stage.serve(factory))[1]


async def a_server_survives_clients_that_reset(stage: Stage) -> None:
    """Sixty that connect, send a byte and reset; the next one is served."""
    _, address = await stage.serve(stage.recorder)

    def behave_badly() -> None:
        for _ in range(60):
            sock = socket.create_connection(address, timeout=stage.patience)
            sock.sendall(b"x")
            reset(sock)

    stage.waiting_for = "sixty clients to connect and reset"
    await stage.in_thread(behave_badly, "one of sixty clients that reset could not connect")
    peer = await stage.call(address)
    await peer.send(b"honest")
    await stage.wait(lambda: any(recorder.data == b"honest" for recorder in stage.recorders), "an honest client's data")
    stage.reports.clear()  # what it says of the sixty is its own affair


ACCEPTING: Final = (
    an_accepted_connection_is_told_its_whole_life,
    connections_outlive_the_server,
    a_factory_that_raises_costs_one_connection,
    a_factory_that_raises_leaves_no_socket_open,
    a_server_survives_clients_that_reset,
)
