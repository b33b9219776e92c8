"""Servers, clients and UDP endpoints over any asyncio event loop, through its public API."""

from __future__ import annotations

import logging

from proactor_echo.escaping import escape_traceback

logging.getLogger(__name__).addFilter(escape_traceback)
