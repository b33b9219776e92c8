"""CRC-32C, the checksum of Castagnoli, by a table of a byte: what the PROXY protocol protects its headers with.

Source: RFC 3720 section 12.1 has the polynomial, section B.4 test vectors. The standard library's is another one.
"""

from __future__ import annotations

import functools

__all__ = ["crc32c"]

_POLYNOMIAL = 0x82F63B78  # 0x1EDC6F41 with its bits the other way round


def crc32c(data: bytes) -> int:
    """Return the checksum of ``data``, 32 bits."""
    table = _table()
    value = 0xFFFFFFFF
    for byte in data:
        value = table[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


@functools.cache
def _table() -> list[int]:
    return [_shifted(byte) for byte in range(256)]


def _shifted(value: int) -> int:
    for _ in range(8):
        value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
    return value
