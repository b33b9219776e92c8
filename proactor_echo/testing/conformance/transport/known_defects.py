"""Requirements that asyncio's own event loops are known not to meet, with the CPython issue.

They are looked up only after a requirement has failed, so a CPython that has mended it is reported as passed.
Subclasses of asyncio's loops and other libraries' loops have to meet every requirement.
"""

from __future__ import annotations

import asyncio
from typing import Final

__all__ = ["known_defect"]

_PROACTOR: Final = {
    "data received gets bytes": "gh-99941, before 3.12",
    "end of file while reading is paused is told once and after the data": "no issue that we know",
    "an exception in data received ends that connection alone": "no issue that we know",
    "a reset is connection lost with the error": "gh-83191 and gh-149388",
    "a reset ends a connection that is being written to": "gh-83191 and gh-149388",
    "a factory that raises costs one connection": "gh-156365",
    "a factory that raises leaves no socket open": "gh-156365",
    "a server survives clients that reset": "gh-93821",
    "an empty datagram is received": "no issue that we know",
    "an empty datagram is sent": "gh-113812, before 3.13",
    "an unreachable peer is an error and not the end": "gh-91227, gh-127057 and gh-156784",
    "a datagram too long is an error and not the end": "gh-156698",
    "close sends the datagrams that are queued": "gh-82652 and gh-156920",
    "a closed endpoint is silent": "gh-82652 and gh-156920",
    "every pause is followed by a resume": "gh-135444, in 3.13",
}

_SELECTOR: Final = {
    "a factory that raises leaves no socket open": "in debug mode; no issue that we know",
    "an empty datagram is sent": "gh-113812, before 3.13",
    "sending from a closed endpoint is harmless": "gh-28110, a pull request that was closed",
}


def known_defect(name: str, loop: asyncio.AbstractEventLoop) -> str:
    """Return the issue for a requirement that this loop has failed; empty if it should have met it."""
    kind = type(loop)
    if not kind.__module__.startswith("asyncio."):
        return ""
    proactor = getattr(asyncio, "ProactorEventLoop", None)
    defects = _PROACTOR if proactor is not None and issubclass(kind, proactor) else _SELECTOR
    return f"known of asyncio's own loop ({defects[name]})" if name in defects else ""
