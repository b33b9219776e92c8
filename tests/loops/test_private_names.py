"""What the loops ask asyncio and Windows for is what they use: a name too many could cost a Python our loop."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

LOOPS = Path(__file__).parent.parent.parent / "proactor_echo" / "loops"
DECLARING = ("private.py", "iocp/private.py")
TREES = {path.relative_to(LOOPS).as_posix(): ast.parse(path.read_text("utf-8")) for path in sorted(LOOPS.rglob("*.py"))}


def used() -> set[str]:
    """Return every name the loops use of another object, by a dot, with ``getattr`` or by overriding it."""
    names = set()
    for file, tree in TREES.items():
        for node in ast.walk(tree):
            match node:
                case ast.Attribute(attr=name):
                    names.add(name)
                case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value=str(name)), *_]):
                    names.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) if file not in DECLARING:
                    names.add(name)
    return names


def asked_for() -> Iterator[str]:
    """Yield the names that ``missing`` looks for."""
    for file in DECLARING:
        for node in ast.walk(TREES[file]):
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), value=ast.Tuple(elts=elements)) if name.isupper():
                    yield from (str(element.value) for element in elements if isinstance(element, ast.Constant))
                case ast.Tuple(elts=[ast.Name(), ast.Constant(value=str(name))]):
                    yield name


def declared() -> Iterator[tuple[str, bool]]:
    """Yield what type checkers are told that asyncio's classes have, and whether it is a method."""
    for file in DECLARING:
        for node in ast.walk(TREES[file]):
            for inner in node.body if isinstance(node, ast.ClassDef) else ():
                match inner:
                    case ast.FunctionDef(name=name):
                        yield name, True
                    case ast.AnnAssign(target=ast.Name(id=name)):
                        yield name, False


def test_every_private_name_that_is_asked_for_is_used() -> None:
    names = set(asked_for())
    assert {"_run_once", "_maybe_pause_protocol", "_attach", "PostQueuedCompletionStatus", "_cache"} <= names
    assert names - used() == set()


def test_every_private_name_that_is_declared_is_used() -> None:
    assert {name for name, _ in declared()} - used() == set()


def test_every_private_method_that_is_used_is_asked_for() -> None:
    assert {name for name, is_method in declared() if is_method} - set(asked_for()) == set()


@pytest.mark.parametrize("file", [*DECLARING, "iocp/winapi.py"])
def test_a_module_of_names_has_none_that_nobody_uses(file: str) -> None:
    module = TREES[file]
    defined = set()
    for node in module.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                defined.add(name)
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                defined.add(name)
    described = ("argtypes", "restype")  # what a foreign function takes and returns: that is no use of it
    at_home = {
        inner.id
        for node in ast.walk(module)
        if not (isinstance(node, ast.Attribute) and node.attr in described)
        for inner in ast.iter_child_nodes(node)
        if isinstance(inner, ast.Name) and isinstance(inner.ctx, ast.Load)
    }
    elsewhere = {
        name for tree in TREES.values() if tree is not module for node in ast.walk(tree) for name in named_by(node)
    }
    assert defined - at_home - elsewhere == set()


def named_by(node: ast.AST) -> list[str]:
    match node:
        case ast.Attribute(attr=name):
            return [name]
        case ast.ImportFrom(names=aliases):
            return [alias.name for alias in aliases]
    return []
