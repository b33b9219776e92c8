"""Started: the result of a call that has begun something, which may be awaited."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, TypeVar

__all__ = ["Started", "nothing_to_wait_for"]

T = TypeVar("T")


class Started(Coroutine[Any, Any, T]):
    """What a call such as ``conn.close()`` returns: it has begun, and ``await`` waits until it is done.

    Nobody has to wait, so unlike the coroutine of an ``async def`` it does not warn when it is thrown away. It is a
    coroutine all the same, which ``asyncio.create_task()``, ``gather()`` and ``wait_for()`` take.
    """

    __slots__ = ("_wait", "_waiting")

    def __init__(self, wait: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._wait = wait
        self._waiting: Coroutine[Any, Any, T] | None = None

    def __await__(self) -> Generator[Any, Any, T]:
        return self._wait().__await__()

    def send(self, value: Any, /) -> object:
        """Go on waiting (called by a task)."""
        return self._begun().send(value)

    def throw(
        self,
        typ: type[BaseException] | BaseException,
        val: BaseException | object = None,
        tb: TracebackType | None = None,
        /,
    ) -> object:
        """Raise where it waits (called by a task)."""
        return self._begun().throw(val if isinstance(val, BaseException) else typ)

    def close(self) -> None:
        """Wait no longer. What was begun goes on."""
        if self._waiting is not None:
            self._waiting.close()

    def _begun(self) -> Coroutine[Any, Any, T]:
        if self._waiting is None:
            self._waiting = self._wait()
        return self._waiting


async def nothing_to_wait_for() -> None:
    """Be done."""
