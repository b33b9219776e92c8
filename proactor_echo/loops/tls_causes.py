"""Why TLS failed, in a sentence for people."""

from __future__ import annotations

import ssl
from typing import Final

# What OpenSSL calls it -> what it means. An ALERT was sent by the peer; the rest was found at this end.
_CAUSES: Final = {
    "CERTIFICATE_REQUIRED": "the peer wants a certificate from us and got none",
    "TLSV13_ALERT_CERTIFICATE_REQUIRED": "the peer wants a certificate from us and got none",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the client sent no certificate, and one is required",
    "TLSV1_ALERT_UNKNOWN_CA": "the peer does not trust the authority that signed our certificate",
    "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "the peer does not accept our certificate",
    "SSLV3_ALERT_BAD_CERTIFICATE": "the peer does not accept our certificate",
    "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "SSLV3_ALERT_CERTIFICATE_REVOKED": "the peer says that our certificate was revoked",
    "SSLV3_ALERT_UNSUPPORTED_CERTIFICATE": "the peer does not support a certificate like ours",
    "TLSV1_ALERT_ACCESS_DENIED": "the peer denies us access",
    "TLSV1_ALERT_DECRYPT_ERROR": "the peer could not verify what we signed",
    "TLSV1_ALERT_PROTOCOL_VERSION": "the peer does not speak our versions of TLS",
    "TLSV1_UNRECOGNIZED_NAME": "the peer does not know the server name that was asked for",
    "TLSV1_ALERT_NO_APPLICATION_PROTOCOL": "the peer speaks none of our application protocols (ALPN)",
    "NO_APPLICATION_PROTOCOL": "the peer speaks none of our application protocols (ALPN)",
    "SSLV3_ALERT_HANDSHAKE_FAILURE": "the peer found nothing that both ends support, or wants a certificate from us",
    "UNSUPPORTED_PROTOCOL": "the peer offers no version of TLS that is allowed here",
    "VERSION_TOO_LOW": "the peer offers no version of TLS that is allowed here",
    "WRONG_SSL_VERSION": "the peer offers no version of TLS that is allowed here",
    "NO_SHARED_CIPHER": "both ends have no cipher in common",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "both ends have no way of signing in common",
    "NO_SUITABLE_KEY_SHARE": "both ends have no way of exchanging keys in common",
    "NO_SHARED_GROUPS": "both ends have no way of exchanging keys in common",
    "NO_CIPHERS_AVAILABLE": "no cipher is left that our settings allow",
    "INAPPROPRIATE_FALLBACK": "the peer fell back to an old version of TLS although a newer one works",
    "BAD_RECORD_MAC": "a record was damaged on its way",
    "DECRYPTION_FAILED_OR_BAD_RECORD_MAC": "a record was damaged on its way",
    "SSLV3_ALERT_BAD_RECORD_MAC": "the peer says that a record was damaged on its way",
    "PACKET_LENGTH_TOO_LONG": "the peer sent something that is no TLS record",
    "RECORD_LAYER_FAILURE": "the peer sent something that is no TLS record",
}


def tls_cause(error: BaseException) -> str:
    """Say why TLS failed, without a full stop: ``not TLS: it began with 'GET /'``."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        text = str(error.args[-1]) if error.args else ""
        if error.reason is None or not text.startswith("["):  # our own
            return text or type(error).__name__
        return _CAUSES.get(error.reason) or error.reason.replace("_", " ").lower()
    if isinstance(error, OSError) and error.errno is not None:
        return error.strerror or str(error)
    return str(error) or type(error).__name__


def tls_error(text: str, reason: str) -> ssl.SSLError:
    """Return an error of our own, as OpenSSL would have made it."""
    error = ssl.SSLError(ssl.SSL_ERROR_SSL, text)
    error.reason, error.library = reason, "SSL"
    return error


def not_tls(data: bytes) -> ssl.SSLError:
    """Return the error for a peer that began with ``data``, which is no TLS record."""
    line = data[:32].split(b"\n")[0].strip().decode("latin-1")
    shown = repr(" ".join(line.split(" ")[:2])) if line.isascii() and line.isprintable() and line else data[:8].hex(" ")
    reason = "HTTP_REQUEST" if data.startswith((b"GET ", b"POST ", b"HEAD ", b"PUT ")) else "WRONG_VERSION_NUMBER"
    return tls_error(f"not TLS: it began with {shown}", reason)
