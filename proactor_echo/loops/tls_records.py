"""TLS records: where one ends, which their headers say in clear."""

from __future__ import annotations

from typing import Final

#: Bytes of plaintext in a record, at most.
RECORD: Final = 16384
#: Bytes of ciphertext in a record, at most (RFC 5246; TLS 1.3 allows less).
MOST: Final = RECORD + 2048

HANDSHAKE: Final = 22
APPLICATION_DATA: Final = 23
#: Every type of record there is.
TYPES: Final = range(20, 25)


def end_of_record(data: bytes, at: int) -> int:
    """Return where the record in ``data`` ends that begins at ``at``; 0 while it is not complete.

    What cannot be a record counts as one: OpenSSL, or for the first of them the filter, says what is wrong with it.
    """
    left = len(data) - at
    if not left:
        return 0
    if data[at] not in TYPES:
        return len(data)
    if left < 5:
        return 0
    length = data[at + 3] << 8 | data[at + 4]
    if length > MOST:
        return len(data)
    return at + 5 + length if left >= 5 + length else 0
