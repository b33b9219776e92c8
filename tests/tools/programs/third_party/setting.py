"""What every program is driven with: the loop it must run on, a service beside it, and data to send."""

from __future__ import annotations

import asyncio
import functools
import hashlib
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from proactor_echo.testing import certificates

CERTIFICATE, KEY = certificates.LOCALHOST.certfile, certificates.LOCALHOST.keyfile

MEBIBYTE = bytes(range(256)) * 4096


class UnavailableError(Exception):
    """Something beside the package is missing; the text says what."""


@dataclass(frozen=True, slots=True)
class Setting:
    """``loop``: the class of the loop. ``factory``: what makes one, as ``module:name``. ``service``: its address."""

    loop: type[asyncio.AbstractEventLoop]
    factory: str
    service: str = ""

    def check_loop(self) -> None:
        """Fail when called on another loop: the parts and the callbacks inside the programs call this."""
        running = type(asyncio.get_running_loop())
        assert running is self.loop, f"it runs on {running.__module__}.{running.__name__}"


def server_tls() -> ssl.SSLContext:
    return certificates.server_context()


@functools.cache
def client_tls() -> ssl.SSLContext:
    return certificates.client_context()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


async def mebibytes(count: int) -> AsyncIterator[bytes]:
    """Yield so many MiB that differ, in pieces of one."""
    for number in range(count):
        yield bytes([number]) + MEBIBYTE[1:]


class Digest:
    """What came of :func:`mebibytes`: ``whole(count)`` is true when it was all of it in order."""

    def __init__(self) -> None:
        self.size = 0
        self._hash = hashlib.sha256()

    def update(self, data: Any) -> None:
        self.size += len(data)
        self._hash.update(data)

    def whole(self, count: int) -> bool:
        return self._hash.digest() == _expected(count)


def _expected(count: int) -> bytes:
    digest = hashlib.sha256()
    for number in range(count):
        digest.update(bytes([number]) + MEBIBYTE[1:])
    return digest.digest()
