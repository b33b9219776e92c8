"""What a Windows Python is built with on this machine: a mingw compiler, Pythons, pip.

Each thing that is missing is one :class:`MissingToolError` whose text is a sentence an operator can act on.
"""

import glob
import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tools.windows import lend

SUPPORTED = ("3.11", "3.12", "3.13", "3.14")
"""The minor versions for which a Windows build of CPython can be had (see ``build``)."""

_COMPILER = ("x86_64-w64-mingw32-gcc", "x86_64-w64-mingw32-windres")

_DESCRIBE = (
    "import json, os, sys, sysconfig; lib = sysconfig.get_path('stdlib'); "
    "print(json.dumps([list(sys.version_info[:3]), lib, os.path.isdir(os.path.join(lib, 'test', 'test_asyncio'))]))"
)


class MissingToolError(Exception):
    """Something the Windows lane needs is not there; the text is one sentence for the person who ran it."""


@dataclass(frozen=True, slots=True)
class HostPython:
    """A Python of this machine whose standard library a Windows Python can borrow."""

    executable: str
    version: tuple[int, int, int]
    stdlib: Path
    has_tests: bool
    """Whether it carries CPython's own ``test.test_asyncio`` (distributions often leave it out)."""


def host_python(minor: str, *, lent: bool = True) -> HostPython:
    """Find this machine's best Python of a minor version such as ``"3.12"``: with CPython's tests, then the newest.

    Looks at the running interpreter, ``PATH``, and where pyenv, uv, CI images and hand-made installations put theirs.
    One that is not there may be lent by Debian, if ``lent`` says so.
    Raises :class:`MissingToolError`.
    """
    found = [python for candidate in _candidates(minor) if (python := _describe(candidate, minor)) is not None]
    if not found:
        reason = f"a Windows Python {minor} borrows its standard library"
        if lent and minor in lend.LENDERS:
            try:
                return HostPython("", *lend.library(minor), has_tests=False)
            except lend.CannotLendError as error:
                reason += f", and {error}"
        raise MissingToolError(f"Python {minor} is not on this machine: {reason}.")
    return max(found, key=lambda python: (python.has_tests, python.version))


def available_versions() -> list[str]:
    """Return the supported minor versions this machine has a Python of, oldest first."""
    versions = []
    for minor in SUPPORTED:
        try:
            host_python(minor, lent=False)
        except MissingToolError:
            continue
        versions.append(minor)
    return versions


@dataclass(frozen=True, slots=True)
class Compiler:
    """The paths of the mingw commands for 64-bit Windows."""

    gcc: str
    windres: str


def compiler() -> Compiler:
    """Return the mingw C compiler for 64-bit Windows; raises :class:`MissingToolError`."""
    found = [shutil.which(command) for command in _COMPILER]
    for command, path in zip(_COMPILER, found, strict=True):
        if path is None:
            raise MissingToolError(
                f"{command} is not installed: on Debian, `apt-get install gcc-mingw-w64-x86-64-win32` brings it."
            )
    return Compiler(*map(str, found))


def pip(*arguments: str) -> None:
    """Run the running interpreter's pip; raises :class:`MissingToolError` with pip's last error line when it fails."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        if "No module named pip" in done.stderr:
            raise MissingToolError(f"pip is missing from {sys.executable}: run this with a Python that has it.")
        errors = re.findall(r"^ERROR: (.*)$", done.stderr, re.MULTILINE) or done.stderr.strip().splitlines()[-1:]
        names = " ".join(argument for argument in arguments if not argument.startswith("-"))
        raise MissingToolError(f"pip could not {names}: {errors[-1]}")


def _candidates(minor: str) -> list[str]:
    name = f"python{minor}"
    home = os.path.expanduser("~")
    pyenv = os.environ.get("PYENV_ROOT") or os.path.join(home, ".pyenv")
    tools = os.environ.get("RUNNER_TOOL_CACHE") or "/opt/hostedtoolcache"
    patterns = [
        os.path.join(pyenv, "versions", f"{minor}.*", "bin", name),
        os.path.join(home, ".local/share/uv/python", f"cpython-{minor}.*", "bin", name),
        os.path.join(tools, "Python", f"{minor}.*", "*", "bin", name),
        f"/opt/python/cp{minor.replace('.', '')}*/bin/{name}",
    ]
    on_path = [os.path.join(folder, name) for folder in os.get_exec_path()]
    paths = [*on_path, f"/usr/local/bin/{name}", *(hit for pattern in patterns for hit in sorted(glob.glob(pattern)))]
    existing = [path for path in paths if os.access(path, os.X_OK)]
    if sys.implementation.name == "cpython" and sys.version_info[:2] == tuple(map(int, minor.split("."))):
        existing.insert(0, sys.executable)
    return list(dict.fromkeys(existing))


def _describe(executable: str, minor: str) -> HostPython | None:
    # A path that looks like a Python may be a version manager's stub for one that is not installed: ask it.
    try:
        done = subprocess.run(
            [executable, "-I", "-c", _DESCRIBE], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=True
        )
        version, stdlib, has_tests = json.loads(done.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    if f"{version[0]}.{version[1]}" != minor or not os.path.isfile(os.path.join(stdlib, "os.py")):
        return None
    return HostPython(executable, (version[0], version[1], version[2]), Path(stdlib), has_tests)
