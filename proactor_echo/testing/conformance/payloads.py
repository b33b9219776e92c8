"""Payloads that find mistakes: every byte value, what protocols give a meaning to, and lengths around the limits."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Final

__all__ = ["EVERY_BYTE", "make_payloads"]

#: All 256 byte values, then the ones that text modes and terminals change, next to each other.
EVERY_BYTE: Final = bytes(range(256)) + b"\r\n\n\r\r\r\n\n\0\r\n\x1a\x04\xff\xf4\xff\xff\xc0\x80\xef\xbb\xbf"

#: Bytes from which payloads are made: all of them, and those in which one protocol or another sees a meaning.
_ALPHABETS: Final = (bytes(range(256)), b"\x00\x01\x7f\x80\xff", b"a\r\n", b"abc", b"0123456789:,", b";|\t \x00")

#: Lengths around which length fields and buffers change.
_LENGTHS: Final = (1, 2, 3, 127, 128, 129, 255, 256, 257, 1024)


def make_payloads(seed: int, limit: int | None) -> Iterator[bytes]:
    """Yield payloads without end, the remarkable ones first; none is longer than ``limit`` bytes, if that is given."""
    source = Random(seed)
    most = min(limit, 1 << 20) if limit is not None else 4096
    for payload in (b"", EVERY_BYTE, b"\r\n", b"\n", b"\0", *map(source.randbytes, _LENGTHS)):
        if len(payload) <= most:
            yield payload
    yield b"x" * most
    yield source.randbytes(most)
    while True:
        alphabet = source.choice(_ALPHABETS)
        longest = min(most, source.choice((4, 16, 16, 64, 512)))
        # A codec of one length alone accepts nothing else, so that length comes up again and again.
        length = most if most <= 4096 and source.randrange(8) == 0 else source.randrange(longest + 1)
        yield bytes(source.choices(alphabet, k=length))
