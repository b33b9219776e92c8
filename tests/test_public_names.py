"""The package offers every public name, and loads a module only when one of its names is used."""

import ast
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

import proactor_echo as pe


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_every_public_name_is_there() -> None:
    assert [name for name in pe.__all__ if getattr(pe, name, None) is None] == []


def test_type_checkers_see_the_names_that_are_there() -> None:
    tree = ast.parse(Path(pe.__file__).read_text("utf-8"))
    branch = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        alias.name: str(node.module).removeprefix("proactor_echo")
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == pe._HOMES
    assert sorted(seen) == sorted(pe.__all__)


def test_names_can_be_imported_all_at_once() -> None:
    assert run("from proactor_echo import *; print(LineCodec.__name__, serve_tcp.__name__)") == "LineCodec serve_tcp"


def test_dir_lists_the_public_names_before_they_are_used() -> None:
    assert run("import proactor_echo as pe; print(set(pe.__all__) <= set(dir(pe)))") == "True"


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
    assert loaded == ""
    assert run("import sys, proactor_echo; print('asyncio' in sys.modules, 'click' in sys.modules)") == "False False"


def test_a_codec_needs_no_event_loop() -> None:
    assert run("import sys; from proactor_echo import LengthCodec; print('asyncio' in sys.modules)") == "False"
