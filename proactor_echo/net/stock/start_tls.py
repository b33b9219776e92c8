"""Beginning with TLS in mid-stream on asyncio's own loops.

``loop.start_tls()`` leaves four things to its caller. The protocol still has the transport in clear text, and may
write on it during the handshake. What comes together with the end of the handshake is handed over before the call has
returned. The protocol is told of a handshake that fails only sometimes: when the time limit runs out or the connection
is lost, ``connection_lost`` is not called. And when the transport is aborted meanwhile, the call returns as if all were
well (sslproto.py: ``SSLProtocol.connection_lost`` wakes the waiter with no exception).
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any, cast

from proactor_echo.errors import DisconnectReason

if TYPE_CHECKING:
    from proactor_echo.net.tcp.core import StreamProtocol

__all__ = ["start_tls"]


async def start_tls(
    loop: asyncio.AbstractEventLoop,
    protocol: StreamProtocol,
    context: ssl.SSLContext,
    server_side: bool,
    server_hostname: str | None,
    timeout: float,
) -> None:
    """Give ``protocol`` a transport with TLS in the place of the one it has, or end it. Raises only if cancelled."""
    clear = protocol.transport
    waiting = _Waiting(clear)
    protocol._transport = cast("asyncio.Transport", waiting)
    protocol._handed_over = True
    protocol.pause_writing()
    early: list[bytes] = []
    ends: list[bool] = []
    vars(protocol).update(data_received=early.append, eof_received=lambda: ends.append(True))
    secured = None
    try:
        secured = await loop.start_tls(
            clear,
            protocol,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            ssl_handshake_timeout=timeout,
        )
    except Exception as error:
        clear.abort()
        protocol.connection_lost(error)
        return
    except BaseException:  # cancelled, which is not the handshake's fault
        protocol._securing = None
        protocol.abort_for(DisconnectReason.ABORTED)
        clear.abort()
        protocol.connection_lost(None)
        raise
    finally:
        protocol._handed_over = False
        del vars(protocol)["data_received"], vars(protocol)["eof_received"]
    if secured is None or (secured.is_closing() and not ends):
        protocol.connection_lost(None)
        return
    protocol._transport = secured
    protocol._asyncio_tls = True
    if protocol.write_limit is not None:
        secured.set_write_buffer_limits(*protocol.write_limit)
    protocol.resume_writing()
    for data in waiting.kept:
        secured.write(data)
    for data in early:
        protocol.data_received(data)
    if ends:
        protocol.eof_received()


class _Waiting:
    """Stands for the transport during the handshake: what is written waits, to leave encrypted."""

    def __init__(self, clear: asyncio.Transport) -> None:
        self.kept: list[bytes] = []
        self._clear = clear

    def write(self, data: bytes) -> None:
        self.kept.append(data)

    def get_write_buffer_size(self) -> int:
        return sum(map(len, self.kept))

    def can_write_eof(self) -> bool:
        return False

    def pause_reading(self) -> None:
        """Nothing is received that could be handed over."""

    resume_reading = pause_reading

    def close(self) -> None:
        self._clear.abort()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._clear, name)
