"""The layers: imports point down only, and asyncio's private names stay where they belong."""

import ast
import graphlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "proactor_echo"

#: From the bottom up. A module belongs to the layer that names it or its folder; those of one layer may import each
#: other, except where APART says otherwise.
LAYERS = (
    {"_lazy", "_version", "arguments", "errors", "escaping"},
    {"sockets"},
    {"wire", "loops"},
    {"net"},
    {"rfc862"},
    {"testing", "bench"},
    {"cli", "__main__"},
)
APART = {"wire": {"loops"}, "loops": {"wire"}}

#: The protocol layer does no I/O and has no clock, and neither has what it imports.
PURE = ("arguments", "wire", "errors", "escaping")
IMPURE = {
    "asyncio",
    "concurrent",
    "multiprocessing",
    "select",
    "selectors",
    "signal",
    "socket",
    "ssl",
    "threading",
    "time",
}


def modules() -> list[str]:
    """Return every module's dotted name below the package, as in ``net.server``; a folder's own as ``net``."""
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found.append(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return [name for name in found if name]  # the package's own names everything there is


MODULES = modules()


def tree(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split("."))
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def run_time(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes below ``node`` that are no type checker's alone."""
    for child in ast.iter_child_nodes(node):
        yield child
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for statement in child.orelse:
                yield from [statement, *run_time(statement)]
        else:
            yield from run_time(child)


def imports(module: str, *, types: bool = True) -> Iterator[str]:
    """Yield the full dotted name of everything that ``module`` imports, wherever in it.

    Without ``types``, only what it imports when it runs, modules that it loads by name included.
    """
    package = ("proactor_echo." + module).split(".")
    if not (PACKAGE / Path(*module.split("."))).is_dir():
        package.pop()
    for node in ast.walk(tree(module)) if types else run_time(tree(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            start = ".".join([*base, node.module] if node.module else base)
            yield from (f"{start}.{alias.name}" for alias in node.names)
        elif not types:
            yield from (name for name in loaded_by_name(node) if name.startswith("proactor_echo."))


def loaded_by_name(node: ast.AST) -> Iterator[str]:
    """Yield the strings in a call of ``import_module``, and those that are the keys of a dict, as lazy names' homes."""
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        texts = [inner for argument in node.args for inner in ast.walk(argument)]
    else:
        texts = [key for key in node.keys if key is not None] if isinstance(node, ast.Dict) else []
    yield from (str(text.value) for text in texts if isinstance(text, ast.Constant))


def own_imports(module: str, *, types: bool = True) -> Iterator[str]:
    """Yield the modules of ours that ``module`` imports; ``""`` is the package itself."""
    for name in imports(module, types=types):
        first, _, rest = name.partition(".")
        if first == "proactor_echo":
            known = [other for other in MODULES if rest == other or rest.startswith(other + ".")]
            yield max(known, key=len) if known else ""


def part(module: str) -> str:
    return module.split(".")[0]


def level(module: str) -> int:
    for number, names in enumerate(LAYERS):
        if any(re.fullmatch(name.replace("*", ".*"), part(module)) for name in names):
            return number
    raise AssertionError(f"{module} is in no layer: put it where it belongs in LAYERS")


@pytest.mark.parametrize("module", MODULES)
def test_imports_point_down(module: str) -> None:
    here = level(module)
    for other in own_imports(module):
        if not other:
            assert here == len(LAYERS) - 1, f"{module} imports the package that imports it"
            continue
        assert level(other) <= here, f"{module} imports {other}, which is above it"
        assert part(other) not in APART.get(part(module), ()), f"{module} imports {other}"


def circle(graph: dict[str, set[str]]) -> str:
    """Return a circle of imports as in ``a -> b -> a``; empty if there is none."""
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        return " -> ".join(reversed(error.args[1]))
    return ""


def test_no_module_imports_one_that_imports_it() -> None:
    graph = {module: set(own_imports(module, types=False)) for module in MODULES}
    assert sum(map(len, graph.values())) > len(MODULES)  # it has seen imports
    assert circle(graph) == ""


def test_a_circle_of_imports_is_shown() -> None:
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"a"}}) in ("a -> b -> c -> a", "b -> c -> a -> b", "c -> a -> b -> c")


def test_the_root_has_few_modules() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8, "a module that others belong with goes into a package with them"


def test_the_median_file_is_short() -> None:
    lines = [len(path.read_text(encoding="utf-8").splitlines()) for path in PACKAGE.rglob("*.py")]
    assert statistics.median(filter(None, lines)) < 200


def test_no_file_is_long() -> None:
    files = [path for folder in (PACKAGE, Path(__file__).parent) for path in folder.rglob("*.py")]
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path.name: count for path, count in lines.items() if count > 400} == {}, "split it where two ideas meet"


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) in PURE])
def test_the_protocol_layer_knows_no_io_and_no_clock(module: str) -> None:
    assert not IMPURE & {name.split(".")[0] for name in imports(module)}
    assert {part(other) for other in own_imports(module)} <= set(PURE)


@pytest.mark.parametrize("module", [module for module in MODULES if part(module) != "loops"])
def test_private_names_of_asyncio_are_used_in_the_loops_alone(module: str) -> None:
    for name in imports(module):
        assert not re.match(r"asyncio\.(_|\w+\.|\w+_events|base_|locks|transports|sslproto)", name), name
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Attribute) and is_private(node.attr) and not is_own(node.value, node.attr):
            raise AssertionError(f"{module}, line {node.lineno}: {ast.unparse(node)}")
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "setattr", "hasattr", "delattr")
            and isinstance(name_of := node.args[1], ast.Constant)
        ):
            assert not is_private(str(name_of.value)), f"{module}, line {node.lineno}: {ast.unparse(node)}"


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__") and name not in NAMEDTUPLE


NAMEDTUPLE = {"_asdict", "_fields", "_make", "_replace"}  # public, whatever they begin with


def is_own(value: ast.expr, name: str) -> bool:
    """Tell whether ``value.name`` is ours: an attribute that our classes give themselves, of no loop or transport."""
    if isinstance(value, ast.Name) and value.id in ("self", "cls"):
        return True
    holder = value.attr if isinstance(value, ast.Attribute) else value.id if isinstance(value, ast.Name) else ""
    return name in OWN_NAMES and re.search("loop|transport|proactor|selector|task$|future$", holder) is None


def own_names() -> set[str]:
    """Return the private names that classes and modules of ours define."""
    names = set()
    for module in MODULES:
        if part(module) == "loops":
            continue
        for node in ast.walk(tree(module)):
            match node:
                case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name, ctx=ast.Store()):
                    names.add(name)
                case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                    names.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    names.add(name)
    return names


OWN_NAMES = own_names()


@pytest.mark.parametrize("unwanted", ["click", "pytest", "proactor_echo.testing", "proactor_echo.cli"])
def test_importing_the_package_imports_no(unwanted: str) -> None:
    program = (
        "import sys, proactor_echo, proactor_echo.net.tcp.server, proactor_echo.loops; "
        f"print({unwanted!r} in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", program],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert run.stdout.strip() == "False", run.stderr
