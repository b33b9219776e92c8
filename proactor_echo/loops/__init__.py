"""Event loops: :class:`EventLoop`, :func:`new_event_loop`, :func:`run`.

A loop of ours is asyncio's own for the platform with other transports, servers and pollers. What both engines promise
is in :mod:`proactor_echo.loops.engine`; what their loops share, in :mod:`proactor_echo.loops.base`.
"""

from __future__ import annotations

import asyncio
import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from proactor_echo.arguments import check_coroutine
from proactor_echo.loops import private

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["EventLoop", "new_event_loop", "run"]

_T = TypeVar("_T")

EventLoop: type[asyncio.AbstractEventLoop]


def _choose() -> type[asyncio.AbstractEventLoop]:
    missing = private.missing()
    if missing:
        warnings.warn(
            f"Python {sys.version.split()[0]} lacks {', '.join(missing)}: using the stock event loop",
            RuntimeWarning,
            stacklevel=2,
        )
        stock: type[asyncio.AbstractEventLoop] = private.StockLoop
        return stock
    engine = import_module("proactor_echo.loops.iocp.loop" if private.WINDOWS else "proactor_echo.loops.readiness.loop")
    ours: type[asyncio.AbstractEventLoop] = engine.EventLoop
    return ours


EventLoop = _choose()


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Make a new event loop of ours; ``asyncio.Runner(loop_factory=new_event_loop)`` runs on it."""
    return EventLoop()


def run(main: Coroutine[Any, Any, _T], *, debug: bool | None = None) -> _T:
    """Run ``main`` on a new loop of ours and close it, like ``asyncio.run``, with its handling of Ctrl+C and tasks.

    Raises RuntimeError when called from a running loop.
    """
    check_coroutine("main", main)
    if asyncio._get_running_loop() is not None:
        main.close()  # or Python warns besides that it was never awaited
        raise RuntimeError("proactor_echo.run() cannot be called from a running event loop: await the coroutine there")
    with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
        return runner.run(main)
