"""Certificates for tests: an authority, a server's for this machine, and some that a peer must refuse.

Everybody has their keys, so **trust them in tests alone**. Each file says so, and each subject is "proactor_echo TEST
ONLY". The authority's own key was thrown away when they were made: it can sign nothing more.

They are EC P-256 and valid until the end of 2099, and Python 3.13's stricter checks (``VERIFY_X509_STRICT``) accept
them. ``tests/tools/certificates/make.py`` in the source distribution makes them.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final, NamedTuple

from proactor_echo.arguments import check_choice

__all__ = [
    "CA_FILE",
    "CLIENT",
    "EXPIRED",
    "LOCALHOST",
    "LOCKED",
    "RENEWED",
    "STRANGER",
    "WRONG_NAME",
    "Certificate",
    "client_context",
    "server_context",
]

_FOLDER: Final = Path(__file__).parent


class Certificate(NamedTuple):
    """The files of a certificate and of its key, in PEM; the key has a password or None."""

    certfile: Path
    keyfile: Path
    password: str | None = None


def _certificate(name: str, password: str | None = None) -> Certificate:
    return Certificate(_FOLDER / f"{name}.pem", _FOLDER / f"{name}-key.pem", password)


#: The authority that has signed all of them but STRANGER.
CA_FILE: Final = _FOLDER / "ca.pem"
#: A server's, for localhost, 127.0.0.1 and ::1.
LOCALHOST: Final = _certificate("localhost")
#: The same names with another key: what LOCALHOST is renewed with.
RENEWED: Final = _certificate("renewed")
#: One more for the same names, whose key has a password.
LOCKED: Final = _certificate("locked", "proactor_echo")
#: A server's that was valid until the end of 2020.
EXPIRED: Final = _certificate("expired")
#: A server's for somewhere-else.invalid alone.
WRONG_NAME: Final = _certificate("wrong_name")
#: A client's.
CLIENT: Final = _certificate("client")
#: A client's, signed by an authority that is not here.
STRANGER: Final = _certificate("stranger")


def server_context(certificate: Certificate = LOCALHOST, *, verify: str = "none") -> ssl.SSLContext:
    """Return a context for a server; ``verify``: whether clients need a certificate, as in ``Tls``."""
    check_choice("verify", verify, ("none", "optional", "required"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    if verify != "none":
        context.load_verify_locations(CA_FILE)
        context.verify_mode = ssl.CERT_OPTIONAL if verify == "optional" else ssl.CERT_REQUIRED
    return context


def client_context(certificate: Certificate | None = None) -> ssl.SSLContext:
    """Return a context for a client that trusts the test authority alone, and shows ``certificate`` if asked."""
    context = ssl.create_default_context(cafile=CA_FILE)
    if certificate is not None:
        context.load_cert_chain(*certificate)
    return context
