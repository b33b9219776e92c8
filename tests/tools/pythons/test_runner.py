"""The runner for other Pythons runs what was asked for, and says why where it cannot."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the runner is for POSIX")

RUNNER = Path(__file__).with_name("run.py")


def run(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNNER), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing installed: an empty PATH, home and cache."""
    commands = tmp_path / "bin"
    commands.mkdir()
    names = ("HOME", "XDG_CACHE_HOME", "PYENV_ROOT", "RUNNER_TOOL_CACHE")
    return {"PATH": str(commands)} | {name: str(tmp_path / name) for name in names}


def test_a_python_that_cannot_be_had_is_skipped_with_its_reason(bare: dict[str, str]) -> None:
    done = run("--python", "pypy", env=bare)
    assert done.returncode == 77
    if sys.platform == "win32":
        pytest.skip("the runner is for POSIX")
    lacks = "debootstrap is not installed" if os.geteuid() == 0 else "PyPy is not installed, and only root can make"
    assert done.stdout.startswith(f"skipped: {lacks}")
    assert done.stdout.count("\n") == 1
    assert not done.stderr


def test_a_pypy_that_is_too_old_is_not_used(bare: dict[str, str]) -> None:
    old = Path(bare["PATH"], "pypy3")
    old.write_text("#!/bin/sh\necho False\n")
    old.chmod(0o755)
    assert run("--python", "pypy", env=bare).returncode == 77
