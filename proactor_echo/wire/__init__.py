r"""Bytes in, frames out: all codecs, and what may happen to a connection when. No I/O, no clock.

======================= ==================================================================
:class:`RawCodec`       no frames; pieces as the network makes them
:class:`LengthCodec`    a binary length field, with the whole parameter set of Netty's decoder
:class:`VarintCodec`    a varint length, as in Protocol Buffers streams
:class:`NetstringCodec` ``5:hello,``
:class:`LineCodec`      ``\n`` or ``\r\n``
:class:`DelimiterCodec` any delimiters
:class:`FixedCodec`     all frames of one length
======================= ==================================================================

:class:`Codec` and :class:`Decoder` are there to be subclassed.
"""

from __future__ import annotations

from proactor_echo.wire.codec import BytesLike, Codec, Decoder, PartialFrame
from proactor_echo.wire.delimiters import DelimiterCodec, LineCodec
from proactor_echo.wire.fixed import FixedCodec
from proactor_echo.wire.length import LengthCodec
from proactor_echo.wire.netstring import NetstringCodec
from proactor_echo.wire.raw import RawCodec
from proactor_echo.wire.varint import VarintCodec

__all__ = [
    "BytesLike",
    "Codec",
    "Decoder",
    "DelimiterCodec",
    "FixedCodec",
    "LengthCodec",
    "LineCodec",
    "NetstringCodec",
    "PartialFrame",
    "RawCodec",
    "VarintCodec",
]
