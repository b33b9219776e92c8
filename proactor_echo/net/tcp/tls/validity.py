"""The time for which a certificate is valid.

The standard library has this only for a peer's certificate that has been verified, and for certificate authorities
(``SSLContext.get_ca_certs``). No public function reads it from a server's own file. So the fields before it are skipped
here, in DER, the encoding of X.509: each value is a tag, a length and the content.

Source: RFC 5280, section 4.1 (the order of the fields) and 4.1.2.5 (the two forms of a time); ITU-T X.690, 8.1.3
(lengths).
"""

from __future__ import annotations

import datetime
from typing import Final

__all__ = ["validity_of"]

#: [0], the only field before the dates that may be missing.
_VERSION: Final = 0xA0
_UTC_TIME: Final = 0x17
_GENERALIZED_TIME: Final = 0x18


def validity_of(der: bytes) -> tuple[datetime.datetime, datetime.datetime]:
    """Return ``notBefore`` and ``notAfter`` of a certificate in DER, in UTC.

    Raises ValueError when the bytes are no certificate.
    """
    try:
        _, certificate, _ = _value(der, 0)
        _, to_be_signed, _ = _value(certificate, 0)
        at = 0
        if to_be_signed[0] == _VERSION:
            at = _value(to_be_signed, at)[2]
        for _ in ("serial number", "signature algorithm", "issuer"):
            at = _value(to_be_signed, at)[2]
        _, dates, _ = _value(to_be_signed, at)
        before_tag, before, at = _value(dates, 0)
        after_tag, after, _ = _value(dates, at)
        return _time(before_tag, before), _time(after_tag, after)
    except IndexError:
        raise ValueError("the certificate is cut short") from None


def _value(der: bytes, at: int) -> tuple[int, bytes, int]:
    """Return the tag and the content of the value that begins at ``at``, and where the next one begins."""
    tag, length = der[at], der[at + 1]
    at += 2
    if length & 0x80:  # the long form: so many bytes hold the length
        count = length & 0x7F
        length = int.from_bytes(der[at : at + count], "big")
        at += count
    end = at + length
    if end > len(der):
        raise ValueError("the certificate is cut short")
    return tag, der[at:end], end


def _time(tag: int, content: bytes) -> datetime.datetime:
    text = content.decode("ascii")
    if tag == _UTC_TIME:  # two digits for the years from 1950 to 2049
        text = ("19" if text[:2] >= "50" else "20") + text
    elif tag != _GENERALIZED_TIME:
        raise ValueError("a date of the certificate is no date")
    return datetime.datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=datetime.UTC)
