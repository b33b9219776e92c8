"""Names in the package are words that a reader can look up: private words that were replaced stay away."""

from __future__ import annotations

import io
import re
import tokenize
from pathlib import Path

import proactor_echo

PACKAGE = Path(str(proactor_echo.__file__)).parent

#: What was said, and what is said instead. Whole parts of a name: ``_turn_over`` has the part ``turn``.
WORDS = {
    "turn": "iteration",
    "turns": "iterations",
    "channel": "handler",
    "owed": "pending (output)",
    "room": "slots, writable, capacity",
    "lane": "accept task",
    "lanes": "accept tasks",
    "trouble": "error log",
    "calm": "quiet",
    "healed": "recovered",
    "patience": "timeout, max_errors",
    "told": "reported, logged, got",
    "untold": "not observable",
    "withdraw": "cancel",
    "silently": "skipping (completions) on success",
    "borrow": "get_buffer",
    "borrowed": "(the protocol's) buffer",
    "crashed": "handler_failed",
    "skim": "count (whole frames)",
    "overdue": "deferred",
    "pace": "backoff",
    "dice": "sampler, rng",
    "stage": "harness",
    "forgive": "drop, expect",
    "era": "generation",
    "knock": "probe",
    "site": "target",
    "promise": "requirement",
    "promises": "requirements",
}

#: Names with such a part that stay: public ones, asyncio's, and where the word has its usual meaning.
KEPT = {
    "PROMISES": "public",
    "skim": "public, Decoder.skim",
    "_skim": "a Decoder's",
    "turn": "a number of rounds, in the checks",
    "an_accepted_connection_is_told_its_whole_life": "a requirement, by name",
    "end_of_file_is_told_once_then_connection_lost": "a requirement, by name",
    "end_of_file_while_reading_is_paused_is_told_once_and_after_the_data": "a requirement, by name",
}


def parts(name: str) -> list[str]:
    """Split a name at underscores and capitals, in lower case."""
    return [part.lower() for part in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z0-9]+", name)]


def test_no_name_in_the_package_has_a_private_word() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline):
            if token.type == tokenize.NAME and token.string not in KEPT:
                found |= {
                    f"{path.relative_to(PACKAGE)}:{token.start[0]}: {token.string}: say {WORDS[part]}"
                    for part in parts(token.string)
                    if part in WORDS
                }
    assert sorted(found) == []


def test_what_is_kept_is_still_there() -> None:
    text = "\n".join(path.read_text("utf-8") for path in PACKAGE.rglob("*.py"))
    assert [name for name in KEPT if not re.search(rf"\b{name}\b", text)] == []


def test_names_are_split_into_their_words() -> None:
    assert parts("_turn_over") == ["turn", "over"]
    assert parts("TurnLoop") == ["turn", "loop"]
    assert parts("CALM_TURNS") == ["calm", "turns"]
