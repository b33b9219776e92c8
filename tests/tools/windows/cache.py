"""The folder, outside the checkout, that holds what the Windows lane builds; each thing is built once."""

import contextlib
import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

RECIPE = 2
"""Raised when the way a Windows Python, a Debian or a Wine prefix is made changes, so that old ones are not used."""


def directory() -> Path:
    """Return the folder (``XDG_CACHE_HOME`` is honoured)."""
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(base).absolute() / "proactor-echo"


def place(name: str, *ingredients: object) -> Path:
    """Return where something is kept that is made of these ingredients: with others it is another place."""
    return directory() / f"{name}-{hashlib.sha256(repr((RECIPE, *ingredients)).encode()).hexdigest()[:12]}"


def build_once(home: Path, fill: Callable[[Path], None]) -> None:
    """Have ``fill`` make what is not at its place yet. Several processes may ask at once; one builds."""
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
    if sys.platform == "win32":
        raise NotImplementedError("Windows has no Wine")
    import fcntl  # there is none on Windows, where this file must still import

    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
