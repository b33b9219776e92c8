"""Assertions about codecs: the same frames however the stream is cut, and what went in comes out.

They know nothing about any codec but its interface, so they are for your own codecs as much as for those of this
package. Everything that is left to chance comes from a seed, which is 0 unless given, and is named in every failure.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from random import Random
from typing import Any, Final, NamedTuple, Protocol

from proactor_echo.arguments import check_bytes, check_instance, check_whole
from proactor_echo.testing.conformance.payloads import make_payloads
from proactor_echo.wire.codec import Codec
from proactor_echo.wire.raw import RawCodec

__all__ = ["AnyCodec", "AnyDecoder", "assert_round_trip", "assert_split_invariant"]

#: Streams of up to so many bytes are cut in every way there is: 2 to the power of 9.
_ALL_WAYS: Final = 10
#: Streams of up to so many bytes are cut into three parts in every way.
_THREE_PARTS: Final = 80
#: Streams of up to so many bytes are cut into two parts in every way.
_TWO_PARTS: Final = 2048
#: Streams of up to so many bytes are fed byte by byte.
_BYTE_BY_BYTE: Final = 1 << 16


class AnyDecoder(Protocol):
    """What a decoder must have; :class:`~proactor_echo.Decoder` has it."""

    def feed(self, data: bytes, /) -> Sequence[Any]:
        """Take the next bytes of the stream; return the frames that are complete with them."""

    def eof(self) -> Sequence[Any]:
        """Take the end of the stream; return the frames that are complete by it."""


class AnyCodec(Protocol):
    """What a codec must have; :class:`~proactor_echo.Codec` has it."""

    def encode(self, payload: bytes, /) -> bytes:
        """Return the bytes that carry one payload, or raise ValueError."""

    def decoder(self) -> AnyDecoder:
        """Return a new decoder, for one stream."""


def assert_split_invariant(
    codec: AnyCodec,
    wire: bytes,
    frames: Sequence[bytes],
    *,
    error: type[Exception] | None = None,
    seed: int = 0,
    tries: int = 200,
) -> None:
    """Assert that ``wire`` decodes to ``frames`` however it is cut into pieces.

    Tried are: the whole; every cut into two parts (up to 2,048 bytes, else ``tries`` at random); every cut into three
    parts (up to 80 bytes); every cut there is (up to 10 bytes); byte by byte (up to 64 KiB); and ``tries`` random cuts
    into any number of parts, empty ones among them.

    :param codec: the codec to check.
    :param wire: the bytes of the stream.
    :param frames: what it decodes to.
    :param error: what the decoder must raise after those frames, for a stream that is damaged or ends too early; the
        stream's end is part of every try. Frames that an exception carries in its ``frames`` count, as they do in this
        package.
    :param seed: where the random cuts come from.
    :param tries: how many random cuts are tried.

    Raises AssertionError with the smallest split that was found to fail: no cut can be left out of it.
    """
    __tracebackhide__ = True
    _check_codec(codec)
    check_bytes("wire", wire)
    check_whole("tries", tries)
    expected = _Outcome(list(frames), error)
    for cuts in _cuts(len(wire), seed, tries):
        if _decode(codec, wire, cuts) != expected:
            smallest = _shrink(codec, wire, cuts, expected)
            raise AssertionError(_difference(codec, wire, smallest, expected, seed))


def assert_round_trip(
    codec: AnyCodec, payloads: Iterable[bytes] | None = None, *, seed: int = 0, count: int = 200
) -> None:
    """Assert that what is encoded comes out as it went in: each payload alone, and all in one stream however cut.

    :param codec: the codec to check.
    :param payloads: what to encode; the codec must accept them. ``None``: payloads are made from the seed, among them
        the empty one, every byte value, newlines and delimiters, digits, and the longest that the codec allows (its
        ``max_frame_length``, if it has that). Those that ``encode`` refuses with ValueError
        (:class:`~proactor_echo.FramingError` is one) are left out; a codec that refuses all of them needs payloads of
        its own.
    :param seed: where the payloads and the cuts come from.
    :param count: how many payloads are made.

    A :class:`~proactor_echo.RawCodec` has no frames: its payloads, joined, must be what comes out, joined.

    Raises AssertionError.
    """
    __tracebackhide__ = True
    _check_codec(codec)
    check_whole("count", count)
    given = None if payloads is None else list(payloads)
    chosen = _encodable(codec, seed, count) if given is None else given
    encoded = [bytes(codec.encode(payload)) for payload in chosen]
    for payload, wire in zip(chosen, encoded, strict=True):
        if (came := _decode(codec, wire, ())) != _expected(codec, [payload]):
            raise AssertionError(
                f"{codec!r} encodes {_show(payload)} as {_show(wire)}, which decodes to {came} (seed {seed})"
            )
    stream = b"".join(encoded)
    if hasattr(codec, "encode_many") and codec.encode_many(chosen) != stream:
        raise AssertionError(f"{codec!r}: encode_many(payloads) is not encode() of one after the other (seed {seed})")
    if isinstance(codec, RawCodec):
        return
    short = [place for place, wire in enumerate(encoded) if len(wire) <= _TWO_PARTS]
    stream = b"".join(encoded[place] for place in short)
    assert_split_invariant(codec, stream, [chosen[place] for place in short], seed=seed, tries=50)
    for payload, wire in zip(chosen, encoded, strict=True):
        if len(wire) > _TWO_PARTS:
            assert_split_invariant(codec, wire, [payload], seed=seed, tries=5)


def _check_codec(codec: object) -> None:
    """Check a codec, which need not be derived from ours."""
    if isinstance(codec, type) or not (hasattr(codec, "encode") and hasattr(codec, "decoder")):
        check_instance("codec", codec, Codec)


class _Outcome(NamedTuple):
    """What became of a stream."""

    frames: list[Any]
    error: type[Exception] | None

    def __str__(self) -> str:
        frames = f"[{', '.join(map(_show, self.frames[:8]))}{', ...' if len(self.frames) > 8 else ''}]"
        return f"{len(self.frames)} frames {frames}" + (f", then {self.error.__name__}" if self.error else "")


def _decode(codec: AnyCodec, wire: bytes, cuts: Sequence[int]) -> _Outcome:
    """Feed the pieces and the end of the stream to a new decoder. A codec's bug may raise anything."""
    decoder = codec.decoder()
    frames: list[Any] = []
    try:
        for start, end in itertools.pairwise((0, *cuts, len(wire))):
            frames += decoder.feed(wire[start:end])
        frames += decoder.eof()
    except Exception as exc:
        return _Outcome(frames + list(getattr(exc, "frames", ())), type(exc))
    return _Outcome([b"".join(frames)] if isinstance(codec, RawCodec) else frames, None)


def _cuts(length: int, seed: int, tries: int) -> Iterator[tuple[int, ...]]:
    """Yield ways to cut a stream, those with the fewest cuts first."""
    inside = range(1, length)
    yield ()
    if length <= _TWO_PARTS:
        yield from ((place,) for place in inside)
    else:
        source = Random(f"{seed} two parts")
        yield from ((source.randrange(1, length),) for _ in range(tries))
    if length <= _THREE_PARTS:
        yield from itertools.combinations(inside, 2)
    if length <= _ALL_WAYS:
        for count in range(3, length):
            yield from itertools.combinations(inside, count)
    if length <= _BYTE_BY_BYTE:
        yield tuple(inside)
    source = Random(seed)
    for turn in range(tries):
        yield tuple(_RANDOM_CUTS[turn % len(_RANDOM_CUTS)](length, source))


def _anywhere(length: int, source: Random) -> list[int]:
    """Cut at a few places anywhere; two at the same place make an empty piece."""
    return sorted(source.randrange(length + 1) for _ in range(source.randrange(1, source.choice((4, 12, 40)))))


def _in_one_place(length: int, source: Random) -> list[int]:
    """Cut one stretch into crumbs: what only goes wrong when one frame comes in many pieces shows in long streams."""
    place = source.randrange(length + 1)
    end = min(length, place + source.choice((8, 32, 128)))
    cuts = [place]
    while (place := place + source.randrange(4)) < end:
        cuts.append(place)
    return cuts


def _into_slices(length: int, source: Random) -> list[int]:
    """Cut all of it into pieces of about one size, as a network does."""
    most = max(source.choice((3, 7, 64, 1460)), length // 4096)
    cuts = [source.randrange(most + 1)]
    while (place := cuts[-1] + source.randrange(1, most + 1)) < length:
        cuts.append(place)
    return [place for place in cuts if place <= length]


_RANDOM_CUTS: Final = (_anywhere, _in_one_place, _into_slices)


def _shrink(codec: AnyCodec, wire: bytes, cuts: tuple[int, ...], expected: _Outcome) -> tuple[int, ...]:
    """Leave out cuts, halves of them first, for as long as it still fails."""
    step = max(1, len(cuts) // 2)
    while True:
        start = 0
        while start < len(cuts):
            fewer = cuts[:start] + cuts[start + step :]
            if _decode(codec, wire, fewer) != expected:
                cuts = fewer
            else:
                start += step
        if step == 1:
            return cuts
        step //= 2


def _difference(codec: AnyCodec, wire: bytes, cuts: tuple[int, ...], expected: _Outcome, seed: int) -> str:
    came = _decode(codec, wire, cuts)
    where = f"cut at {', '.join(map(str, cuts))}" if cuts else "in one piece"
    lines = [f"{codec!r}: {len(wire)} bytes {where} decode differently (seed {seed})"]
    if len(wire) <= 200:
        pieces = [wire[start:end] for start, end in itertools.pairwise((0, *cuts, len(wire)))]
        lines.append(f"  pieces    {pieces}")
    first = next(
        (place for place, pair in enumerate(zip(expected.frames, came.frames, strict=False)) if pair[0] != pair[1]),
        min(len(expected.frames), len(came.frames)),
    )
    if first:
        lines.append(f"  the first {first} frames are right; from there on:")
    lines.append(f"  expected  {expected._replace(frames=expected.frames[first:])}")
    lines.append(f"  came      {came._replace(frames=came.frames[first:])}")
    return "\n".join(lines)


def _expected(codec: AnyCodec, payloads: list[bytes]) -> _Outcome:
    return _Outcome([b"".join(payloads)] if isinstance(codec, RawCodec) else payloads, None)


def _encodable(codec: AnyCodec, seed: int, count: int) -> list[bytes]:
    """Return made-up payloads that the codec accepts. Raises AssertionError when there is none."""
    chosen: list[bytes] = []
    for payload in itertools.islice(make_payloads(seed, getattr(codec, "max_frame_length", None)), count * 10):
        try:
            codec.encode(payload)
        except ValueError:
            continue
        chosen.append(payload)
        if len(chosen) == count:
            break
    if not chosen:
        raise AssertionError(f"{codec!r} refuses every payload that was tried (seed {seed}): pass payloads=[...]")
    return chosen


def _show(data: object) -> str:
    text = repr(data)
    return text if len(text) <= 60 or not isinstance(data, bytes) else f"{data[:12]!r}... of {len(data)} bytes"
