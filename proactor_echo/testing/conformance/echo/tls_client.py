"""The client of the echo check over TLS: the standard library's TLS in memory, over the plain socket of the TCP one."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Sequence
from typing import Final

from proactor_echo.testing.conformance.echo.case import Settings
from proactor_echo.testing.conformance.echo.tcp_client import TcpClient, TcpTarget

__all__ = ["TlsClient", "TlsTarget"]

#: Plaintext of one record is at most 16 KiB.
_RECORD: Final = 1 << 14
_READ: Final = 1 << 16


class TlsTarget(TcpTarget):
    """The server that is checked, over TLS, once :meth:`secure` has said how."""

    def secure(self, context: ssl.SSLContext, server_hostname: str) -> None:
        """Use this context, and expect this name in the certificate."""
        self._context = context
        self.server_hostname: str = server_hostname

    async def connect(self, *, receive_buffer: int | None = None, version: ssl.TLSVersion | None = None) -> TlsClient:
        """Open a connection and do the handshake, in ``version`` alone if one is given. Raises CheckFailed."""
        client = TlsClient(await self._socket(receive_buffer), self.settings, self._layer(version))
        try:
            await client.handshake()
        except BaseException:
            client.close()
            raise
        return client

    async def connect_plain(self) -> TcpClient:
        """Open a connection without a handshake. Raises CheckFailed."""
        return await super().connect()

    def _layer(self, version: ssl.TLSVersion | None) -> _Layer:
        context = self._context
        before = context.minimum_version, context.maximum_version
        if version is not None:
            context.minimum_version, context.maximum_version = version, version
        try:
            return _Layer(context, self.server_hostname)
        finally:
            context.minimum_version, context.maximum_version = before


class _Layer:
    """A TLS object, and the two memories between it and the socket."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self.incoming: ssl.MemoryBIO = ssl.MemoryBIO()
        self.outgoing: ssl.MemoryBIO = ssl.MemoryBIO()
        self.object: ssl.SSLObject = context.wrap_bio(self.incoming, self.outgoing, server_hostname=server_hostname)


class TlsClient(TcpClient):
    """One connection over TLS. Its end is a close_notify; a TCP stream that ends without one is a failure."""

    def __init__(self, sock: socket.socket, settings: Settings, layer: _Layer) -> None:
        super().__init__(sock, settings)
        self._incoming = layer.incoming
        self._outgoing = layer.outgoing
        self._tls = layer.object
        self._sending = asyncio.Lock()

    @property
    def version(self) -> str:
        """The version, as in ``TLSv1.3``."""
        return str(self._tls.version())

    @property
    def cipher(self) -> str:
        """The name of the cipher suite."""
        cipher = self._tls.cipher()
        return cipher[0] if cipher else ""

    @property
    def half_closes(self) -> bool:
        """Whether this version lets one side end while the other goes on (RFC 8446, 6.1; not so RFC 5246, 7.2.1)."""
        return self.version == "TLSv1.3"

    async def handshake(self) -> None:
        """Do the handshake."""
        await self._within(self._handshake(), "in the TLS handshake,")

    async def echo(self, pieces: Sequence[bytes], *, then_end: bool = False, name: str = "") -> None:
        """Do as over TCP; in TLS 1.2 our end comes when everything is back, since the server may then send no more."""
        if not then_end or self.half_closes:
            await super().echo(pieces, then_end=then_end, name=name)
            return
        await super().echo(pieces, name=name)
        await self.end()
        await self.expect_end()

    async def end(self) -> None:
        """End our side of the TLS stream: send a close_notify."""
        while (piece := self._decrypted()) is not None and piece:  # OpenSSL wants to be asked for it before
            self._early += piece
        with contextlib.suppress(ssl.SSLWantReadError):  # it would wait for the server's, which expect_end() does
            self._tls.unwrap()
        await self._flush()

    def end_without_close_notify(self) -> None:
        """End the TCP stream, as somebody would who cuts the connection."""
        self._sock.shutdown(socket.SHUT_WR)

    # -- what the client over TCP does with the socket -----------------------------------------------------------

    async def _write(self, data: bytes) -> None:
        for start in range(0, len(data), _RECORD):
            self._tls.write(data[start : start + _RECORD])
            await self._flush()

    async def _read(self) -> bytes:
        while (data := self._decrypted()) is None:
            if not self._sending.locked():  # else who sends sends this too, and may wait until we have read
                await self._flush()  # an answer to a key update
            await self._fill()
        return data

    def _reason(self, exc: OSError) -> str:
        if isinstance(exc, ssl.SSLCertVerificationError):
            return f"the certificate is not accepted: {exc.verify_message}"
        if isinstance(exc, ssl.SSLEOFError):
            return "the TCP stream ended without a close_notify, as if it had been cut"
        if isinstance(exc, ssl.SSLError):
            return f"TLS failed: {(exc.reason or str(exc)).replace('_', ' ').lower()}"
        return super()._reason(exc)

    async def _handshake(self) -> None:
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
                await self._fill()
            except ssl.SSLError:
                await self._flush()  # the alert that tells the server why
                raise
            else:
                await self._flush()
                return

    def _decrypted(self) -> bytes | None:
        """Return what has arrived, empty for a close_notify and None when more must arrive first."""
        try:
            return self._tls.read(_READ)
        except ssl.SSLWantReadError:
            return None
        except ssl.SSLZeroReturnError:
            return b""

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._outgoing.read():
                await asyncio.get_running_loop().sock_sendall(self._sock, data)

    async def _fill(self) -> None:
        data = await asyncio.get_running_loop().sock_recv(self._sock, _READ)
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()
