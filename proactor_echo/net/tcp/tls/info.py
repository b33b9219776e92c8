"""TlsInfo: what a connection tells about its TLS, read from OpenSSL when it is asked for."""

from __future__ import annotations

import ssl
from typing import Any

__all__ = ["TlsInfo"]


class TlsInfo:
    """The TLS of one connection, as ``conn.tls``. Each attribute is read when it is asked for.

    ``str()`` is for a log: ``TLSv1.3 TLS_AES_256_GCM_SHA384``.
    """

    __slots__ = ("_object",)

    def __init__(self, ssl_object: ssl.SSLObject) -> None:
        self._object = ssl_object

    @property
    def version(self) -> str:
        """``"TLSv1.2"`` or ``"TLSv1.3"``."""
        return self._object.version() or ""

    @property
    def cipher(self) -> str:
        """OpenSSL's name of the cipher: ``"TLS_AES_256_GCM_SHA384"``."""
        cipher = self._object.cipher()
        return cipher[0] if cipher else ""

    @property
    def alpn(self) -> str | None:
        """The protocol that both ends agreed on; None when they did not, or one of them offered none."""
        return self._object.selected_alpn_protocol()

    @property
    def server_name(self) -> str | None:
        """The server's name that the client asked for (SNI); None when it asked for none.

        An address is not asked for. A server knows the name when it was made with a :class:`Tls`; with a context of
        your own it is None.
        """
        asked: str | None = getattr(self._object, "server_name", None)
        return asked if self._object.server_side else self._object.server_hostname

    @property
    def peer_certificate(self) -> dict[str, Any] | None:
        """The peer's certificate as :meth:`ssl.SSLSocket.getpeercert` gives it; None when it was not verified.

        A server that does not ask its clients for certificates has none to show.
        """
        return self._object.getpeercert() or None

    @property
    def peer_certificate_der(self) -> bytes | None:
        """The peer's certificate in DER, verified or not; None when it showed none."""
        return self._object.getpeercert(binary_form=True)

    @property
    def resumed(self) -> bool:
        """Whether the handshake was a short one, which took up an earlier session."""
        return bool(self._object.session_reused)

    @property
    def ssl_object(self) -> ssl.SSLObject:
        """The standard library's object, for what is not here: channel bindings, the ciphers of both ends."""
        return self._object

    def __str__(self) -> str:
        return f"{self.version} {self.cipher}"

    def __repr__(self) -> str:
        shown = {"alpn": self.alpn, "server_name": self.server_name, "resumed": self.resumed}
        return f"<TlsInfo {self} {' '.join(f'{name}={value!r}' for name, value in shown.items() if value)}>"
