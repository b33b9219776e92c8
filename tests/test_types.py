"""The types that a caller sees: ``basedpyright --verifytypes`` says whether they are there, this whether they tell."""

import ast
from collections.abc import Iterator
from pathlib import Path

import proactor_echo

PACKAGE = Path(proactor_echo.__file__).parent

#: What others declare so: asyncio, click, and Coroutine, which passes on what it is given.
THEIRS = {"get_extra_info", "main", "invoke", "send", "throw"}


def public_functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Give the functions and methods that can be reached by public names."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_"):
                yield node
        elif not (isinstance(node, ast.ClassDef) and node.name.startswith("_")):
            yield from public_functions(node)


def test_no_public_function_says_that_it_may_return_anything() -> None:
    vague = [
        f"{path.relative_to(PACKAGE).as_posix()}:{function.lineno} {function.name}"
        for path in PACKAGE.rglob("*.py")
        for function in public_functions(ast.parse(path.read_text("utf-8")))
        if function.returns is None or ast.unparse(function.returns).strip("'\"") in ("Any", "typing.Any")
        if function.name not in THEIRS
    ]
    assert vague == []
