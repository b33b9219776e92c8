"""Random sequences of calls do the same on our loop as on asyncio's, but for what is different on purpose.

Each difference that is on purpose is a row of the table in docs/embedding.md and a rule here. A difference that no rule
explains is printed with its seed and the fewest steps that bring it about.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from helpers import datagram_sequences, stream_sequences
from helpers.sequences import Compared, Difference, Run, Sequence

from proactor_echo import loops
from proactor_echo.loops import private

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # of the stock loop's transports

selector = pytest.mark.skipif(
    sys.platform == "win32", reason="asyncio's proactor transports do wrong what ours do right: docs/windows.md"
)

PAGE = Path(__file__).resolve().parents[2] / "docs" / "embedding.md"

EACH = 150
"""Sequences in one test."""

Rule = Callable[[Sequence, Difference], object]


def fails_when_made(sequence: Sequence, _: Difference) -> bool:
    return bool(sequence.given["failing"] == "connection_made")


def stock_fails_inside(sequence: Sequence, difference: Difference) -> bool:
    ours, stock = difference.get("errors", ([], []))
    return sequence.has("sendfile") and "InvalidStateError" in stock and "InvalidStateError" not in ours


def told_of_the_end_twice(sequence: Sequence, difference: Difference) -> bool:
    ours, stock = difference.get("callbacks", ([], []))
    return sequence.has("sendfile") and ours.count("eof_received") == 1 < stock.count("eof_received")


def shutdown_fails(sequence: Sequence, difference: Difference) -> bool:
    raised = difference.get("results") and "write_eof: OSError" in difference["results"][1]
    told = difference.get("errors") == ([], ["OSError"])
    return bool(raised or told) and (sequence.has("write_eof") or sequence.given["reaction"] == "write_eof")


def is_over(_: Sequence, difference: Difference) -> bool:
    failures = re.compile("AttributeError|writelines: TypeError")
    return all(failures.search(str(stock)) and not failures.search(str(ours)) for ours, stock in difference.values())


def waits_behind_nothing(sequence: Sequence, difference: Difference) -> bool:
    ours, stock = difference.get("arrived", ([], []))
    return sequence.has("writelines") and len(ours) > len(stock) and ours[: len(stock)] == stock


def was_empty(sequence: Sequence, _: Difference) -> bool:
    return sequence.has("send nothing")


def sent_after_the_end(sequence: Sequence, difference: Difference) -> bool:
    ended = sequence.has("close") or sequence.has("abort") or sequence.given["reaction"] in ("close", "abort")
    fewer = all(len(ours) < len(stock) and set(ours) <= set(stock) for ours, stock in difference.values())
    return ended and fewer and difference.keys() <= {"arrived", "callbacks"}


def fails_in_sendto(sequence: Sequence, difference: Difference) -> bool:
    ours, stock = difference.get("results", ([], []))
    return (
        sequence.given["failing"] == "error_received" and "ZeroDivisionError" in str(stock) and "Zero" not in str(ours)
    )


def came_together(sequence: Sequence, difference: Difference) -> bool:
    ours, stock = difference.get("arrived", ([], []))
    return sequence.has("peer sends", "peer sends") and sorted(ours) == sorted(stock)


STREAMS: dict[str, Rule] = {
    "An exception in `connection_made` ends the connection": fails_when_made,
    "`sendfile` that is cancelled while it waits leaves the transport as it was": stock_fails_inside,
    "`eof_received` is called once, `sendfile` or not": told_of_the_end_twice,
    "`write_eof` on a connection that the peer has reset or closed raises nothing": shutdown_fails,
    "`writelines` sends at once, also with an empty part": waits_behind_nothing,
    "Calls on a transport whose connection is over do nothing": is_over,
}

DATAGRAMS: dict[str, Rule] = {
    "An empty datagram is sent": was_empty,
    "Calls on a transport whose connection is over do nothing": is_over,
    "An exception in `error_received` goes to the loop's exception handler": fails_in_sendto,
    "Datagrams that are waiting are received together, in one iteration": came_together,
    "After `close` or `abort`, `sendto` sends nothing": sent_after_the_end,
}


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What the stock loop logs of broken connections is not looked at."""
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def unexplained(kind: ModuleType, runs: Callable[..., Run], seeds: range, rules: dict[str, Rule]) -> list[str]:
    """Run the sequences of these seeds on both loops; describe what is different and not on purpose."""
    compared = Compared(runs, loops.new_event_loop, private.StockLoop)
    found = []
    for seed in seeds:
        sequence = kind.sequence(seed)
        if not compared.difference(sequence):
            continue
        difference = compared.difference(sequence)  # again: nothing may hang on chance
        sequence, difference = compared.smallest(sequence, difference)
        if difference and not any(rule(sequence, difference) for rule in rules.values()):
            seen = [f"{name}\n    ours  {ours}\n    stock {stock}" for name, (ours, stock) in difference.items()]
            found.append("\n  ".join([str(sequence), *seen]))
    return found


@selector
@pytest.mark.parametrize("first", [0, EACH])
def test_stream_transports_do_as_asyncios_do(first: int) -> None:
    found = unexplained(stream_sequences, stream_sequences.StreamRun, range(first, first + EACH), STREAMS)
    assert not found, "\n".join(found)


@selector
def test_datagram_transports_do_as_asyncios_do() -> None:
    found = unexplained(datagram_sequences, datagram_sequences.DatagramRun, range(EACH), DATAGRAMS)
    assert not found, "\n".join(found)


KINDS = [(stream_sequences, stream_sequences.StreamRun), (datagram_sequences, datagram_sequences.DatagramRun)]


@pytest.mark.parametrize(("kind", "runs"), KINDS, ids=["streams", "datagrams"])
def test_whatever_is_called_a_connection_begins_and_ends_once_and_nothing_is_out_of_order(
    kind: ModuleType, runs: Callable[..., Run]
) -> None:
    compared = Compared(runs, loops.new_event_loop, loops.new_event_loop)
    for seed in range(EACH):
        sequence = kind.sequence(seed)
        seen = compared.seen(loops.new_event_loop, sequence)
        callbacks, arrived = seen["callbacks"], [what for what in seen["arrived"] if what[0].isupper()]
        assert callbacks[0] == "connection_made", sequence
        assert callbacks[-1].startswith("connection_lost"), sequence
        assert len([name for name in callbacks if name.startswith("connection")]) == 2, sequence
        assert callbacks.count("eof_received") <= 1, sequence
        assert seen["got"] != "wrong", sequence
        assert arrived == sorted(arrived, key=lambda what: what[0]), sequence


def test_the_docs_name_every_difference_that_is_on_purpose() -> None:
    rows = re.findall(
        r"^\| ([^|]+?) \|", PAGE.read_text(encoding="utf-8").split("from asyncio's on purpose")[1], re.MULTILINE
    )
    assert set(STREAMS) | set(DATAGRAMS) <= set(rows)
