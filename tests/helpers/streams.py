"""Codecs of every kind, streams for them, and ways to cut a stream: what the tests of the codecs share."""

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from proactor_echo.errors import FramingError
from proactor_echo.wire import Codec, DelimiterCodec, FixedCodec, LengthCodec, LineCodec, NetstringCodec, VarintCodec

CODECS: dict[str, Codec] = {
    "length": LengthCodec(),
    "length-short": LengthCodec(max_frame_length=20),
    "length-skip": LengthCodec(1, max_frame_length=5, on_too_long="skip"),
    "length-late": LengthCodec(2, max_frame_length=9, fail_fast=False),
    "length-24-little": LengthCodec(3, byteorder="little", max_frame_length=300),
    "length-64": LengthCodec(8, max_frame_length=300, on_too_long="skip"),
    "length-counts-header": LengthCodec(2, length_adjustment=-2, max_frame_length=50),
    "length-offset": LengthCodec(2, length_field_offset=3, header_bytes=b"\xca\xfe\xed", max_frame_length=50),
    "length-more-header": LengthCodec(1, length_adjustment=2, max_frame_length=50, on_too_long="skip"),
    "length-unstripped": LengthCodec(2, initial_bytes_to_strip=0, max_frame_length=50),
    "length-half-stripped": LengthCodec(2, length_field_offset=2, initial_bytes_to_strip=3, max_frame_length=50),
    "length-overstripped": LengthCodec(1, initial_bytes_to_strip=3, header_bytes=b"ab", max_frame_length=50),
    "varint": VarintCodec(max_frame_length=300),
    "varint-skip": VarintCodec(max_frame_length=3, on_too_long="skip"),
    "netstring": NetstringCodec(max_frame_length=120),
    "netstring-skip": NetstringCodec(max_frame_length=12, on_too_long="skip"),
    "line": LineCodec(max_frame_length=40),
    "line-crlf": LineCodec(newline=b"\r\n", max_frame_length=6),
    "line-skip": LineCodec(max_frame_length=4, on_too_long="skip", partial="deliver"),
    "line-unstripped": LineCodec(max_frame_length=4, strip_newline=False, on_too_long="skip"),
    "delimiter": DelimiterCodec(b"aa", max_frame_length=5, on_too_long="skip"),
    "delimiters": DelimiterCodec(b"ab", b"bcc", b"cab", max_frame_length=6),
    "delimiters-skip": DelimiterCodec(b"\r\n\r\n", b";", b"\n\n", max_frame_length=3, on_too_long="skip"),
    "delimiters-unstripped": DelimiterCodec(b"ab", b"bcc", max_frame_length=6, strip_delimiter=False),
    "fixed": FixedCodec(3),
}
"""All kinds but the raw one, which has no frames. Limits are low, so that random bytes reach them."""

ALPHABETS = (
    bytes(range(256)),
    bytes(range(6)),
    b"\x00\x01\x80\xff",
    b"a\r\n",
    b"abc",
    b"0123456789:,",
    b"19:,x",
    b";\r\n",
)
"""Bytes from which garbage is made: all, and those in which one codec or another sees a meaning."""


class Outcome(NamedTuple):
    """What became of a stream."""

    frames: list[bytes]
    error: type[FramingError] | None
    skipped: int


def decode(codec: Codec, pieces: Iterable[bytes]) -> Outcome:
    """Feed the pieces and the end of the stream to a new decoder."""
    decoder = codec.decoder()
    frames: list[bytes] = []
    try:
        for piece in pieces:
            frames += decoder.feed(piece)
        frames += decoder.eof()
    except FramingError as error:
        return Outcome(frames + error.frames, type(error), decoder.skipped)
    return Outcome(frames, None, decoder.skipped)


def payloads_for(codec: Codec, source: random.Random, count: int, longest: int = 12) -> list[bytes]:
    """Make payloads that the codec accepts."""
    payloads: list[bytes] = []
    while len(payloads) < count:
        alphabet = source.choice(ALPHABETS)
        payload = bytes(source.choices(alphabet, k=source.randrange(longest + 1)))
        if isinstance(codec, LengthCodec):
            payload = with_own_length(codec, payload)
        elif isinstance(codec, FixedCodec):
            payload = payload[: codec.length].ljust(codec.length, b".")
        elif isinstance(codec, DelimiterCodec) and not codec.strip_delimiter:
            payload += source.choice(codec.delimiters)
        try:
            codec.encode(payload)
        except FramingError:
            continue
        payloads.append(payload)
    return payloads


def with_own_length(codec: LengthCodec, payload: bytes) -> bytes:
    """Write the right length into the payload where it holds the length field, or the end of it."""
    header_end = codec.length_field_offset + codec.length_field_length
    kept = header_end - codec.initial_bytes_to_strip
    if kept <= 0:
        return payload
    payload = payload.ljust(kept, b".")
    value = len(payload) - kept - codec.length_adjustment
    field = value.to_bytes(codec.length_field_length, codec.byteorder)[-kept:]
    return payload[: kept - len(field)] + field + payload[kept:]


def garbage(source: random.Random, size: int) -> bytes:
    """Make bytes of one of the alphabets."""
    return bytes(source.choices(source.choice(ALPHABETS), k=size))


def every_split(stream: bytes) -> Iterator[list[bytes]]:
    """Yield all the ways to cut a short stream: 2 to the power of one less than its length."""
    for cuts in range(1 << max(0, len(stream) - 1)):
        yield split(stream, [place + 1 for place in range(len(stream) - 1) if cuts >> place & 1])


def random_split(stream: bytes, source: random.Random, cuts: int) -> list[bytes]:
    """Cut a stream at random places."""
    return split(stream, sorted(source.randrange(len(stream) + 1) for _ in range(cuts)))


def split(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """Cut a stream at these places."""
    edges = [0, *places, len(stream)]
    return [stream[start:end] for start, end in itertools.pairwise(edges)]
