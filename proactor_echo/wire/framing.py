r"""All codecs: how frames are put into a stream of bytes and found again. No I/O, no clock.

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

from .codec import BytesLike, Codec, Decoder, PartialFrame, RawCodec
from .fixed import FixedCodec
from .length import LengthCodec
from .lines import DelimiterCodec, LineCodec
from .netstring import NetstringCodec
from .varint import VarintCodec

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
