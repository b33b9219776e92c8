"""The client of the echo check over UDP: a socket with bounded waits, which sends again what may have been lost."""

from __future__ import annotations

import asyncio
import socket
from typing import Final, Self

from proactor_echo.errors import ConnectFailed, classify
from proactor_echo.sockets.addresses import Address, AddressInfo, format_address, resolve
from proactor_echo.testing.conformance.echo.case import CheckFailed, Settings

__all__ = ["UdpClient", "UdpTarget"]

#: UDP may lose a datagram, or its answer, without anybody being wrong: it is sent so many times in all.
_TRIES: Final = 3


class UdpTarget:
    """The server that is checked."""

    def __init__(self, info: AddressInfo, settings: Settings) -> None:
        self._info = info
        self.settings = settings
        self.address: Address = info[4]

    @classmethod
    async def open(cls, host: str, port: int, settings: Settings) -> Self:
        """Choose the first address that does not refuse. Raises ConnectFailed.

        That nobody listens (an ICMP message) is reported on every system to a connected socket only. An address that
        says nothing is taken: the first check shows whether it answers.
        """
        errors: list[OSError] = []
        said: list[str] = []
        for info in await resolve(host, port, type=socket.SOCK_DGRAM):
            try:
                await _probe(info, settings)
            except OSError as exc:
                errors.append(exc)
                said.append(f"{format_address(info[4])}: {classify(exc).text}")
            else:
                return cls(info, settings)
        raise ConnectFailed(f"cannot reach it over UDP: {'; '.join(said)}", errors=errors, errno=errors[-1].errno)

    def client(self) -> UdpClient:
        """Make a client with a port of its own."""
        return UdpClient(self._info, self.settings)


class UdpClient:
    """One socket, not connected, so that an answer from a wrong address is seen."""

    def __init__(self, info: AddressInfo, settings: Settings) -> None:
        self._address: Address = info[4]
        self._settings = settings
        self._late: list[bytes] = []
        #: How many datagrams had to be sent again, since no answer came.
        self.sent_again: int = 0
        self._sock = socket.socket(info[0], info[1])
        try:
            self._sock.setblocking(False)
            # Winsock receives only from a socket that has an address.
            self._sock.bind(("::" if info[0] == socket.AF_INET6 else "0.0.0.0", 0))
        except BaseException:
            self._sock.close()
            raise

    async def echo(self, data: bytes) -> None:
        """Send a datagram until it is answered, three times at most, and compare. Raises CheckFailed."""
        timeout = self._settings.timeout / _TRIES
        for attempt in range(_TRIES):
            await self.send(data)
            answer = await self.next_answer(timeout)
            while answer is not None and answer in self._late:  # to a try that was taken for lost
                self._late.remove(answer)
                answer = await self.next_answer(timeout)
            if answer is not None:
                self.sent_again += attempt
                self._late += [data] * attempt
                if answer != data:
                    raise CheckFailed(_difference(data, answer))
                return
        raise CheckFailed(
            f"a datagram of {_size(data)} had no answer, sent {_TRIES} times in {self._settings.timeout:g} s"
        )

    async def send(self, data: bytes) -> None:
        """Send a datagram. Raises OSError for one the system does not send."""
        await asyncio.get_running_loop().sock_sendto(self._sock, data, self._address)

    async def next_answer(self, seconds: float) -> bytes | None:
        """Wait so long for a datagram; None if none comes. Raises CheckFailed when it is from a wrong address."""
        try:
            async with asyncio.timeout(seconds):
                data, source = await asyncio.get_running_loop().sock_recvfrom(self._sock, 1 << 16)
        except TimeoutError:
            return None
        except OSError as exc:
            raise CheckFailed(f"instead of an answer came: {classify(exc).text}") from exc
        if source[:2] != self._address[:2]:
            wrong, right = format_address(source), format_address(self._address)
            raise CheckFailed(f"an answer came from {wrong} and not from {right}, where the datagram was sent")
        return bytes(data)

    async def expect_silence(self, seconds: float, when: str) -> None:
        """Wait so long; nothing may come but late answers to datagrams that were sent again."""
        while (answer := await self.next_answer(seconds)) is not None:
            if answer not in self._late:
                raise CheckFailed(f"{when}, another datagram of {_size(answer)} came: {answer[:8]!r}")
            self._late.remove(answer)

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.close()


async def _probe(info: AddressInfo, settings: Settings) -> None:
    """Send a datagram from a connected socket; raise OSError if the answer is that nobody is there."""
    loop = asyncio.get_running_loop()
    with socket.socket(info[0], info[1]) as sock:
        sock.setblocking(False)
        sock.connect(info[4])
        try:
            async with asyncio.timeout(settings.quiet):
                await loop.sock_sendall(sock, b"echo\r\n")
                await loop.sock_recvfrom(sock, 1 << 16)
        except TimeoutError:
            pass


def _difference(data: bytes, answer: bytes) -> str:
    if len(answer) != len(data):
        kept = ", the beginning of it" if answer and data.startswith(answer) else ""
        return f"a datagram of {_size(data)} was answered by one of {_size(answer)}{kept}"
    place = next(at for at, (one, other) in enumerate(zip(data, answer, strict=True)) if one != other)
    return (
        f"byte {place:,} of a datagram of {_size(data)} came back different:"
        f" {data[place : place + 8]!r} expected, {answer[place : place + 8]!r} came"
    )


def _size(data: bytes) -> str:
    return f"{len(data):,} bytes" if len(data) != 1 else "1 byte"
