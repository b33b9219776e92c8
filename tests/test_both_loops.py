"""What is promised on one event loop is promised on the other: no test is kept from ours without saying why."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

Mark = dict[str, object]


def marks() -> Iterator[tuple[str, Mark]]:
    """Give each ``stock_loop`` mark, as the name of its test and its arguments."""
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            for decorator in getattr(node, "decorator_list", ()):
                call = decorator if isinstance(decorator, ast.Call) else None
                if ast.unparse(call.func if call else decorator) == "pytest.mark.stock_loop":
                    arguments = {str(word.arg): ast.literal_eval(word.value) for word in call.keywords} if call else {}
                    yield f"{path.relative_to(ROOT).as_posix()}::{getattr(node, 'name', '')}", arguments


@pytest.mark.parametrize(("name", "arguments"), [pytest.param(*mark, id=mark[0]) for mark in marks()])
def test_a_test_of_the_stock_loop_alone_has_a_counterpart_or_a_reason(name: str, arguments: Mark) -> None:
    assert set(arguments) in ({"ours"}, {"because"}), f"{name}: stock_loop needs ours= or because="
    path, _, counterpart = str(arguments.get("ours", name)).partition("::")
    assert f"def {counterpart}(" in (ROOT / path).read_text("utf-8")
