"""Texts that a peer can choose, made safe to show: they begin no line of their own and give a terminal no orders.

Whatever goes into a log or onto a terminal and may hold such a text comes through here: a Unix socket's path, the words
of an exception, a traceback.
"""

from __future__ import annotations

import logging
import traceback

__all__ = ["escape_traceback", "escaped", "escaped_lines"]


def escaped(text: str) -> str:
    r"""Return ``text`` with what is not printable written as in a string literal: ``\n``, ``\x1b``, ``\u202e``."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def escaped_lines(text: str) -> str:
    """Escape a text of several lines; those after the first are indented, so that none looks like another record."""
    return "\n  ".join(map(escaped, text.split("\n")))


def escape_traceback(record: logging.LogRecord) -> bool:
    """Escape what a record's exception says, as a filter of a logger; let every record pass.

    It fills in the text that :class:`logging.Formatter` would write. The exception itself stays in the record.
    """
    if record.exc_info and not record.exc_text:
        text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        record.exc_text = "  " + escaped_lines(text)
    return True
