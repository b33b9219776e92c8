"""What an event loop can do beyond asyncio's interface, and which kind it is."""

from __future__ import annotations

import asyncio
import sys

__all__ = ["is_proactor"]


def is_proactor(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether operations are completions of the kernel on this loop, so that it has no ``add_reader``."""
    return sys.platform == "win32" and isinstance(loop, asyncio.ProactorEventLoop)
