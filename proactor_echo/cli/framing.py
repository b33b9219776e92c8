"""The framings that the command line offers, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final

from proactor_echo.wire import Codec, LengthCodec, LineCodec, NetstringCodec, RawCodec, VarintCodec
from proactor_echo.wire.codec import BytesLike, as_bytes

__all__ = ["FRAMINGS", "LONGEST_FRAME", "make_codec"]

#: Bytes: what a length of 32 bits can say.
LONGEST_FRAME: Final = (1 << 32) - 1


def make_codec(framing: str, max_frame_length: int | None = None) -> Codec:
    """Return the codec for a name in :data:`FRAMINGS`; ``max_frame_length`` is in bytes, None for the codec's own.

    Raises ValueError for a limit together with ``raw``, which has no frames to limit.
    """
    if max_frame_length is None:
        return FRAMINGS[framing]()
    if framing == "raw":
        raise ValueError("raw bytes have no frames whose length could be limited")
    return FRAMINGS[framing](max_frame_length=max_frame_length)


class _EchoLineCodec(LineCodec):
    r"""Lines with their newline, ``\n`` or ``\r\n`` as it came, and a last line without one as it came."""

    def __init__(self, **limit: int) -> None:
        super().__init__(strip_newline=False, partial="deliver", **limit)  # type: ignore[arg-type]

    def encode(self, payload: BytesLike) -> bytes:
        """Return the line; whatever was received may be sent."""
        return as_bytes(payload)

    def encode_many(self, payloads: Sequence[BytesLike]) -> bytes:
        """Return the lines, joined."""
        return b"".join(payloads)


FRAMINGS: Final[Mapping[str, Callable[..., Codec]]] = MappingProxyType(
    {
        "raw": RawCodec,
        "line": _EchoLineCodec,
        "length": LengthCodec,
        "netstring": NetstringCodec,
        "varint": VarintCodec,
    }
)
