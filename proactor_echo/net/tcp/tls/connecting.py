"""A client's TLS: the handshake on a socket that is connected, and the sessions that make it a short one."""

from __future__ import annotations

import asyncio
import socket
import ssl as library
from typing import TYPE_CHECKING, Any, Literal, cast

from proactor_echo.arguments import check_flag, check_text
from proactor_echo.errors import Disconnect
from proactor_echo.loops.tls_settings import TlsSettings
from proactor_echo.net.loop_api import tls_loop
from proactor_echo.net.tcp.tls.given import client_context
from proactor_echo.net.tcp.tls.sessions import ResumingContext, SessionCache, sessions_of

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol
    from proactor_echo.net.tcp.tls.description import Tls

__all__ = ["ClientTls"]


class ClientTls:
    """What one connection of a client begins with: the context, the name to verify, a session to take up."""

    def __init__(
        self,
        given: Tls | library.SSLContext | Literal[True],
        host: str,
        port: int,
        server_hostname: str | None,
        allow_truncation: bool,
    ) -> None:
        check_flag("allow_truncation", allow_truncation)
        if server_hostname is not None:
            check_text("server_hostname", server_hostname)
        self._context = client_context("ssl", given)
        self._name = server_hostname or host.removeprefix("[").removesuffix("]").partition("%")[0]
        self._key = (host, port, self._name)
        self._allow_truncation = allow_truncation

    async def open(self, protocol: StreamProtocol, sock: socket.socket, address: Any, own_socket: bool) -> None:
        """Do the handshake and open the connection; raise what speaks against it. ``own_socket``: see ``attach()``."""
        loop = asyncio.get_running_loop()
        sessions = sessions_of(self._context)
        session = sessions.take(self._key)
        opening = _Opening(sessions, self._key)
        protocol.allow_truncation = self._allow_truncation
        protocol.attach(opening, sock if own_socket else None, address)
        ours = tls_loop(loop)
        if ours is None:
            context = (
                self._context
                if session is None
                else cast("library.SSLContext", ResumingContext(self._context, session))
            )
            await loop.create_connection(lambda: protocol, sock=sock, ssl=context, server_hostname=self._name)
            return
        settings = TlsSettings(
            self._context,
            server_side=False,
            server_hostname=self._name,
            session=session,
            allow_truncation=self._allow_truncation,
        )
        opening.done = loop.create_future()
        transport = ours.open_accepted(protocol, sock, address, settings)
        try:
            await opening.done
        except BaseException:
            transport.abort()
            raise


class _Opening:
    """Is told of the handshake's end, and keeps the session when the connection ends."""

    def __init__(self, sessions: SessionCache, key: tuple[str, int, str]) -> None:
        self.done: asyncio.Future[None] | None = None
        self._sessions = sessions
        self._key = key
        self._object: library.SSLObject | None = None

    observes_opening = True

    def protocol_opened(self, protocol: StreamProtocol) -> None:
        """Go on."""
        info = protocol.tls
        if info is not None:
            self._object = info.ssl_object
            self._sessions.opened(self._key, info.ssl_object)
        if self.done is not None and not self.done.done():
            self.done.set_result(None)

    def handshake_failed(self, error: BaseException) -> None:
        """Give up."""
        if self.done is not None and not self.done.done():
            self.done.set_exception(error)

    def protocol_closed(self, protocol: StreamProtocol, disconnect: Disconnect) -> None:
        """Keep what makes the next handshake a short one."""
        if self._object is not None:
            self._sessions.closed(self._key, self._object)
