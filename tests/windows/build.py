"""Lay out the official CPython for Windows in the cache, from PyPI and this machine's own standard library.

There is no package that is "CPython for Windows", but panda3d's wheels carry the official build's files for shipping
applications (``deploy_libs/``): the interpreter's DLL, the C runtime and every extension module. They are used for
those files alone. The pure Python half is the standard library of a host Python of the same minor version, and the
small ``python.exe`` is compiled from ``python.c``.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

from windows import host

RECIPE = 1
"""Raised when the way a Windows Python or a Wine prefix is made changes, so that old ones are not used."""

_SOURCE_PACKAGE = "panda3d==1.10.16"  # brings CPython 3.11.9, 3.12.10, 3.13.11 and 3.14.2
_LAUNCHER = Path(__file__).with_name("python.c")


def windows_python(minor: str, checkout: Path) -> Path:
    """Return the ``python.exe`` of a minor version such as ``"3.11"`` for a checkout's dependencies; build it if new.

    It holds the run-time and test dependencies that the checkout's ``pyproject.toml`` names. Several processes may
    call this at once; one builds. Raises :class:`host.MissingToolError`.
    """
    lender = host.host_python(minor)
    requirements = _requirements(checkout)
    key = _digest(RECIPE, lender.version, str(lender.stdlib), requirements, _SOURCE_PACKAGE, _LAUNCHER.read_text())
    home = host.cache_directory() / f"python-{minor}-{key}"

    def fill(target: Path) -> None:
        compiler = host.compiler()
        print(f"building a Windows Python {minor} in {home}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as downloads:
            _lay_out_binaries(_download(minor, Path(downloads)), target)
        _compile_launcher(compiler, minor, target)
        _copy_library(lender.stdlib, target)
        _install(minor, requirements, target)

    _build_once(home, fill)
    return home / "python.exe"


def wine_prefix() -> Path:
    """Return a Wine prefix that was initialised once and is only ever copied from; raises ``MissingToolError``."""
    wine = host.wine()
    version = subprocess.run([wine, "--version"], capture_output=True, text=True, env=wine_environment(), check=True)
    prefix = host.cache_directory() / f"wine-{_digest(RECIPE, version.stdout.strip())}"

    def fill(target: Path) -> None:
        print(f"initialising a Wine prefix in {prefix}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as sockets:
            env = wine_environment(target) | {"TMPDIR": sockets}
            for command in ([wine, "wineboot", "--init"], ["wineserver", "-w"]):
                subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, check=False)
        if not (target / "system.reg").is_file():
            raise host.MissingToolError("Wine could not initialise a prefix: `wineboot --init` wrote no registry.")

    _build_once(prefix, fill)
    return prefix


def wine_environment(prefix: Path | None = None) -> dict[str, str]:
    """Return this environment with what Wine is told: be quiet, 64-bit, no menus, no .NET, no HTML, no debugger."""
    env = dict(os.environ)
    env.update(
        WINEDEBUG="-all",
        WINEARCH="win64",
        WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe,winedbg.exe=",
        LC_ALL="C.UTF-8",
    )
    env.pop("DISPLAY", None)
    if prefix is not None:
        env["WINEPREFIX"] = str(prefix)
    return env


def _requirements(checkout: Path) -> list[str]:
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    # click and pytest want colorama on Windows only, and pip evaluates that marker for the machine it runs on.
    return sorted([*project.get("dependencies", []), *project["optional-dependencies"]["test"], "colorama"])


def _download(minor: str, folder: Path) -> Path:
    # fmt: off
    host.pip("download", "--no-deps", "--only-binary=:all:", "--platform=win_amd64", f"--python-version={minor}",
              "--quiet", f"--dest={folder}", _SOURCE_PACKAGE)
    # fmt: on
    return next(folder.glob("panda3d-*.whl"))


def _lay_out_binaries(wheel: Path, target: Path) -> None:
    (target / "DLLs").mkdir(parents=True)
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.namelist():
            folder, _, name = member.rpartition("/")
            if folder != "deploy_libs" or _unwanted(name):
                continue
            beside_exe = re.match(r"(python3\d*\.dll|vcruntime)", name, re.IGNORECASE)
            (target / ("" if beside_exe else "DLLs") / name).write_bytes(archive.read(member))
    if not list(target.glob("python3*.dll")):
        raise host.MissingToolError(
            f"{wheel.name} no longer holds a Windows Python: the recipe in {Path(__file__).name} needs another."
        )


def _unwanted(name: str) -> bool:
    # Wine has its own api-ms-win-*; cp314t- is the free-threaded build; Wine's WMI crashes, and platform.version()
    # reaches it through _wmi where that module exists.
    return name.startswith("api-ms-win-") or re.search(r"cp3\d+t-", name) is not None or name == "_wmi.pyd"


def _compile_launcher(compiler: str, minor: str, target: Path) -> None:
    dll = f'-DPYTHON_DLL=L"python{minor.replace(".", "")}.dll"'
    command = [compiler, "-municode", "-O2", dll, str(_LAUNCHER), "-o", str(target / "python.exe")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise host.MissingToolError(f"{compiler} could not compile {_LAUNCHER.name}: {done.stderr.strip()}")


def _copy_library(stdlib: Path, target: Path) -> None:
    unwanted = shutil.ignore_patterns("site-packages", "dist-packages", "lib-dynload", "__pycache__", "config-3.*")
    shutil.copytree(stdlib, target / "Lib", ignore=unwanted, ignore_dangling_symlinks=True)


def _install(minor: str, requirements: list[str], target: Path) -> None:
    # fmt: off
    host.pip("install", "--quiet", "--no-compile", "--platform=win_amd64", "--only-binary=:all:", "--no-user",
              f"--python-version={minor}", f"--target={target / 'Lib' / 'site-packages'}", *requirements)
    # fmt: on


def _build_once(home: Path, fill: Callable[[Path], None]) -> None:
    if home.is_dir():
        return
    home.parent.mkdir(parents=True, exist_ok=True)
    with _locked(home.with_name(f"{home.name}.lock")):
        if home.is_dir():
            return
        # Built beside its place and renamed into it, so that an interrupted build is never mistaken for a whole one.
        scratch = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
        try:
            fill(scratch)
            scratch.rename(home)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    import fcntl  # there is none on Windows, where this file must still import

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _digest(*parts: object) -> str:
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:12]
