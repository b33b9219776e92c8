"""Ten million made-up sources, half of them IPv6: by how much the table of sources grows, and how long each takes.

Run it as ``python tests/tools/many_sources.py [SOURCES]``, on Linux.
"""

import random
import resource
import sys
import time

from proactor_echo.net.sources import Source, SourceTable


def main() -> None:
    if sys.platform == "win32":
        raise SystemExit("it measures with getrusage(), which Windows has not")
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    table = SourceTable()
    bits = random.Random(1).getrandbits
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    for number in range(count // 2):
        table.set(Source(4, bits(32), 32), number + 0.5)
        table.set(Source(6, bits(64), 64), number + 0.5)
    each = (time.perf_counter() - start) / count
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(f"{count:,} sources: {grown / 1024:.1f} MiB more at the peak, {each * 1e6:.2f} us each, {len(table):,} kept")


if __name__ == "__main__":
    main()
