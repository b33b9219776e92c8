"""Lay out the official CPython for Windows in the cache, from PyPI and this machine's own standard library.

There is no package that is "CPython for Windows", but panda3d's wheels carry the official build's files for shipping
applications (``deploy_libs/``): the interpreter's DLL, the C runtime and every extension module. They are used for
those files alone. The pure Python half is the standard library of a host Python of the same minor version, and the
small ``python.exe`` is compiled from ``python.c``. Like python.org's it carries a manifest, without which Windows tells
a program that it is Windows 8.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
import zipfile
from pathlib import Path

from tools.windows import cache, host

_SOURCE_PACKAGE = "panda3d==1.10.16"  # brings CPython 3.11.9, 3.12.10, 3.13.11 and 3.14.2
_LAUNCHER = Path(__file__).with_name("python.c")
_MANIFEST = Path(__file__).with_name("python.manifest")


def windows_python(minor: str, checkout: Path) -> Path:
    """Return the ``python.exe`` of a minor version such as ``"3.11"`` for a checkout's dependencies; build it if new.

    It holds the run-time and test dependencies that the checkout's ``pyproject.toml`` names. Raises
    :class:`host.MissingToolError`.
    """
    lender = host.host_python(minor)
    requirements = _requirements(checkout)
    sources = (_SOURCE_PACKAGE, _LAUNCHER.read_text(), _MANIFEST.read_text())
    home = cache.place(f"python-{minor}", lender.version, str(lender.stdlib), requirements, *sources)

    def fill(target: Path) -> None:
        tools = host.compiler()
        print(f"building a Windows Python {minor} in {home}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as downloads:
            _lay_out_binaries(_download(minor, Path(downloads)), target)
        _compile_launcher(tools, minor, target)
        _copy_library(lender.stdlib, target)
        _install(minor, requirements, target)

    cache.build_once(home, fill)
    return home / "python.exe"


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


def _compile_launcher(tools: host.Compiler, minor: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        script, resource = Path(folder, "python.rc"), Path(folder, "python.res.o")
        script.write_text(f'1 24 "{_MANIFEST.name}"\n')  # 1: of a program; 24: RT_MANIFEST
        dll = f'-DPYTHON_DLL=L"python{minor.replace(".", "")}.dll"'
        _compile([tools.windres, f"--include-dir={_MANIFEST.parent}", str(script), str(resource)])
        _compile([tools.gcc, "-municode", "-O2", dll, str(_LAUNCHER), str(resource), "-o", str(target / "python.exe")])


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        raise host.MissingToolError(f"{command[0]} could not compile {_LAUNCHER.name}: {done.stderr.strip()}")


def _copy_library(stdlib: Path, target: Path) -> None:
    unwanted = shutil.ignore_patterns("site-packages", "dist-packages", "lib-dynload", "__pycache__", "config-3.*")
    shutil.copytree(stdlib, target / "Lib", ignore=unwanted, ignore_dangling_symlinks=True)


def _install(minor: str, requirements: list[str], target: Path) -> None:
    # fmt: off
    host.pip("install", "--quiet", "--no-compile", "--platform=win_amd64", "--only-binary=:all:", "--no-user",
              f"--python-version={minor}", f"--target={target / 'Lib' / 'site-packages'}", *requirements)
    # fmt: on
