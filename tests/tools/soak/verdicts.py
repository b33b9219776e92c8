"""What must hold, and whether it did."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

#: An honest client's 99th percentile under attack, to that at rest.
RATIO = 5.0

#: Seconds that are too short to compare: what the system's scheduler takes on a machine with other work.
SHORT = 0.001

#: Bytes by which memory may have grown in the second half of the attack.
GROWTH = 8 << 20

#: Objects that may be left: a cache fills, a table has an entry for each source.
OBJECTS = 2000

#: The share of datagrams that may be lost under a flood: the system drops what does not fit into the socket's buffer.
UDP_LOSS = 0.02

#: The share of honest visitors that may not be let in under attack.
REFUSED = 0.01

#: Lines of the log a second.
LINES = 50.0


class Verdict(NamedTuple):
    """A line of the report."""

    name: str
    holds: bool
    figures: str


def judge(report: dict[str, Any]) -> Iterator[Verdict]:
    """Yield what must hold for one server."""
    rest, attacked = report["at rest"], report["under attack"]
    if report["kind"] == "udp":
        share = attacked["lost"] / max(1, attacked["sent"])
        yield Verdict("nothing lost at rest", rest["lost"] == 0, f"{rest['lost']} of {rest['sent']} datagrams")
        yield Verdict("little lost under attack", share <= UDP_LOSS, f"{share:.2%} of {attacked['sent']} datagrams")
    else:
        lost = rest["lost"] + attacked["lost"]
        yield Verdict("nothing lost", lost == 0, f"{lost} of {rest['bytes'] + attacked['bytes']:,} bytes")
        refused = attacked["not connected"]
        figures = f"{refused} of {attacked['visits'] + refused} could not connect"
        yield Verdict("honest visitors get in", refused <= REFUSED * attacked["visits"], figures)
    wrong = {**rest["wrong"], **attacked["wrong"]}
    yield Verdict("nothing wrong", not wrong, str(wrong or f"{rest['messages'] + attacked['messages']:,} messages"))
    ratio = attacked["p99"] / max(rest["p99"], SHORT)
    figures = f"p99 {rest['p99'] * 1e3:.2f} ms at rest, {attacked['p99'] * 1e3:.2f} ms under attack: {ratio:.1f}x"
    yield Verdict("honest clients are not delayed", attacked["messages"] > 0 and ratio <= RATIO, figures)
    before, after = report["before"], report["after"]
    for name, most in (("descriptors", 0), ("tasks", 0), ("objects", OBJECTS)):
        left = after.get(name, 0) - before.get(name, 0)
        holds = bool(after) and left <= most
        if before.get(name) == 0:
            continue  # Wine 8 does not count handles
        yield Verdict(f"no {name} left", holds, f"{before.get(name)} before, {after.get(name)} after")
    grown = report["memory slope"] * report["attack seconds"] / 2
    yield Verdict(
        "memory does not grow", grown <= GROWTH, f"{report['memory slope'] / 1024:.1f} KiB/s in the second half"
    )
    if report["idle cpu"] is not None:
        yield Verdict("quiet when all have gone", report["idle cpu"] < 0.2, f"{report['idle cpu']:.0%} of a CPU")
    lines = sum(report["log"].values())
    yield Verdict(
        "the log is bounded", lines <= LINES * report["seconds"], f"{lines} lines in {report['seconds']:.0f} s"
    )
    yield Verdict(
        "it stops when told to",
        report["exit status"] == 0,
        f"exit status {report['exit status']}, {report['stop seconds']:.1f} s",
    )
