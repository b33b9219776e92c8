"""Every public class, function, method and property has a docstring; an override may leave it to its base class."""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

PACKAGES = (
    "proactor_echo",
    "proactor_echo.errors",
    "proactor_echo.loops",
    "proactor_echo.testing",
    "proactor_echo.testing.conformance",
    "proactor_echo.testing.faults",
    "proactor_echo.wire",
)


def undocumented(name: str, cls: type) -> Iterator[str]:
    for attribute, value in vars(cls).items():
        if attribute.startswith("_") or not (inspect.isroutine(value) or isinstance(value, property)):
            continue
        if not any(vars(base)[attribute].__doc__ for base in cls.__mro__ if attribute in vars(base)):
            yield f"{name}.{attribute}"


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_public_has_a_docstring(package: str) -> None:
    module = importlib.import_module(package)
    public: dict[str, Any] = {name: getattr(module, name) for name in module.__all__}
    classes = {name: thing for name, thing in public.items() if inspect.isclass(thing)}
    functions = {name: thing for name, thing in public.items() if inspect.isroutine(thing)}
    assert [name for name, thing in (classes | functions).items() if not thing.__doc__] == []
    assert [name for cls in classes.items() for name in undocumented(*cls)] == []
