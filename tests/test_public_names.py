"""The package offers every public name, and loads a module only when one of its names is used."""

import ast
import importlib
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import proactor_echo as pe

#: The packages that load names when they are first used.
LAZY = ("proactor_echo", "proactor_echo.testing", "proactor_echo.testing.faults")


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_public_name_is_there() -> None:
    assert [name for name in pe.__all__ if getattr(pe, name, None) is None] == []


@pytest.mark.parametrize("package", LAZY)
def test_type_checkers_see_the_names_that_are_there(package: str) -> None:
    module = importlib.import_module(package)
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = [
        (str(node.module), alias.name)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    assert sorted(seen) == sorted((home, name) for home, names in module._HOMES.items() for name in names.split())
    assert {name for _, name in seen} <= set(module.__all__)
    assert [name for name in module.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", LAZY)
def test_dir_lists_the_public_names_before_they_are_used(package: str) -> None:
    assert run(f"import {package} as package; print(set(package.__all__) <= set(dir(package)))") == "True"


@pytest.mark.parametrize("package", LAZY)
def test_a_name_that_has_been_used_is_not_looked_up_again(package: str) -> None:
    home, names = next(iter(importlib.import_module(package)._HOMES.items()))
    name = names.split()[0]
    code = f"import {package} as package; before = {name!r} in vars(package); package.{name}; "
    assert run(f"{code}print(before, package.{name} is vars(package)[{name!r}])") == "False True", home


def test_names_can_be_imported_all_at_once() -> None:
    assert run("from proactor_echo import *; print(LineCodec.__name__, serve_tcp.__name__)") == "LineCodec serve_tcp"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match=r"module 'proactor_echo' has no attribute 'serve_smtp'"):
        _ = pe.serve_smtp  # type: ignore[attr-defined]


def test_values_survive_pickling() -> None:
    options = pe.SocketOptions(keepalive=pe.KeepAlive(idle=3))
    assert pickle.loads(pickle.dumps(options)) == options
    assert pickle.loads(pickle.dumps(pe.echo)) is pe.echo


@pytest.mark.parametrize("order", ["pe.echo, submodule()", "submodule(), pe.echo"])
def test_a_name_stays_itself_when_the_submodule_of_that_name_is_imported(order: str) -> None:
    code = "import importlib, proactor_echo as pe\ndef submodule(): importlib.import_module('proactor_echo.rfc862')"
    assert run(f"{code}\n{order}\nprint(callable(pe.echo))") == "True"


def test_importing_the_package_loads_nothing_that_is_not_used() -> None:
    loaded = run(
        "import sys, proactor_echo; print(*(name for name in sys.modules if name.startswith('proactor_echo.')))"
    )
    assert loaded == "proactor_echo._lazy proactor_echo._version"
    assert run("import sys, proactor_echo; print('asyncio' in sys.modules, 'click' in sys.modules)") == "False False"


def test_a_codec_needs_no_event_loop() -> None:
    assert run("import sys; from proactor_echo import LengthCodec; print('asyncio' in sys.modules)") == "False"
