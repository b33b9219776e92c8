"""OpenSSL's own command line as the peer, which is no Python: both ways, with new keys and a renegotiation."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from helpers.recording import Bench, Recorder
from helpers.tls import client_context
from helpers.tls_peer import listen

from proactor_echo.testing import certificates

OPENSSL = shutil.which("openssl")
#: An address of this process alone, where it may be had: s_server must be told a free port, and another process could
#: have it by then.
HOST = f"127.1.{os.getpid() >> 8 & 255}.{os.getpid() % 254 + 1}" if sys.platform == "linux" else "127.0.0.1"

pytestmark = pytest.mark.skipif(OPENSSL is None, reason="there is no openssl command")


@contextmanager
def openssl(*arguments: Any) -> Iterator[subprocess.Popen[bytes]]:
    """Run it, with pipes that are not buffered; what it says beside the data is printed too, unless it is quiet."""
    beside = subprocess.DEVNULL if "-quiet" in arguments else subprocess.STDOUT
    command = [str(OPENSSL), *map(str, arguments)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=beside, bufsize=0) as process:
        try:
            yield process
        finally:
            process.kill()


def read_until(process: subprocess.Popen[bytes], wanted: bytes) -> bytes:
    """Read what it prints up to `wanted`."""
    assert process.stdout is not None
    printed = b""
    while wanted not in printed:
        chunk = process.stdout.read(65536)
        assert chunk, printed
        printed += chunk
    return printed


def read_exactly(process: subprocess.Popen[bytes], count: int) -> bytes:
    assert process.stdout is not None
    printed = bytearray()
    while len(printed) < count and (chunk := process.stdout.read(count - len(printed))):
        printed += chunk
    return bytes(printed)


def write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    view = memoryview(data)
    while view:
        view = view[process.stdin.write(view) or 0 :]


class Echo(Recorder):
    """Sends back what it receives, and stops reading now and then."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.random = random.Random(seed)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self.transport.write(data)
        if self.random.random() < 0.3:
            self.transport.pause_reading()
            asyncio.get_running_loop().call_later(0.001, self.transport.resume_reading)


def client_of(address: Any, *more: str) -> tuple[str, ...]:
    return ("s_client", "-connect", f"{address[0]}:{address[1]}", "-CAfile", str(certificates.CA_FILE), *more)


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
@pytest.mark.parametrize("seed", range(3))
def test_a_client_of_openssl_gets_back_what_it_sent(ours: Bench, version: str, seed: int) -> None:
    data = random.Random(seed).randbytes(700_000)

    async def scenario() -> None:
        served: list[Echo] = []

        def make() -> Echo:
            served.append(Echo(seed))
            return served[-1]

        server, address = await listen(make)
        async with server:
            with openssl(*client_of(address, "-quiet", version)) as client:
                writing = asyncio.create_task(asyncio.to_thread(write, client, data))
                assert await asyncio.to_thread(read_exactly, client, len(data)) == data
                await writing
                client.stdin.close()  # type: ignore[union-attr]
                client.kill()
                await served[0].lost

    ours.run(scenario())


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_server_of_openssl_sends_and_gets_everything(ours: Bench, version: str, seed: int) -> None:
    rand = random.Random(seed)
    there, here = rand.randbytes(400_000), rand.randbytes(400_000)

    async def scenario() -> None:
        port = free_port()
        with openssl(*server_on(port, "-quiet", version, "-naccept", "1")) as server:
            client = Recorder()
            transport = await connect(client, port)
            giving = asyncio.create_task(asyncio.to_thread(write, server, here))
            taking = asyncio.create_task(asyncio.to_thread(read_exactly, server, len(there)))
            at = 0
            while at < len(there):
                size = rand.choice([1, 100, 5000, 16384, 60000])
                transport.write(there[at : at + size])
                at += size
                if rand.random() < 0.5:
                    transport.pause_reading()
                    await asyncio.sleep(0)
                    transport.resume_reading()
            assert await taking == there
            await giving
            assert await client.until(len(here)) == here
            transport.abort()
            await client.lost

    ours.run(scenario())


def server_on(port: int, *more: str) -> tuple[str, ...]:
    certificate, key, _ = map(str, certificates.LOCALHOST)
    return ("s_server", "-accept", f"{HOST}:{port}", "-cert", certificate, "-key", key, *more)


def free_port() -> int:
    with socket.create_server((HOST, 0)) as sock:
        port: int = sock.getsockname()[1]
    return port


async def connect(client: Recorder, port: int) -> Any:
    """Connect, as soon as somebody listens."""
    while True:
        with suppress(ConnectionRefusedError):
            transport, _ = await asyncio.get_running_loop().create_connection(
                lambda: client, HOST, port, ssl=client_context(), server_hostname="localhost"
            )
            return transport
        await asyncio.sleep(0.01)


def test_new_keys_lose_nothing(ours: Bench) -> None:
    async def scenario() -> None:
        server, address = await listen(Echo)
        async with server:
            with openssl(*client_of(address, "-tls1_3")) as client:
                for number in range(5):
                    await asyncio.to_thread(write, client, b"K\n")  # new keys, from both ends
                    await asyncio.to_thread(read_until, client, b"KEYUPDATE")
                    await asyncio.to_thread(write, client, b"line %d\n" % number)
                    await asyncio.to_thread(read_until, client, b"line %d\n" % number)

    ours.run(scenario())


def test_a_renegotiation_is_refused(ours: Bench) -> None:
    async def scenario() -> None:
        served: list[Echo] = []

        def make() -> Echo:
            served.append(Echo())
            return served[-1]

        server, address = await listen(make)
        async with server:
            with openssl(*client_of(address, "-tls1_2")) as client:
                await asyncio.to_thread(write, client, b"R\n")
                while not served:
                    await asyncio.sleep(0.01)
                lost = await served[0].lost
                assert isinstance(lost, ssl.SSLError)
                assert "renegotiation" in str(lost)

    ours.run(scenario())
