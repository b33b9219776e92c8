"""The standard library of a Python that this machine has not, from Debian's packages of it.

Debian's development release has a newer Python than most machines. Two of its packages hold the pure Python half, which
is all that a Windows Python borrows; they are unpacked in the cache, and nothing is installed. It takes seconds and no
root. That release moves on, so only who names such a version gets it: it is not among those that ``all`` means.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.windows import cache

LENDERS = {"3.14": "sid"}
"""The versions that can be lent, and the Debian release that has each."""

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
MIRROR = "http://deb.debian.org/debian"


class CannotLendError(Exception):
    """The library cannot be had; the text is the end of a sentence."""


def library(minor: str) -> tuple[tuple[int, int, int], Path]:
    """Return the version and the folder of a standard library, unpacked if it is new; raises ``CannotLendError``."""
    home = cache.place(f"library-{minor}")

    def fill(target: Path) -> None:
        for command in ("apt-get", "dpkg-deb"):
            if shutil.which(command) is None:
                raise CannotLendError(f"there is no {command} to have Debian's with")
        if not KEYRING.is_file():
            raise CannotLendError(f"{KEYRING} is missing, which Debian's is checked by")
        print(f"unpacking Debian's standard library of Python {minor} in {home}", file=sys.stderr, flush=True)
        with tempfile.TemporaryDirectory() as folder:
            _download(minor, Path(folder))
            for package in Path(folder).glob("*.deb"):
                subprocess.run(["dpkg-deb", "--extract", str(package), str(target)], check=True)
                version = re.match(r"[^_]*_([\d.]+)", package.name)
                assert version is not None
                (target / "version").write_text(version[1])

    cache.build_once(home, fill)
    major, middle, micro = map(int, (home / "version").read_text().split("."))
    return (major, middle, micro), home / "usr" / "lib" / f"python{minor}"


def _download(minor: str, folder: Path) -> None:
    for part in ("lists/partial", "archives/partial"):
        (folder / part).mkdir(parents=True)
    (folder / "status").touch()
    (folder / "sources").write_text(f"deb [arch=amd64 signed-by={KEYRING}] {MIRROR} {LENDERS[minor]} main\n")
    settings = {
        "Dir::State": folder,
        "Dir::State::status": folder / "status",
        "Dir::Cache": folder,
        "Dir::Etc::sourcelist": folder / "sources",
        "Dir::Etc::sourceparts": "-",
        "APT::Sandbox::User": "root",  # the folder is this user's alone
        "APT::Architecture": "amd64",
        "Acquire::Languages": "none",
    }
    (folder / "apt.conf").write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    env = os.environ | {"APT_CONFIG": str(folder / "apt.conf"), "LC_ALL": "C.UTF-8"}
    packages = [f"libpython{minor}-stdlib", f"libpython{minor}-minimal"]
    for command in (["apt-get", "update", "-qq"], ["apt-get", "download", "-qq", *packages]):
        done = subprocess.run(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        if done.returncode:
            said = (done.stderr.strip() or "nothing was said").splitlines()[-1]
            raise CannotLendError(f"Debian's could not be had: {said}")
