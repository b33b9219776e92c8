"""docs/architecture.md names files and functions that exist."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "proactor_echo"
PAGE = (ROOT / "docs/architecture.md").read_text("utf-8")

PATHS = sorted(set(re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.py)(?::[\w.]+)?`", PAGE)))
FOLDERS = sorted(set(re.findall(r"`((?:[a-z_0-9]+/)+)`", PAGE)))
NAMES = sorted(set(re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.py):([\w.]+)`", PAGE)))


def test_the_page_names_many_of_them() -> None:
    assert len(PATHS) > 40
    assert len(NAMES) > 30


CHANGES = re.findall(r"^\| ([^|`]+) \| ([^|]*) \|$", PAGE, re.MULTILINE)[1:]


def test_many_changes_have_a_file_to_open() -> None:
    assert len(CHANGES) >= 20
    assert [change for change, where in CHANGES if not re.search(r"`[\w/]+(\.py(:[\w.]+)?|/)`", where)] == []


@pytest.mark.parametrize("path", PATHS)
def test_every_file_is_there(path: str) -> None:
    assert (ROOT / path if path.startswith("tests/") else PACKAGE / path).is_file()


@pytest.mark.parametrize("path", FOLDERS)
def test_every_folder_is_there(path: str) -> None:
    assert (ROOT / path if path.startswith("tests/") else PACKAGE / path).is_dir()


@pytest.mark.parametrize(("path", "name"), NAMES)
def test_every_name_is_defined_in_its_file(path: str, name: str) -> None:
    assert name in names(ast.parse((PACKAGE / path).read_text("utf-8")))


def names(tree: ast.AST, prefix: str = "") -> set[str]:
    """Return the classes, functions and methods that are defined in a module, with their classes before them."""
    found = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            found.add(prefix + node.name)
            if isinstance(node, ast.ClassDef):
                found |= names(node, f"{prefix}{node.name}.")
        else:
            found |= names(node, prefix)
    return found
