"""What a conformance suite found: one result for each check, and the report that holds them all."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

__all__ = ["Outcome", "Report", "Result"]

#: Width of the first column of the table, in characters.
_NAME_WIDTH: Final = 24


class Outcome(enum.StrEnum):
    """How a check ended."""

    #: The requirement was met.
    OK = "ok"
    #: The requirement was not met; the result's ``detail`` says what was expected and what came.
    FAILED = "failed"
    #: Not met because of a known defect of CPython's own event loop; ``detail`` names the issue.
    KNOWN = "known"
    #: It could not be tried; ``detail`` says why.
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of one check."""

    #: What was checked, in a few words. Names do not change, so that a report can be searched for one.
    name: str
    outcome: Outcome
    #: One sentence: what was done, or what was expected and what came instead.
    detail: str = ""
    #: What was counted or measured, by name: bytes, connections, datagrams; a name in ``_s`` is in seconds.
    numbers: Mapping[str, float] = field(default_factory=dict)
    #: How long the check took.
    seconds: float = 0.0

    def __str__(self) -> str:
        return f"{self.name:<{_NAME_WIDTH}}  {self.outcome:<7}  {self.detail}".rstrip()

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "name": self.name,
            "outcome": str(self.outcome),
            "detail": self.detail,
            "numbers": dict(self.numbers),
            "seconds": round(self.seconds, 6),
        }


@dataclass(frozen=True, slots=True)
class Report:
    """All results of one run, in the order in which they were found. As text it is a table."""

    #: What was checked: ``tcp 127.0.0.1:7``, the name of an event loop.
    subject: str
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether no check failed. Known defects and skipped checks do not count."""
        return not self.of(Outcome.FAILED)

    def of(self, outcome: Outcome) -> list[Result]:
        """Return the results with this outcome."""
        return [result for result in self.results if result.outcome is outcome]

    def __getitem__(self, name: str) -> Result:
        """Return the result of this name. Raises KeyError."""
        for result in self.results:
            if result.name == name:
                return result
        raise KeyError(name)

    @property
    def summary(self) -> str:
        """One line that counts the outcomes: ``11 ok, 1 failed``."""
        counts = ((outcome, len(self.of(outcome))) for outcome in Outcome)
        return ", ".join(f"{count} {outcome}" for outcome, count in counts if count)

    def as_dict(self) -> dict[str, Any]:
        """Return plain values, for JSON."""
        return {
            "subject": self.subject,
            "passed": self.passed,
            "results": [result.as_dict() for result in self.results],
        }

    def __str__(self) -> str:
        return "\n".join([self.subject, *map(str, self.results), self.summary])
