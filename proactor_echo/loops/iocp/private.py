"""The private names of asyncio used on Windows only; those of every system are in :mod:`proactor_echo.loops.private`.

Each was read in the sources of CPython 3.11.7, 3.12.1, 3.13.0, 3.14.2, 3.14.10 and 3.15.2
(``Lib/asyncio/windows_events.py`` and ``proactor_events.py``), and compared as a syntax tree: none differs from 3.13.0
to 3.15.2. What differs before, and matters here: from 3.13 on, ``run_forever`` unregisters the receive on the self-pipe
only when the kernel has given it back. :func:`missing` says which the running Python lacks.
"""

from __future__ import annotations

import sys

if sys.platform != "win32":
    raise ImportError("proactor_echo.loops.iocp.private is for Windows only")

import asyncio
import importlib
from asyncio import windows_events
from typing import TYPE_CHECKING, Any, Final

#: ``Overlapped`` objects, which own the memory of one operation each, and the calls beside them.
overlapped: Any = importlib.import_module("_overlapped")

if TYPE_CHECKING:

    class IocpProactor:
        """What ours overrides or calls in ``windows_events.IocpProactor``."""

        _cache: dict[int, tuple[asyncio.Future[Any], Any, Any, Any]]
        _iocp: int | None
        _loop: Any
        _registered: Any
        _stopped_serving: Any
        _unregistered: list[Any]

        def _register(self, ov: Any, obj: Any, callback: Any) -> asyncio.Future[Any]: ...
        def _register_with_iocp(self, obj: Any) -> None: ...
        def _unregister(self, ov: Any) -> None: ...
        def close(self) -> None:
            """Close the port."""

        def recv(self, conn: Any, nbytes: int, flags: int = 0) -> asyncio.Future[bytes]:
            """Receive up to ``nbytes`` bytes."""
            raise NotImplementedError

else:
    IocpProactor = windows_events.IocpProactor

_PROACTOR_NAMES: Final = (
    "_poll",
    "_register",
    "_register_with_iocp",
    "_stop_serving",
    "_unregister",
    "close",
    "recv",
    "select",
)
_PROACTOR_ATTRIBUTES: Final = ("_cache", "_iocp", "_loop", "_registered", "_stopped_serving", "_unregistered")
_LOOP_NAMES: Final = ("_close_self_pipe", "_loop_self_reading", "_make_self_pipe", "_write_to_self")
_OVERLAPPED_NAMES: Final = ("Overlapped", "PostQueuedCompletionStatus", "SO_UPDATE_ACCEPT_CONTEXT")


def missing() -> list[str]:
    """List the private names this Python lacks, dotted; none on a Python this package was read against."""
    lacking = [f"IocpProactor.{name}" for name in _PROACTOR_NAMES if not hasattr(IocpProactor, name)]
    loop = asyncio.ProactorEventLoop
    lacking += [f"ProactorEventLoop.{name}" for name in _LOOP_NAMES if not hasattr(loop, name)]
    lacking += [f"_overlapped.{name}" for name in _OVERLAPPED_NAMES if not hasattr(overlapped, name)]
    if not lacking:
        # What __init__ sets cannot be seen on the class.
        proactor = IocpProactor()
        lacking = [f"IocpProactor.{name}" for name in _PROACTOR_ATTRIBUTES if not hasattr(proactor, name)]
        proactor.close()
    return lacking
