"""What a byte costs when one long frame arrives byte by byte, and when it arrives in small pieces.

    python tests/tools/benchmarks/long_frame.py [--mebibytes 1 2 4 8]

A decoder that looks again at what it has looked at, or copies again what it has copied, costs more for each byte the
longer the frame is: eight times as much for a frame eight times as long. Here the cost of a byte must stay the same.
Processor time is measured, not the time on the clock. Exits with status 1 if the cost grows threefold from the shortest
frame to the longest.
"""

import argparse
import sys
import time

from proactor_echo.wire import Codec, DelimiterCodec, FixedCodec, LengthCodec, LineCodec, NetstringCodec, VarintCodec

MOST = 1 << 30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mebibytes", type=int, nargs="+", default=[1, 2, 4, 8])
    sizes = parser.parse_args().mebibytes
    print(f"Python {sys.version.split()[0]}, nanoseconds a byte")
    print(f"{'':40}" + "".join(f"{size:6} MiB" for size in sizes) + "  longest/shortest")
    grows = False
    for piece in (1, 64):
        for name, codec in (
            ("length", LengthCodec(max_frame_length=MOST)),
            ("varint", VarintCodec(max_frame_length=MOST)),
            ("netstring", NetstringCodec(max_frame_length=MOST)),
            ("line", LineCodec(max_frame_length=MOST)),
            ("one delimiter of 4 bytes", DelimiterCodec(b"\r\n\r\n", max_frame_length=MOST)),
            ("three delimiters", DelimiterCodec(b"--end--", b";", b"\r\n", max_frame_length=MOST)),
            ("fixed", None),
            ("length, skipping", LengthCodec(max_frame_length=8, on_too_long="skip")),
            ("line, skipping", LineCodec(max_frame_length=8, on_too_long="skip")),
        ):
            costs = [cost_of_a_byte(codec or FixedCodec(size << 20), size << 20, piece) for size in sizes]
            ratio = costs[-1] / costs[0]
            grows |= ratio > 3
            label = f"{name}, {piece} at a time"
            print(f"{label:40}" + "".join(f"{cost:10.1f}" for cost in costs) + f"{ratio:18.2f}", flush=True)
    sys.exit(grows)


def cost_of_a_byte(codec: Codec, size: int, piece: int) -> float:
    payload = b"x" * size
    skipping = getattr(codec, "on_too_long", "raise") == "skip"
    if not skipping:
        stream = codec.encode(payload)
    elif isinstance(codec, LengthCodec):
        stream = size.to_bytes(4, "big") + payload
    else:
        stream = payload + b"\n"
    pieces = [stream[start : start + piece] for start in range(0, len(stream), piece)]
    decoder = codec.decoder()
    feed = decoder.feed
    frames = []
    start = time.process_time_ns()
    for one in pieces:
        frames += feed(one)
    spent = time.process_time_ns() - start
    assert frames == ([] if skipping else [payload])
    assert decoder.skipped == skipping
    return spent / len(stream)


if __name__ == "__main__":
    main()
