"""A row of ``proactor-echo doctor``: one thing that was looked at, and what to think of it."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

__all__ = ["Row", "Verdict"]


class Verdict(enum.StrEnum):
    """What to think of a row."""

    OK = "ok"
    NOTE = "note"
    """It works, and it is good to know."""
    BAD = "bad"
    """A server will meet it: something does not work, or ends early."""


@dataclasses.dataclass(frozen=True, slots=True)
class Row:
    """What was found. ``detail`` is one sentence; ``facts`` are the numbers in it, for machines."""

    name: str
    verdict: Verdict
    detail: str
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, ready for JSON."""
        return {"name": self.name, "verdict": str(self.verdict), "detail": self.detail, "facts": self.facts}
