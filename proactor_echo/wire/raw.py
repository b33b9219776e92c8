"""The codec without frames: pieces as the network makes them."""

from __future__ import annotations

from collections.abc import Sequence

from proactor_echo.wire.codec import BytesLike, Codec, Decoder, as_bytes, join

__all__ = ["RawCodec"]


class RawCodec(Codec):
    """No frames: bytes go out as they are, and come in as the pieces the network makes of them.

    The pieces, joined, are the bytes that were sent; nothing else is certain. An empty payload sends nothing, and the
    length of a piece depends only on how much a read returned.
    """

    canonical = True

    def __repr__(self) -> str:
        return "RawCodec()"

    def encode(self, payload: BytesLike) -> bytes:
        """Return the payload."""
        return as_bytes(payload)

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the payloads, joined."""
        return join(b"", payloads)

    def decoder(self) -> Decoder:
        """Return a decoder that hands out every piece as it comes."""
        return _RawDecoder()


class _RawDecoder(Decoder):
    def decode_chunk(self, data: bytes, frames: list[bytes]) -> None:
        if data:
            frames.append(data)
