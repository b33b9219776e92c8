"""Run one command on a Windows Python under Wine, in a Wine session of its own that ends with it.

A Wine prefix has one server process, which every Windows process under that prefix talks to. Each session gets a
prefix of its own (the registry copied, drive C: linked), thus a server of its own: runs at the same time do not wait
for each other's server, and killing that server ends exactly this run's processes, whatever they started.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import IO

from tools.windows.wines import Wine

TIMED_OUT = 124
"""The exit status of a run that was ended by its time limit (coreutils' ``timeout`` uses the same)."""


def run(
    wine: Wine,
    python: Path,
    arguments: Sequence[str],
    *,
    checkout: Path,
    directory: Path,
    timeout: float,
    merge_output: bool,
) -> int:
    """Run ``python.exe arguments...`` in a directory with the checkout's package importable; return its exit status.

    Standard input is empty; output is copied as it comes. After ``timeout`` seconds, or when this process is
    interrupted or told to terminate, every process of the run is ended.
    """
    with _scratch_folder(python) as scratch:
        prefix = _private_prefix(wine, scratch)
        env = _environment(wine, prefix, scratch, python, checkout)
        _set_environment_of_services(prefix, scratch / "tmp", env)
        with terminate_as_exit(), wine.tidied(prefix):
            process = subprocess.Popen(
                [*wine.wine, str(python), *arguments],
                cwd=directory,
                env=env,
                stdin=subprocess.DEVNULL,
                # Always pipes: Windows Python cannot open its standard streams on a plain file under Wine.
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if merge_output else subprocess.PIPE,
                start_new_session=True,  # so that Ctrl+C reaches this process alone, which then ends the others
            )
            copiers = [_copy(stream, to) for stream, to in ((process.stdout, 1), (process.stderr, 2)) if stream]
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                status = TIMED_OUT
            finally:
                _end_session(wine, env, process)
                for copier in copiers:
                    copier.join(timeout=10)
        told = f"ended after the time limit of {timeout:g} s (--timeout): python {' '.join(arguments)}"
        print(told, file=sys.stderr, flush=True)
        return status


@contextlib.contextmanager
def _scratch_folder(python: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="proactor-echo-wine-", ignore_cleanup_errors=True) as scratch:
        yield Path(scratch)
    # Bytecode of what the tests wrote into that folder will never be wanted again.
    shutil.rmtree(_bytecode_folder(python) / Path(scratch).relative_to("/"), ignore_errors=True)


def _bytecode_folder(python: Path) -> Path:
    return python.with_name("pycache")


def _private_prefix(wine: Wine, scratch: Path) -> Path:
    template = wine.prefix()
    prefix = scratch / "prefix"
    (prefix / "dosdevices").mkdir(parents=True)
    for registry in (*template.glob("*.reg"), template / ".update-timestamp"):
        shutil.copy2(registry, prefix)
    (prefix / "drive_c").symlink_to(template / "drive_c")
    (prefix / "dosdevices" / "c:").symlink_to("../drive_c")
    (prefix / "dosdevices" / "z:").symlink_to("/")
    return prefix


def _set_environment_of_services(prefix: Path, temporary: Path, env: dict[str, str]) -> None:
    # Wine takes TEMP and TMP from the registry, not from the environment it is started in, and services take all.
    temporary.mkdir(0o700)
    values = dict.fromkeys(("TEMP", "TMP"), windows_path(temporary))
    values |= {name: value for name, value in env.items() if name.startswith("PYTHON")}
    lines = ["", *(f'"{name}"="{value}"'.replace("\\", "\\\\") for name, value in values.items())]
    registry = prefix / "user.reg"
    text = re.sub(r'^"(TEMP|TMP)"=.*\n', "", registry.read_text(encoding="utf-8"), flags=re.MULTILINE)
    text, found = re.subn(
        r"^\[Environment\].*(?:\n#.*)*", lambda key: key[0] + "\n".join(lines), text, flags=re.MULTILINE
    )
    assert found == 1, f"{registry} has no environment"
    registry.write_text(text, encoding="utf-8")


def _environment(wine: Wine, prefix: Path, scratch: Path, python: Path, checkout: Path) -> dict[str, str]:
    env = wine.environment(prefix, scratch / "tmp")
    # PYTHONDONTWRITEBYTECODE too: what is compiled is kept, in the cache, or each start would compile the library anew.
    for name in ("HOME", "EXECUTABLE", "STARTUP", "USERBASE", "DONTWRITEBYTECODE"):
        env.pop(f"PYTHON{name}", None)
    metadata = scratch / "metadata"
    _write_metadata(checkout, metadata)
    callers = [Path(folder) for folder in env.get("PYTHONPATH", "").split(os.pathsep) if folder]
    env["PYTHONPATH"] = ";".join(map(windows_path, (checkout, metadata, *callers)))
    env["PYTHONPYCACHEPREFIX"] = windows_path(_bytecode_folder(python))
    env["PYTHONNOUSERSITE"] = "1"
    return env


def windows_path(path: Path) -> str:
    """Return what a path of this machine is called under Wine: ``/tmp/x`` is ``Z:\\tmp\\x``."""
    return "Z:" + str(path.absolute()).replace("/", "\\")


def _write_metadata(checkout: Path, folder: Path) -> None:
    # What an installation would tell importlib.metadata: the version, and plugins' entry points.
    project = tomllib.loads((checkout / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    text = (checkout / project["name"] / "_version.py").read_text(encoding="utf-8")
    version = re.findall(r'^__version__ = "(.+)"$', text, re.MULTILINE)[0]
    info = folder / f"{project['name']}-{version}.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {version}\n")
    groups = {"console_scripts": project.get("scripts", {}), **project.get("entry-points", {})}
    sections = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in groups.items())
    (info / "entry_points.txt").write_text("\n".join(sections))


def _copy(stream: IO[bytes], to: int) -> threading.Thread:
    def copy() -> None:
        with stream, contextlib.suppress(BrokenPipeError):
            while data := os.read(stream.fileno(), 65536):
                view = memoryview(data)
                while view:
                    view = view[os.write(to, view) :]

    thread = threading.Thread(target=copy, daemon=True)
    thread.start()
    return thread


def _end_session(wine: Wine, env: dict[str, str], process: subprocess.Popen[bytes]) -> None:
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no Wine")
    # The server takes its Windows processes with it. Some of them hold the output pipes, so this comes before joining.
    with contextlib.suppress(subprocess.TimeoutExpired):
        subprocess.run([*wine.server, "--kill"], env=env, stdin=subprocess.DEVNULL, timeout=30, check=False)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def terminate_as_exit() -> Iterator[None]:
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no Wine")

    def leave(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
