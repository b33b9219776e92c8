"""The command line: click parses, the other modules do it. The commands themselves are in ``app``."""

from __future__ import annotations

from proactor_echo.cli.app import main

__all__ = ["main"]
