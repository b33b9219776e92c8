"""The PROXY header of an accepted connection, read from its socket before there is a transport.

No byte behind the header is received: what comes there, a TLS handshake or frames, is for the transport.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Callable

from proactor_echo.errors import ProxyHeaderError, classify
from proactor_echo.net.proxy_protocol import Proxied, ProxyProtocol
from proactor_echo.sockets.addresses import Address, format_address

__all__ = ["HeaderReader"]

logger: logging.Logger = logging.getLogger("proactor_echo.net")


class HeaderReader:
    """Reads headers as ``proxy`` says; calls ``complete(sock, client, proxied)`` or ``failed(sock, address)`` for each.

    ``client`` is the address that the header says, or the peer's where it says none.
    """

    def __init__(
        self,
        proxy: ProxyProtocol,
        complete: Callable[[socket.socket, Address, Proxied], object],
        failed: Callable[[socket.socket, Address], object],
    ) -> None:
        self._proxy = proxy
        self._complete = complete
        self._failed = failed
        self._tasks: set[asyncio.Task[Proxied | None]] = set()

    def begin(self, sock: socket.socket, address: Address) -> None:
        """Begin to read from a socket that was accepted."""
        task = asyncio.get_running_loop().create_task(self._read(sock, address), name="read a PROXY header")
        self._tasks.add(task)
        task.add_done_callback(lambda task: self._ended(task, sock, address))

    async def close(self) -> None:
        """End what is being read; ``failed`` is called for each."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _ended(self, task: asyncio.Task[Proxied | None], sock: socket.socket, address: Address) -> None:
        self._tasks.discard(task)
        proxied = None if task.cancelled() else task.result()
        if proxied is None:
            self._failed(sock, address)
        else:
            self._complete(sock, proxied.header.source or address, proxied)

    async def _read(self, sock: socket.socket, address: Address) -> Proxied | None:
        """Return what the header says, None if there is none; why is logged."""
        receive = asyncio.get_running_loop().sock_recv
        parser = self._proxy.parser()
        began = False
        try:
            async with asyncio.timeout(self._proxy.timeout):
                while parser.header is None:
                    data = await receive(sock, parser.needed)
                    if not data and not began:
                        return None  # it only looks whether the port is open
                    if not data:
                        raise ProxyHeaderError("the connection ended within its PROXY header")
                    began = True
                    parser.feed(data)
        except TimeoutError:
            why = f"its PROXY header was not complete after {self._proxy.timeout:g} s"
        except ProxyHeaderError as error:
            why = str(error)
        except OSError as error:
            why = classify(error).text
        else:
            return Proxied(parser.header, address)
        peer = format_address(address)
        extra = {"event": "proxy_header_failed", "peer": peer}
        logger.warning("%s: %s; the connection is closed", peer, why, extra=extra)
        return None
