"""What the files of a TLS configuration hold; everything that is wrong with them is one sentence.

OpenSSL says "PEM lib" of a wrong password, of a key that is damaged and of a file without a certificate alike. So the
files are looked at before they are loaded, and again when loading has failed.
"""

from __future__ import annotations

import datetime
import os
import re
import ssl
from collections.abc import Callable
from typing import Final, NamedTuple

from proactor_echo.errors import TlsError
from proactor_echo.net.tcp.tls.validity import validity_of

__all__ = ["Path", "Secret", "TlsCertificate", "authorities", "load_pair", "reason_words"]

Path = str | os.PathLike[str]
Secret = str | bytes | bytearray

_CERTIFICATE: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_PRIVATE_KEY: Final = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")
#: The two ways in which OpenSSL says that a key belongs to another certificate; the second when it is of another kind.
_NOT_A_PAIR: Final = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")


class TlsCertificate(NamedTuple):
    """A certificate that is in use: the file it came from, and from when until when it is valid (UTC)."""

    file: str
    not_before: datetime.datetime
    not_after: datetime.datetime

    def __str__(self) -> str:
        return f"{self.file}, valid until {self.not_after:%Y-%m-%d %H:%M} UTC"


def load_pair(
    context: ssl.SSLContext, certfile: Path, keyfile: Path | None, password: Secret | Callable[[], Secret] | None
) -> TlsCertificate:
    """Load a certificate, its chain and its private key into ``context``; raise :class:`TlsError` if that fails."""
    cert, key = os.fspath(certfile), os.fspath(keyfile or certfile)
    chain = _certificates(cert)
    if not _PRIVATE_KEY.search(_text(key, "private key")):
        where = f"{key} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)"
        raise TlsError(where if keyfile else f"{where}: give the file that does as keyfile")
    asked = False

    def answer() -> Secret:  # without it OpenSSL would ask at the terminal, and wait
        nonlocal asked
        asked = True
        if password is None:
            raise TlsError(f"the private key in {key} is encrypted: give its password")
        return password() if callable(password) else password

    try:
        not_before, not_after = validity_of(chain[0])
        context.load_cert_chain(cert, key, answer)
    except ssl.SSLError as error:
        raise TlsError(_why_no_pair(error, cert, key, chain, asked)) from error
    except TlsError:
        raise
    except ValueError as error:  # of the dates, or of a password that OpenSSL cannot take
        said = f"{error}".rstrip(".")
        raise TlsError(f"the password of {key}: {said}" if asked else f"{cert} is damaged: {said}") from error
    return TlsCertificate(cert, not_before, not_after)


def authorities(file: Path) -> bytes:
    """Return the certificates in a PEM file, as ``cadata``; raise :class:`TlsError` when one cannot be used."""
    name = os.fspath(file)
    found = b"".join(_certificates(name))
    if not _loads(found):
        raise TlsError(f"{name}: a certificate in it is damaged")
    return found


def reason_words(error: ssl.SSLError) -> str:
    """Say what OpenSSL has against something, in its own words: ``ee key too small``."""
    return error.reason.replace("_", " ").lower() if error.reason else str(error)


def _why_no_pair(error: ssl.SSLError, cert: str, key: str, chain: list[bytes], asked: bool) -> str:
    if error.reason in _NOT_A_PAIR:
        return f"the private key in {key} does not fit the certificate in {cert}"
    if error.reason:
        return f"{cert} cannot be used: {reason_words(error)}"
    if asked:
        return f"the private key in {key} cannot be decrypted: the password is wrong"
    if not _loads(b"".join(chain)):
        return f"{cert}: a certificate in it is damaged"
    return f"{key}: the private key in it is damaged"


def _loads(certificates: bytes) -> bool:
    """Return whether OpenSSL can read them, which it does not say of a file that holds other things too."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=certificates)
    except ssl.SSLError:
        return False
    return True


def _certificates(file: str) -> list[bytes]:
    """Return the certificates in a PEM file as DER."""
    text = _text(file, "certificate")
    blocks = _CERTIFICATE.findall(text)
    if not blocks:
        hint = ""
        if _PRIVATE_KEY.search(text):
            hint = ": it is a private key"
        elif text.startswith("0\x82"):  # a SEQUENCE, as every certificate and every PKCS #12 file begins
            hint = ": it looks like DER or PKCS #12, which openssl x509 and openssl pkcs12 turn into PEM"
        raise TlsError(f"{file} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----){hint}")
    try:
        return [ssl.PEM_cert_to_DER_cert(block) for block in blocks]
    except ValueError as error:
        raise TlsError(f"{file}: a certificate in it is damaged") from error


def _text(file: str, what: str) -> str:
    try:
        with open(file, encoding="latin-1") as opened:  # PEM is ASCII, and comments around it may be anything
            return opened.read()
    except OSError as error:
        said = (error.strerror or str(error)).rstrip(".")
        raise TlsError(f"cannot read the {what} {file}: {said}", errno=error.errno) from error
