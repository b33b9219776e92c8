"""What may be given as ``ssl``, and the context for the next connection that it stands for."""

from __future__ import annotations

import functools
import ssl as library

from proactor_echo.net.tcp.tls.description import Tls

__all__ = ["client_context", "server_context"]


def server_context(name: str, value: object) -> library.SSLContext:
    """Return the context for a server's next connection; ``name`` is the argument's, for the message."""
    if isinstance(value, Tls):
        return value.server_context
    if isinstance(value, library.SSLContext):
        if value.protocol is library.PROTOCOL_TLS_CLIENT:
            raise ValueError(f'{name} is a client\'s context: write Tls("server.pem", "server.key")')
        return value
    raise TypeError(f'{name} must be a Tls or an SSLContext, not {value!r}: write Tls("server.pem", "server.key")')


def client_context(name: str, value: object) -> library.SSLContext:
    """Return the context for a client's next connection."""
    if value is True:
        return _default().client_context
    if isinstance(value, Tls):
        return value.client_context
    if isinstance(value, library.SSLContext):
        if value.protocol is library.PROTOCOL_TLS_SERVER:
            raise ValueError(f"{name} is a server's context: write True, or Tls(server_ca=...)")
        return value
    raise TypeError(f"{name} must be True, a Tls or an SSLContext, not {value!r}: write True, or Tls(server_ca=...)")


@functools.cache
def _default() -> Tls:
    """Return what ``ssl=True`` stands for: the authorities that the system trusts are read once."""
    return Tls()
