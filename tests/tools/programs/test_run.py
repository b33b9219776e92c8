"""The driver of other people's programs finds what drives each of them; the programs need not be installed for that."""

import importlib.util
from pathlib import Path

import pytest
from tools.programs import run


@pytest.mark.parametrize("name", run.PROGRAMS)
def test_a_program_has_a_module_that_drives_it(name: str) -> None:
    assert importlib.util.find_spec(run.module_of(name)) is not None


def test_no_module_drives_a_program_that_nobody_asks_for() -> None:
    found = {path.stem for path in (Path(run.__file__).parent / "third_party").glob("with_*.py")}
    assert found == {f"with_{name}" for name in run.PROGRAMS}
