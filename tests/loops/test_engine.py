"""The contract in ``loops/engine.py``: both engines implement all of it, and nothing in it is there for nothing."""

import ast
import inspect
import selectors
import sys
from pathlib import Path
from typing import Any

import pytest

from proactor_echo.loops import engine, private
from proactor_echo.loops.base import BaseLoop

LOOPS = Path(engine.__file__).parent
SHARED = sorted(LOOPS.glob("*.py"))
READINESS = sorted(LOOPS.glob("readiness/*.py"))
IOCP = sorted(LOOPS.glob("iocp/*.py"))

WRITTEN_BY_ENGINES = (engine.Engine, engine.StreamEngine, engine.DatagramEngine, engine.AcceptEngine)
REPORTED_BY_ENGINES = (
    engine.Completions,
    engine.StreamCompletions,
    engine.DatagramCompletions,
    engine.AcceptCompletions,
)


def own_loop() -> type[BaseLoop]:
    if sys.platform == "win32":
        from proactor_echo.loops.iocp.loop import EventLoop
    else:
        from proactor_echo.loops.readiness.loop import EventLoop
    return EventLoop


def abstract_names(contract: type) -> list[str]:
    return sorted(name for name, value in vars(contract).items() if getattr(value, "__isabstractmethod__", False))


def called(files: list[Path]) -> set[str]:
    """Return the names these files use of an object."""
    trees = [ast.parse(file.read_text("utf-8")) for file in files if file.name != "engine.py"]
    return {node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


@pytest.mark.parametrize("role", ["_stream_class", "_datagram_class", "_acceptor_class"])
def test_what_a_loop_is_made_of_leaves_nothing_abstract(role: str) -> None:
    assert not inspect.isabstract(getattr(own_loop(), role))


@pytest.mark.parametrize("contract", WRITTEN_BY_ENGINES, ids=lambda contract: contract.__name__)
def test_every_operation_of_an_engine_is_asked_for_by_the_shared_half(contract: type) -> None:
    assert set(abstract_names(contract)) <= called(SHARED)


@pytest.mark.parametrize("contract", REPORTED_BY_ENGINES, ids=lambda contract: contract.__name__)
def test_every_report_is_made_by_an_engine(contract: type) -> None:
    names = set(abstract_names(contract))
    assert names <= called(IOCP)  # which has all kinds of them
    assert names - called(READINESS) <= {"_all_completed", "_send_failed"}  # nothing of it is ever outstanding


def test_every_method_of_a_poller_is_used_by_the_loop_of_readiness() -> None:
    assert set(abstract_names(engine.Poller)) <= called(READINESS)


@pytest.mark.skipif(private.WINDOWS, reason="the readiness engine is for the other systems")
def test_both_pollers_leave_nothing_abstract() -> None:
    from proactor_echo.loops.readiness.epoll import new_poller
    from proactor_echo.loops.readiness.poller import SelectorPoller

    poller: Any
    for poller in (new_poller(), SelectorPoller()):
        with poller:
            assert isinstance(poller, engine.Poller)
            assert isinstance(poller, selectors.BaseSelector)


@pytest.mark.parametrize(
    "contract", [*WRITTEN_BY_ENGINES, *REPORTED_BY_ENGINES], ids=lambda contract: contract.__name__
)
def test_a_contract_costs_an_object_nothing(contract: type) -> None:
    """A class without ``__slots__`` among its bases would give each transport a dictionary."""
    assert vars(contract)["__slots__"] == ()


def test_an_engine_that_forgets_an_operation_cannot_be_made() -> None:
    class Forgetful(engine.AcceptEngine):
        def _start_accepting(self) -> None:
            """Accept."""

    forgetful: Any = Forgetful
    with pytest.raises(TypeError, match="_stop_accepting"):
        forgetful()
