"""What a check of an echo server consists of: its settings, its outcome, and the exceptions that say what is wrong."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple, TypeVar

__all__ = ["CheckFailed", "Checked", "Skipped"]

Target = TypeVar("Target")


class Settings(NamedTuple):
    """The limits and sizes of a run: see :func:`check_echo`."""

    timeout: float
    quiet: float
    size: int
    clients: int
    handshake: float


class Checked(NamedTuple):
    """What a check that was passed has to say."""

    detail: str
    numbers: Mapping[str, float] = {}


class CheckFailed(Exception):  # noqa: N818 (it says what came)
    """The server did something else than RFC 862 says; the text says what was expected and what came."""


class Skipped(Exception):  # noqa: N818 (it is no error)
    """A check cannot be tried from here; the text says why."""


#: The name of a check, and what does it.
Check = tuple[str, Callable[[Target], Awaitable[Checked]]]
