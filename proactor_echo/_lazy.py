"""Names of a package that are loaded when they are first used, so that importing the package costs next to nothing.

Type checkers cannot see through this: a package imports the same names under ``TYPE_CHECKING``, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazy_names"]


def lazy_names(
    namespace: dict[str, Any], homes: Mapping[str, str]
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return the ``__getattr__`` and the ``__dir__`` of a package.

    :param namespace: the package's ``globals()``; a name goes there when it is used, and costs nothing from then on.
    :param homes: for the full name of a module, the names that it has, with spaces between them.
    """
    home_of = {name: home for home, listed in homes.items() for name in listed.split()}

    def load(name: str) -> Any:
        home = home_of.get(name)
        if home is None:
            raise AttributeError(f"module {namespace['__name__']!r} has no attribute {name!r}")
        value = namespace[name] = getattr(import_module(home), name)
        return value

    def names() -> list[str]:
        return sorted({*namespace, *home_of})

    return load, names
