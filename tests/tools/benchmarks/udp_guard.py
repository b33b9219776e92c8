"""What the guard of `proactor-echo udp` costs: datagrams for each second of the server's CPU, with it and without.

    python tests/tools/benchmarks/udp_guard.py
    python tests/tools/benchmarks/udp_guard.py --rounds 7 --seconds 3 --size 512

Twenty clients send bursts of datagrams, each with bytes of its own: one that sent the same again and again as fast as
it can would look like a loop. The rounds with and without take turns, and the median of each is printed.
"""

import argparse
import os
import select
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[3]
CLIENTS = 20
BURST = 6


def cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process so far, as Linux tells it."""
    if sys.platform == "win32":
        raise SystemExit("this needs /proc")
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks: int = os.sysconf("SC_CLK_TCK")
    return (int(fields[11]) + int(fields[12])) / ticks


def load(port: int, size: int, seconds: float) -> int:
    """Send and receive for so many seconds; return how many came back."""
    clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(CLIENTS)]
    for client in clients:
        client.connect(("127.0.0.1", port))
        client.setblocking(False)
    number = answered = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            for _ in range(BURST):
                number += 1
                client.send(b"%0*d" % (size, number))
        missing = CLIENTS * BURST
        while missing and select.select(clients, [], [], 0.2)[0]:
            for client in clients:
                try:
                    while True:
                        client.recv(65536)
                        missing -= 1
                        answered += 1
                except BlockingIOError:
                    pass
    for client in clients:
        client.close()
    return answered


def measure(guard: str, size: int, seconds: float) -> float:
    """Return datagrams for each second of the server's CPU."""
    command = [sys.executable, "-m", "proactor_echo", "udp", "--port", "0", "--quiet", "--guard", guard]
    path = os.pathsep.join([str(CHECKOUT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = os.environ | {"PYTHONPATH": path}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        port = int(server.stdout.readline().rpartition(":")[2])
        load(port, size, 0.3)
        before = cpu_seconds(server.pid)
        answered = load(port, size, seconds)
        spent = cpu_seconds(server.pid) - before
        server.terminate()
        server.stdout.read()
    return answered / spent


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--size", type=int, default=64)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"off": [], "on": []}
    for _ in range(options.rounds):
        for guard, measured in rates.items():
            measured.append(measure(guard, options.size, options.seconds))
    for guard, measured in rates.items():
        print(f"--guard {guard:>3}: {statistics.median(measured):,.0f} datagrams a second of CPU")
    ratio = statistics.median(on / off for off, on in zip(rates["off"], rates["on"], strict=True))
    print(f"on / off: {ratio:.2f}")


if __name__ == "__main__":
    main()
