"""A listening port that can refuse: while it does, nothing listens, and yet nobody else can take the port."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from proactor_echo.net.loop_api import is_proactor
from proactor_echo.net.stock.accept import StockAcceptPipeline
from proactor_echo.sockets.addresses import Address
from proactor_echo.sockets.binding import listen_tcp
from proactor_echo.sockets.options import SocketOptions

__all__ = ["Listener"]

Connected = Callable[[socket.socket, Address], None]


class Listener:
    """Accept connections on one port and call ``connected(sock, address)`` for each."""

    def __init__(self, sock: socket.socket, options: SocketOptions, connected: Connected) -> None:
        self._socket = sock
        self._options = options
        self._connected = connected
        self._loop = asyncio.get_running_loop()
        self._closing: set[asyncio.Task[None]] = set()
        #: What it is bound to.
        self.address: Address = sock.getsockname()
        self._acceptor: StockAcceptPipeline | None = None
        self._accept()

    @classmethod
    async def open(cls, host: str, port: int, options: SocketOptions, connected: Connected) -> Listener:
        """Listen on the first address of ``host``. Raises :class:`~proactor_echo.BindError`."""
        sock, *others = await listen_tcp(host, port, options=options)
        for other in others:
            other.close()
        return cls(sock, options, connected)

    def refuse(self) -> None:
        """Let the system refuse connections from this moment on."""
        acceptor, self._acceptor = self._acceptor, None
        if acceptor is None:
            return
        acceptor.stop()
        self._stop_listening()
        closing = self._loop.create_task(acceptor.close(), name="proxy: stop listening")
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        # A socket that is bound and does not listen keeps the port.
        self._socket = socket.socket(self._socket.family, socket.SOCK_STREAM)
        try:
            self._socket.setblocking(False)
            self._options.apply_before_bind(self._socket)
            self._socket.bind(self.address)
        except BaseException:
            self._socket.close()
            raise

    def accept_again(self) -> None:
        """Listen again on the same port. Raises OSError."""
        if self._acceptor is None:
            self._socket.listen(1024)
            self._accept()

    async def close(self) -> None:
        """Stop listening for ever."""
        if self._acceptor is not None:
            await self._acceptor.close()
        self._socket.close()
        if self._closing:
            await asyncio.wait(self._closing)

    def _accept(self) -> None:
        self._acceptor = StockAcceptPipeline([self._socket], self._connected)
        self._acceptor.start()

    def _stop_listening(self) -> None:
        if not is_proactor(self._loop):
            with contextlib.suppress(OSError):
                # Linux stops listening with this, and the descriptor stays what it is for the loop.
                self._socket.shutdown(socket.SHUT_RD)
                return
            self._loop.remove_reader(self._socket)
        self._socket.close()
