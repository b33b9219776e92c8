"""What the system tells, on any of them: limits, addresses, clocks."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Final

from proactor_echo.cli.doctor.rows import Row, Verdict
from proactor_echo.sockets.options import SocketOptions

__all__ = ["system_rows"]

#: Descriptors below which a server meets its limit soon, and below which it may.
FEW_DESCRIPTORS: Final = 1024
ENOUGH_DESCRIPTORS: Final = 10_000
#: The backlog that servers of this package ask for.
BACKLOG: Final = 1024
#: Seconds for which Linux keeps the port of a connection that this side has closed.
TIME_WAIT: Final = 60
#: Ports for outgoing connections below which a busy client or load balancer runs out of them.
FEW_PORTS: Final = 10_000
#: Seconds by which a clock's tick makes timers late enough to say so.
COARSE: Final = 0.005

PROC: Final = Path("/proc/sys/net")


def system_rows() -> list[Row]:
    """Look at this system."""
    rows = [descriptors(), backlog(), ports(), ipv6(), clock(), shared_ports()]
    return [row for row in rows if row is not None]


def descriptors() -> Row | None:
    """Say how many files and sockets a process may have open."""
    if sys.platform == "win32":
        return None  # the number of handles is bounded by memory
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    facts = {"soft": soft, "hard": hard}
    if soft == resource.RLIM_INFINITY or soft >= ENOUGH_DESCRIPTORS:
        return Row("descriptors", Verdict.OK, f"{_limit(soft)} for a process", facts)
    more = f"`ulimit -n {_limit(hard)}`, or LimitNOFILE= in a unit of systemd, allows more"
    if hard <= soft:
        more = "the hard limit is the same: an administrator must raise it"
    detail = f"{soft} for a process, so about {max(0, soft - 24)} connections at once: {more}"
    return Row("descriptors", Verdict.BAD if soft < FEW_DESCRIPTORS else Verdict.NOTE, detail, facts)


def _limit(number: int) -> str:
    return "unlimited" if number < 0 or number >= 1 << 62 else str(number)


def backlog() -> Row | None:
    """Say how many connections may wait to be accepted."""
    most = _number(PROC / "core/somaxconn")
    if sys.platform != "linux" or most is None:
        return None
    facts = {"somaxconn": most}
    if most < BACKLOG:
        detail = f"at most {most} connections may wait: net.core.somaxconn cuts --backlog {BACKLOG} to that"
        return Row("backlog", Verdict.NOTE, detail, facts)
    return Row("backlog", Verdict.OK, f"up to {most} connections may wait to be accepted", facts)


def ports() -> Row | None:
    """Say which ports outgoing connections get, and how long one is kept after its connection."""
    if sys.platform != "linux":
        return None
    try:
        first, last = map(int, (PROC / "ipv4/ip_local_port_range").read_text().split())
    except (OSError, ValueError):
        return None
    count = last - first + 1
    reuse = _number(PROC / "ipv4/tcp_tw_reuse")
    facts = {"first": first, "last": last, "time_wait_seconds": TIME_WAIT, "tcp_tw_reuse": reuse}
    rate = count // TIME_WAIT
    kept = f"a client that ends first keeps one for {TIME_WAIT} s"
    detail = f"{first} to {last}; {kept}, and so can connect {rate} times a second to one address"
    if reuse == 1:
        detail = f"{first} to {last}; those in TIME_WAIT are used again (net.ipv4.tcp_tw_reuse)"
    return Row("outgoing ports", Verdict.NOTE if count < FEW_PORTS else Verdict.OK, detail, facts)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def ipv6() -> Row:
    """Say whether IPv6 can be used."""
    if not socket.has_ipv6:
        return Row("IPv6", Verdict.NOTE, "this Python was built without it", {"usable": False})
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as sock:
            sock.bind(("::1", 0))
    except OSError as error:
        name = errno.errorcode.get(error.errno or 0, str(error.errno))
        return Row("IPv6", Verdict.NOTE, f"::1 cannot be bound ({name}): it is turned off", {"usable": False})
    return Row("IPv6", Verdict.OK, "works on this machine", {"usable": True})


def clock() -> Row:
    """Say how late timers are."""
    resolution = _resolution()
    late = min(_wait(0.001) for _ in range(5)) - 0.001
    facts = {"resolution_seconds": resolution, "late_seconds": round(late, 6)}
    detail = f"a timer of 1 ms took {1000 * (late + 0.001):.1f} ms; the loop's clock has a tick of {_time(resolution)}"
    return Row("clock", Verdict.NOTE if max(late, resolution) > COARSE else Verdict.OK, detail, facts)


def _resolution() -> float:
    return time.get_clock_info("monotonic").resolution


def _wait(seconds: float) -> float:
    began = time.perf_counter()
    threading.Event().wait(seconds)
    return time.perf_counter() - began


def _time(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-4 else f"{seconds * 1e9:.0f} ns"


def shared_ports() -> Row:
    """Say what several sockets on one port mean here."""
    try:
        SocketOptions(reuse_port=True)
    except ValueError:
        shares = False
    else:
        shares = True
    if shares:
        detail = "SO_REUSEPORT shares a port out: --balance reuseport, and workers for UDP"
    elif sys.platform == "win32":
        detail = "there is no SO_REUSEPORT: with --workers one process accepts, and UDP has one process"
    else:
        detail = "SO_REUSEPORT shares nothing out: --workers accept on one listener, and UDP has one process"
    return Row("shared ports", Verdict.OK, detail, {"shared_out": shares, "cpus": os.cpu_count()})
