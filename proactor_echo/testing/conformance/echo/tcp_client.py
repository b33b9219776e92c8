"""The client of the echo check over TCP: a socket with bounded waits; each failure is one sentence."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Sequence
from types import TracebackType
from typing import Final, Self, TypeVar

from proactor_echo.errors import ConnectFailed, classify
from proactor_echo.sockets.addresses import Address, AddressInfo, format_address, resolve
from proactor_echo.sockets.options import reset_on_close
from proactor_echo.testing.conformance.echo.case import CheckFailed, Settings

__all__ = ["TcpClient", "TcpTarget"]

_READ: Final = 1 << 18

T = TypeVar("T")


class TcpTarget:
    """The server that is checked.

    The connection that showed that it is there is also the first that a check gets: a server may serve one client only.
    """

    def __init__(self, info: AddressInfo, settings: Settings, first: socket.socket) -> None:
        self._info = info
        self._first: socket.socket | None = first
        self.settings = settings
        self.address: Address = info[4]

    @classmethod
    async def open(cls, host: str, port: int, settings: Settings) -> Self:
        """Connect to the first address that takes it. Raises ConnectFailed, with what each address said."""
        errors: list[OSError] = []
        said: list[str] = []
        for info in await resolve(host, port):
            try:
                return cls(info, settings, await _open(info, settings))
            except OSError as exc:
                errors.append(exc)
                said.append(f"{format_address(info[4])}: {_reason(exc, settings)}")
        raise ConnectFailed(f"cannot connect: {'; '.join(said)}", errors=errors, errno=errors[-1].errno)

    async def connect(self, *, receive_buffer: int | None = None) -> TcpClient:
        """Open a connection. Raises CheckFailed. ``receive_buffer`` is the size of the system's, in bytes."""
        return TcpClient(await self._socket(receive_buffer), self.settings)

    async def _socket(self, receive_buffer: int | None = None) -> socket.socket:
        sock, self._first = self._first, None
        if sock is not None and receive_buffer is not None:
            sock.close()
            sock = None
        try:
            return sock or await _open(self._info, self.settings, receive_buffer)
        except OSError as exc:
            raise CheckFailed(f"a connection failed: {_reason(exc, self.settings)}") from exc

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._first is not None:
            self._first.close()


class TcpClient:
    """One connection. Every wait is bounded, and raises CheckFailed with what was expected and what came."""

    def __init__(self, sock: socket.socket, settings: Settings) -> None:
        self._sock = sock
        self._settings = settings
        self._early = b""  # received beyond what was expected so far
        #: Bytes that the system has taken from us.
        self.sent: int = 0

    async def echo(self, pieces: Sequence[bytes], *, then_end: bool = False, name: str = "") -> None:
        """Send all pieces, then our end if wanted, while expecting them back, then the server's end."""
        sending = asyncio.create_task(self.send_pieces(pieces, then_end=then_end))
        try:
            await self.expect(b"".join(pieces))
            await sending
            if then_end:
                await self.expect_end()
        except CheckFailed as exc:
            raise (CheckFailed(f"{name}: {exc}") if name else exc) from None
        finally:
            sending.cancel()
            await asyncio.wait({sending})
            if not sending.cancelled():
                sending.exception()  # seen: when sending fails, receiving says why

    async def send_pieces(self, pieces: Sequence[bytes], *, then_end: bool = False) -> None:
        """Send one after the other, then our end if wanted. Has no time limit: the task that reads has one."""
        for piece in pieces:
            await self._write(piece)
            self.sent += len(piece)
        if then_end:
            await self.end()

    async def send(self, data: bytes) -> None:
        """Send a little."""
        await self._within(self.send_pieces([data]), f"{len(data):,} bytes should be taken,")

    async def expect(self, data: bytes) -> None:
        """Wait for these bytes, and compare them as they come."""
        got = 0
        while got < len(data):
            piece = self._early or await self.receive(f"{got:,} of {len(data):,} bytes came back, then")
            self._early = b""
            if not piece:
                raise CheckFailed(f"{got:,} of {len(data):,} bytes came back, then the end of the stream")
            wanted = data[got : got + len(piece)]
            if piece[: len(wanted)] != wanted:
                raise CheckFailed(_first_difference(data, got, piece))
            self._early = piece[len(wanted) :]
            got += len(wanted)

    async def expect_end(self) -> None:
        """Wait for the server's end of file; nothing may come before it."""
        piece = self._early or await self.receive("the end of the stream should come,")
        if piece:
            raise CheckFailed(f"the end of the stream should come, {_sample(piece)} came")

    async def expect_silence(self, seconds: float, when: str) -> None:
        """Wait so long; nothing may come, no end either."""
        piece = self._early
        if not piece:
            try:
                async with asyncio.timeout(seconds):
                    piece = await self._read()
            except TimeoutError:
                return
            except OSError as exc:
                raise CheckFailed(f"{when}, {self._reason(exc)}") from exc
        raise CheckFailed(f"{when}, {_sample(piece) if piece else 'the end of the stream'} came")

    async def end(self) -> None:
        """End our side."""
        self._sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """End the connection with a TCP reset: closing with a linger time of 0 sends one."""
        reset_on_close(self._sock)
        self._sock.close()

    def close(self) -> None:
        """Close the socket."""
        self._sock.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    async def receive(self, so_far: str, *, limited: bool = True) -> bytes:
        """Wait for bytes, empty at the end of the stream; without ``limited`` for as long as it takes."""
        return await self._within(self._read(), so_far, limited=limited)

    async def _within(self, work: Awaitable[T], so_far: str, *, limited: bool = True) -> T:
        """Wait for work as long as a wait may take; the sentence of a failure begins with ``so_far``."""
        try:
            async with asyncio.timeout(self._settings.timeout if limited else None):
                return await work
        except TimeoutError:
            raise CheckFailed(f"{so_far} nothing for {self._settings.timeout:g} s") from None
        except OSError as exc:
            raise CheckFailed(f"{so_far} {self._reason(exc)}") from exc

    async def _write(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _read(self) -> bytes:
        """Return what has arrived, empty at the end of the stream."""
        return await asyncio.get_running_loop().sock_recv(self._sock, _READ)

    def _reason(self, exc: OSError) -> str:
        return f"the connection was lost: {classify(exc).text}"


async def _open(info: AddressInfo, settings: Settings, receive_buffer: int | None = None) -> socket.socket:
    sock = socket.socket(info[0], info[1])
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with asyncio.timeout(settings.timeout):
            await asyncio.get_running_loop().sock_connect(sock, info[4])
    except BaseException:
        sock.close()
        raise
    return sock


def _reason(exc: OSError, settings: Settings) -> str:
    return f"no answer within {settings.timeout:g} s" if isinstance(exc, TimeoutError) else classify(exc).text


def _first_difference(data: bytes, got: int, piece: bytes) -> str:
    """Say where what came stops being what was sent, with a few bytes of both."""
    place = next(at for at, (one, other) in enumerate(zip(data[got:], piece, strict=False)) if one != other)
    return (
        f"byte {got + place:,} of {len(data):,} came back different:"
        f" {_sample(data[got + place :])} expected, {_sample(piece[place:])} came"
    )


def _sample(data: bytes) -> str:
    return repr(data) if len(data) <= 8 else f"{data[:8]!r}..."
