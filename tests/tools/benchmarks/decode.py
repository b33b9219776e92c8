"""Decoding and encoding against the loops that a careful user writes by hand, in one run.

    python tests/tools/benchmarks/decode.py [--rounds 31]

Each round times both sides one after the other, and what counts is the median of the rounds' ratios, so a busy machine
disturbs both alike. Exits with status 1 if length-prefixed frames of 128 bytes in chunks of 64 KiB are not at least 2.5
times as fast, or if the two sides do not yield the same frames.
"""

import argparse
import random
import statistics
import struct
import sys
import time
from collections.abc import Callable, Sequence

from proactor_echo.wire import Codec, LengthCodec, LineCodec, NetstringCodec, VarintCodec

TARGET = 2.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=31)
    rounds = parser.parse_args().rounds
    print(f"Python {sys.version.split()[0]}, medians of {rounds} rounds, nanoseconds a frame")
    print(f"{'':44}{'by hand':>9}{'codec':>9}{'ratio':>8}")
    ratio = compare_decoding(rounds)
    compare_encoding(rounds)
    print(f"\n128-byte frames in 64 KiB chunks: {ratio:.1f} times the loop written by hand; wanted: {TARGET}")
    sys.exit(ratio < TARGET)


def compare_decoding(rounds: int) -> float:
    """Print a line for each kind of traffic; return the ratio that counts."""
    source = random.Random(862)
    same = [bytes(128)] * 4000
    mixed = [bytes(source.randrange(16, 240)) for _ in range(4000)]
    # Frames that begin as a run and then are none: the worst for a decoder that looks for runs.
    broken = [bytes(100 + index // 5 % 40) for index in range(4000)]
    length, varint, netstring = LengthCodec(), VarintCodec(), NetstringCodec()
    return [
        decode("128-byte frames, 64 KiB chunks", length, HandLength, same, 65536, rounds),
        decode("128-byte frames, 16 in a chunk", length, HandLength, same, 16 * 132, rounds),
        decode("128-byte frames, 1 in a chunk", length, HandLength, same, 132, rounds),
        decode("128-byte frames, cut anywhere, 1460 a chunk", length, HandLength, same, 1460, rounds),
        decode("16 to 239 bytes, 64 KiB chunks", length, HandLength, mixed, 65536, rounds),
        decode("16 to 239 bytes, 2112 a chunk", length, HandLength, mixed, 2112, rounds),
        decode("runs of 5, then another length", length, HandLength, broken, 65536, rounds),
        decode("1-byte frames, 64 KiB chunks", length, HandLength, [b"x"] * 20000, 65536, rounds),
        decode("64 KiB frames, 64 KiB chunks", length, HandLength, [bytes(65536)] * 100, 65536, rounds),
        decode("varint, 128-byte frames", varint, HandVarint, same, 65536, rounds),
        decode("varint, 16 to 239 bytes", varint, HandVarint, mixed, 65536, rounds),
        decode("netstring, 128-byte frames", netstring, HandNetstring, same, 65536, rounds),
        decode("netstring, 16 to 239 bytes", netstring, HandNetstring, mixed, 65536, rounds),
        decode("lines of 128 bytes", LineCodec(), HandLine, same, 65536, rounds),
        decode("lines of 128 bytes with \\r\\n", LineCodec(newline=b"\r\n"), HandLine, same, 65536, rounds),
    ][0]


def decode(
    name: str, codec: Codec, by_hand: "type[ByHand]", payloads: Sequence[bytes], size: int, rounds: int
) -> float:
    stream = codec.encode_many(payloads)
    chunks = [stream[start : start + size] for start in range(0, len(stream), size)]

    def frames(feed: Callable[[bytes], list[bytes]]) -> list[bytes]:
        return [frame for chunk in chunks for frame in feed(chunk)]

    def run(feed: Callable[[bytes], list[bytes]]) -> None:
        for chunk in chunks:
            feed(chunk)

    assert frames(codec.decoder().feed) == frames(by_hand().feed) == list(payloads)
    return compare(name, lambda: run(by_hand().feed), lambda: run(codec.decoder().feed), len(payloads), rounds)


def compare_encoding(rounds: int) -> None:
    source = random.Random(862)
    same = [bytes(128)] * 16
    mixed = [bytes(source.randrange(16, 240)) for _ in range(16)]
    pack = struct.pack

    def length(payloads: Sequence[bytes]) -> bytes:
        return b"".join([pack(">I", len(payload)) + payload for payload in payloads])

    def netstring(payloads: Sequence[bytes]) -> bytes:
        return b"".join([b"%d:%b," % (len(payload), payload) for payload in payloads])

    def line(payloads: Sequence[bytes]) -> bytes:
        return b"".join([payload + b"\n" for payload in payloads])  # which refuses nothing

    encode("encode_many: 16 of 128 bytes", LengthCodec(), length, same, rounds)
    encode("encode_many: 16 of 16 to 239 bytes", LengthCodec(), length, mixed, rounds)
    encode("encode_many: 16 netstrings of 128 bytes", NetstringCodec(), netstring, same, rounds)
    encode("encode_many: 16 lines of 128 bytes", LineCodec(), line, same, rounds)
    encode("encode_many: 1 of 128 bytes", LengthCodec(), length, same[:1], rounds)


def encode(
    name: str, codec: Codec, by_hand: Callable[[Sequence[bytes]], bytes], payloads: Sequence[bytes], rounds: int
) -> None:
    def run(encode_many: Callable[[Sequence[bytes]], bytes]) -> None:
        for _ in range(300):
            encode_many(payloads)

    assert codec.encode_many(payloads) == by_hand(payloads)
    compare(name, lambda: run(by_hand), lambda: run(codec.encode_many), 300 * len(payloads), rounds)


class ByHand:
    """What a careful user writes: nothing is wrong with it, but everything is done in Python, frame by frame."""

    def __init__(self) -> None:
        self.buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        raise NotImplementedError


class HandLength(ByHand):
    def feed(self, data: bytes) -> list[bytes]:
        buffer = self.buffer
        buffer += data
        position = 0
        frames = []
        while len(buffer) - position >= 4:
            (length,) = struct.unpack_from(">I", buffer, position)
            if len(buffer) - position - 4 < length:
                break
            frames.append(bytes(buffer[position + 4 : position + 4 + length]))
            position += 4 + length
        del buffer[:position]
        return frames


class HandVarint(ByHand):
    def feed(self, data: bytes) -> list[bytes]:
        buffer = self.buffer
        buffer += data
        position = 0
        frames = []
        while position < len(buffer):
            length = shift = 0
            for start in range(position, min(position + 5, len(buffer))):
                length |= (buffer[start] & 0x7F) << shift
                shift += 7
                if buffer[start] < 0x80:
                    break
            else:
                break
            if len(buffer) - start - 1 < length:
                break
            frames.append(bytes(buffer[start + 1 : start + 1 + length]))
            position = start + 1 + length
        del buffer[:position]
        return frames


class HandNetstring(ByHand):
    def feed(self, data: bytes) -> list[bytes]:
        buffer = self.buffer
        buffer += data
        position = 0
        frames = []
        while (colon := buffer.find(b":", position)) >= 0:
            length = int(buffer[position:colon])
            if len(buffer) - colon - 1 <= length:
                break
            frames.append(bytes(buffer[colon + 1 : colon + 1 + length]))
            position = colon + 1 + length + 1
        del buffer[:position]
        return frames


class HandLine(ByHand):
    def feed(self, data: bytes) -> list[bytes]:
        buffer = self.buffer
        buffer += data
        position = 0
        frames = []
        while (end := buffer.find(b"\n", position)) >= 0:
            frames.append(bytes(buffer[position:end].removesuffix(b"\r")))
            position = end + 1
        del buffer[:position]
        return frames


def compare(name: str, hand: Callable[[], object], ours: Callable[[], object], frames: int, rounds: int) -> float:
    """Print both medians in nanoseconds a frame and the median of the rounds' ratios; return the latter."""
    pairs = [(timed(hand), timed(ours)) for _ in range(rounds)]
    ratio = statistics.median(by_hand / by_codec for by_hand, by_codec in pairs)
    medians = (statistics.median(column) / frames for column in zip(*pairs, strict=True))
    print(f"{name:44}" + "".join(f"{median:9.0f}" for median in medians) + f"{ratio:8.2f}", flush=True)
    return ratio


def timed(work: Callable[[], object]) -> int:
    start = time.perf_counter_ns()
    work()
    return time.perf_counter_ns() - start


if __name__ == "__main__":
    main()
