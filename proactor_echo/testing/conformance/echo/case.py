"""What a check of an echo server is: its settings, its outcome, and how it says that something is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeVar

__all__ = ["CheckFailed", "Checked", "Skipped"]

Site = TypeVar("Site")


class Plan(NamedTuple):
    """How thorough to be: see :func:`check_echo`."""

    timeout: float
    quiet: float
    size: int
    clients: int


class Checked(NamedTuple):
    """What a check that was passed has to say."""

    detail: str
    numbers: Mapping[str, float] = {}


class CheckFailed(Exception):  # noqa: N818 (it says what came)
    """The server did something else than RFC 862 says; the text says what was expected and what came."""


class Skipped(Exception):  # noqa: N818 (it is no error)
    """A check cannot be tried from here; the text says why."""


Check = tuple[str, Callable[[Site], Awaitable[Checked]]]
"""The name of a check, and what does it."""
