"""An option that the system refuses is worth one line in the log, not one for each socket."""

from __future__ import annotations

import logging

__all__ = ["report_refusal"]

logger: logging.Logger = logging.getLogger("proactor_echo.sockets")
_reported: set[str] = set()


def report_refusal(option: str, exc: OSError) -> None:
    """Log that the system refused a socket option: a warning the first time in this process, then at debug level.

    ``option`` is the name in the system's headers. The code around must be right without the option.
    """
    level = logging.DEBUG if option in _reported else logging.WARNING
    _reported.add(option)
    logger.log(level, "The system refused the socket option %s, which is left as it was: %s", option, exc)
