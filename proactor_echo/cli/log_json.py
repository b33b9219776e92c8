"""The log as JSON, a line for each record, for machines."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any, Final

from proactor_echo.escaping import escape_traceback

__all__ = ["ATTRIBUTES", "JsonFormatter"]

#: Attributes that log records of this package have, if they are about such a thing.
ATTRIBUTES: Final = (
    "event",
    "connection",
    "peer",
    "reason",
    "number",
    "bytes_in",
    "bytes_out",
    "duration",
    "count",
    "sources",
)


class JsonFormatter(logging.Formatter):
    """One object a line, in ASCII: ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, and what is known.

    All else that is not ASCII is escaped, so that a text which a peer has chosen begins no line and gives a terminal no
    orders.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        row: dict[str, Any] = {
            "time": time.replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        for name in ATTRIBUTES:
            value = getattr(record, name, None)
            if value is not None:
                row[name] = round(value, 6) if isinstance(value, float) else value
        row["message"] = record.getMessage()
        escape_traceback(record)
        if record.exc_text:
            row["exception"] = record.exc_text
        return json.dumps(row, default=str).replace("\x7f", "\\u007f")
