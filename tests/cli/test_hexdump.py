"""The dump reads as that of ``hexdump -C``, and shows what passes without changing it."""

import random
import re
import shutil
import subprocess

import pytest
from helpers.peers import RawClient

import proactor_echo as pe
from proactor_echo.cli.hexdump import DumpingEchoDatagramProtocol, DumpingEchoProtocol, hex_rows


def test_a_row_shows_the_offset_16_bytes_and_their_characters() -> None:
    assert list(hex_rows(b"hello, world!\r\n\x00\xff")) == [
        "00000000  68 65 6c 6c 6f 2c 20 77  6f 72 6c 64 21 0d 0a 00  |hello, world!...|",
        "00000010  ff                                                |.|",
    ]


def test_rows_go_on_from_an_offset() -> None:
    assert list(hex_rows(b"a", 0x1234)) == ["00001234  61                                                |a|"]


def test_nothing_has_no_rows() -> None:
    assert list(hex_rows(b"")) == []


def test_equal_rows_are_one_star_and_the_last_row_is_shown() -> None:
    zeros = "00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00  |................|"
    assert list(hex_rows(bytes(80))) == [f"00000000  {zeros}", "*", f"00000040  {zeros}"]


def test_any_kind_of_buffer_will_do() -> None:
    assert list(hex_rows(bytearray(b"abc"))) == list(hex_rows(memoryview(b"abc"))) == list(hex_rows(b"abc"))


@pytest.mark.skipif(shutil.which("hexdump") is None, reason="to be compared with the real hexdump, which is not here")
@pytest.mark.parametrize("size", [1, 7, 8, 9, 15, 16, 17, 255, 4096])
def test_it_is_the_format_of_hexdump(size: int) -> None:
    data = random.Random(size).randbytes(size)
    dumped = subprocess.run(["hexdump", "-C"], input=data, capture_output=True, check=True)
    *expected, _total = dumped.stdout.decode("ascii").splitlines()
    assert list(hex_rows(data)) == expected


async def test_both_directions_of_a_connection_are_shown_with_offsets_that_count_on() -> None:
    shown: list[str] = []
    codec = pe.LengthCodec()
    async with await pe.serve_tcp(protocol_factory=lambda: DumpingEchoProtocol(shown.append), codec=codec) as server:
        client = await RawClient.connect(server.addresses[0])
        peer = re.escape(pe.format_address(client.sock.getsockname()))
        await client.send(b"\0\0\0\1a")
        await client.receive_exactly(5)
        await client.send(b"\0\0\0\1b")
        client.send_eof()
        assert await client.receive_all() == b"\0\0\0\1b"
        client.close()
    first, second = r"00000000  00 00 00 01 61 .*\|\.\.\.\.a\|", r"00000005  00 00 00 01 62 .*\|\.\.\.\.b\|"
    expected = [
        rf"<- {peer} 5 bytes\n{first}",
        rf"-> {peer} 5 bytes\n{first}",
        rf"<- {peer} 5 bytes\n{second}",
        rf"-> {peer} 5 bytes\n{second}",
        rf"<- {peer} end of file",
        rf"-> {peer} end of file",
    ]
    assert len(shown) == len(expected)
    for text, pattern in zip(shown, expected, strict=True):
        assert re.fullmatch(pattern, text)


async def test_a_dumped_echo_is_still_exact_under_back_pressure() -> None:
    data = random.Random(1).randbytes(1 << 20)
    shown: list[str] = []
    async with (
        await pe.serve_tcp(protocol_factory=lambda: DumpingEchoProtocol(shown.append)) as server,
        await pe.connect_tcp(*server.addresses[0][:2]) as conn,
    ):
        await conn.send(data)
        await conn.send_eof()
        assert b"".join([piece async for piece in conn]) == data
    assert sum(map(len, shown)) > 2 * 4 * len(data)  # 79 characters for 16 bytes, in both directions


async def test_datagrams_are_shown_the_empty_one_too() -> None:
    shown: list[str] = []

    def factory() -> pe.EchoDatagramProtocol:
        return DumpingEchoDatagramProtocol(shown.append, max_datagram=2, oversize="truncate")

    async with await pe.serve_udp(factory) as server, await pe.connect_udp(*server.addresses[0][:2]) as endpoint:
        peer = pe.format_address(endpoint.addresses[0])
        for data in (b"abc", b""):
            await endpoint.send(data)
            assert (await endpoint.receive())[0] == data[:2]
    rows = [*hex_rows(b"abc"), *hex_rows(b"ab")]
    assert shown == [
        f"<- {peer} 3 bytes\n{rows[0]}",
        f"-> {peer} 2 bytes\n{rows[1]}",
        f"<- {peer} 0 bytes",
        f"-> {peer} 0 bytes",
    ]
