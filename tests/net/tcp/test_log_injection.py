"""What a peer can choose cannot forge a line of the log, nor give orders to the terminal that shows it."""

import logging
import socket
import sys
from pathlib import Path

import pytest
from helpers.peers import RawClient, eventually

import proactor_echo as pe

#: A record of the log that never was, then codes that a terminal obeys.
FORGED = "x\n2026-01-01 00:00:00+00:00 error: FORGED \x1b[2J\x9b\u202e"


def written(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines that logging's own formatter makes of what was logged."""
    formatter = logging.Formatter()
    return [line for record in caplog.records for line in formatter.format(record).split("\n")]


def assert_harmless(lines: list[str]) -> None:
    assert any("FORGED" in line for line in lines), lines
    assert [line for line in lines if not line.isprintable()] == []
    assert [line for line in lines if line.startswith("2026-01-01")] == []


if sys.platform != "win32":

    async def test_the_path_of_a_unix_client(
        caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.chdir(tmp_path)  # these paths cannot be long
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("s")
            async with await pe.serve_tcp(pe.echo, sockets=[listener], codec=pe.LengthCodec()):
                with socket.socket(socket.AF_UNIX) as client:
                    client.bind(FORGED)
                    client.connect("s")
                    client.sendall(b"\xff" * 8)
                    await eventually(lambda: caplog.records)
        assert_harmless(written(caplog))


async def test_what_a_handler_s_exception_says(caplog: pytest.LogCaptureFixture) -> None:
    async def quotes_the_peer(conn: pe.Connection) -> None:
        raise ValueError((await conn.receive()).decode())

    caplog.set_level(logging.DEBUG, "proactor_echo")  # with the line that says how the connection ended
    async with (
        await pe.serve_tcp(quotes_the_peer) as server,
        await RawClient.connect(server.addresses[0]) as client,
    ):
        await client.send(FORGED.encode())
        await eventually(lambda: len(caplog.records) > 1)
    assert_harmless(written(caplog))
    assert isinstance(caplog.records[0].exc_info, tuple)
    assert str(caplog.records[0].exc_info[1]) == FORGED  # for who does not write it as text


def test_what_an_exception_of_the_system_says() -> None:
    assert_harmless([pe.classify(OSError(FORGED)).text])
