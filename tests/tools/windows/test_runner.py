"""The runner tells what it lacks in one sentence, and leaves nothing half built."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from tools.windows import host

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the runner starts Wine from another system")

RUNNER = Path(__file__).with_name("run.py")
WINE = ("wine", "wineserver")
MINGW = ("x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-windres")
THIS_VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"

with_this_version = pytest.mark.skipif(
    THIS_VERSION not in host.SUPPORTED or sys.implementation.name != "cpython",
    reason="there is no Windows build of the running Python",
)


def runner(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUNNER), *arguments]
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False)


@pytest.fixture
def bare(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing installed: an empty PATH, home, cache and package index."""
    commands, home, tools = tmp_path / "bin", tmp_path / "home", tmp_path / "tools"
    for folder in (commands, home, tools):
        folder.mkdir()
    return {
        "PATH": str(commands),
        "HOME": str(home),
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PYENV_ROOT": str(home),
        "RUNNER_TOOL_CACHE": str(tools),
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_NO_INDEX": "1",
    }


def give(env: Mapping[str, str], *commands: str) -> None:
    for command in commands:
        path = Path(env["PATH"], command)
        path.write_text("#!/bin/sh\necho wine-8.0\n")
        path.chmod(0o755)


def assert_one_sentence(done: subprocess.CompletedProcess[str], start: str) -> None:
    assert done.returncode == 1
    told = [line for line in done.stderr.splitlines() if not line.startswith("building ")]
    assert len(told) == 1, done.stderr
    assert told[0].startswith(f"tests/tools/windows/run.py: {start}")


def test_a_missing_wine_is_reported_in_one_sentence(bare: dict[str, str]) -> None:
    assert_one_sentence(runner(env=bare), "Wine is not installed")


def test_another_wine_that_cannot_be_had_is_reported_in_one_sentence(bare: dict[str, str]) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no Wine")
    give(bare, *WINE)
    lacks = "debootstrap is not installed" if os.geteuid() == 0 else "Wine 10 is not installed, and only root can make"
    assert_one_sentence(runner("--wine", "10", env=bare), lacks)


@with_this_version
def test_a_missing_compiler_is_reported_in_one_sentence(bare: dict[str, str]) -> None:
    give(bare, *WINE)
    done = runner("--python", THIS_VERSION, env=bare)
    assert_one_sentence(done, "x86_64-w64-mingw32-gcc is not installed")


def test_a_missing_host_python_is_reported_in_one_sentence(bare: dict[str, str]) -> None:
    give(bare, *WINE, *MINGW)
    here = runner("--list", env=bare).stdout.split()
    absent = [version for version in ("3.11", "3.12", "3.13", "3.14") if version not in here]
    if not absent:
        pytest.skip("this machine has every supported Python in its fixed places")
    assert_one_sentence(runner("--python", absent[0], env=bare), f"Python {absent[0]} is not on this machine")


@with_this_version
def test_a_failed_download_is_reported_in_one_sentence_and_leaves_nothing_behind(bare: dict[str, str]) -> None:
    give(bare, *WINE, *MINGW)
    done = runner("--python", THIS_VERSION, env=bare)
    assert_one_sentence(done, "pip could not download panda3d")
    left = list(Path(bare["XDG_CACHE_HOME"]).glob("proactor-echo/*"))
    assert all(path.suffix == ".lock" for path in left), left


@with_this_version
def test_the_running_python_is_among_the_versions_with_the_wine_that_is_there(bare: dict[str, str]) -> None:
    give(bare, *WINE)
    assert f"{THIS_VERSION} 8" in runner("--list", env=bare).stdout.splitlines()
