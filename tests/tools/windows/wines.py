"""The two Wines that the Windows lane runs on, and where each comes from.

They are two different Windows to a program. Wine 8 is left as it comes, and answers as Windows 7 does. Wine 10 is set
to Windows 11, has its socket options, and is nearer to Windows in what a reset or a foreign address does.

A Debian release has one Wine. The machine's own is used where it is that one; for the other a small Debian with it is
made in the cache (:mod:`windows.debian`).
"""

import contextlib
import functools
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.windows import cache, debian
from tools.windows.host import MissingToolError

DEBIANS = {"8": ("bookworm", "Debian 12"), "10": ("trixie", "Debian 13")}
"""The names of the Wines, which are their major versions, and the Debian release that has each."""


@dataclass(frozen=True, slots=True)
class Wine:
    """One Wine of this machine, and how its commands are run."""

    name: str
    """What ``--wine`` calls it: "8" or "10"."""
    version: str
    """What it says of itself: ``wine-10.0 (Debian 10.0~repack-6)``."""
    wine: tuple[str, ...]
    server: tuple[str, ...]
    """The beginnings of command lines."""
    debug: str = "-all"

    def environment(self, prefix: Path | None = None, runtime: Path | None = None) -> dict[str, str]:
        """Return this environment with what Wine is told: be quiet, 64-bit, no menus, no .NET, no HTML, no debugger.

        ``runtime`` is a folder for what it keeps while it runs.
        """
        env = dict(os.environ)
        env.update(
            WINEDEBUG=self.debug,
            WINEARCH="win64",
            WINEDLLOVERRIDES="mscoree,mshtml,winemenubuilder.exe,winedbg.exe=",
            LC_ALL="C.UTF-8",
        )
        env.pop("DISPLAY", None)
        if prefix is not None:
            env["WINEPREFIX"] = str(prefix)
        if self.name == "8":
            if runtime is not None:
                env["TMPDIR"] = str(runtime)  # for the server's socket; Windows programs read it as on drive Z:
        else:
            env.pop("TMPDIR", None)  # with it Debian's Wine 10 frees what is not its own, and aborts
            if runtime is not None:
                env["XDG_RUNTIME_DIR"] = str(runtime)
        return env

    def prefix(self) -> Path:
        """Return a Wine prefix that was initialised once and is only ever copied from; raises ``MissingToolError``."""
        prefix = cache.place(f"wine-{self.name}", self.version)

        def fill(target: Path) -> None:
            print(f"initialising a prefix of Wine {self.name} in {prefix}", file=sys.stderr, flush=True)
            commands = [[*self.wine, "wineboot", "--init"], [*self.server, "-w"]]
            if self.name == "10":
                commands.insert(1, [*self.wine, "winecfg", "-v", "win11"])
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as runtime, self.tidied(target):
                env = self.environment(target, Path(runtime))
                for command in commands:
                    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, env=env, check=False)
            if not (target / "system.reg").is_file():
                raise MissingToolError("Wine could not initialise a prefix: `wineboot --init` wrote no registry.")

        cache.build_once(prefix, fill)
        return prefix

    @contextlib.contextmanager
    def tidied(self, prefix: Path) -> Iterator[None]:
        """Remove the folder in /tmp that Debian's newer server makes for its socket, and leaves there."""
        try:
            yield
        finally:
            note = prefix / "wineserver"  # holds the folder's name
            with contextlib.suppress(OSError):
                if re.fullmatch(r"wine-\w{6}", name := note.read_text().strip()):
                    shutil.rmtree(Path("/tmp", name), ignore_errors=True)
                note.unlink()


def find(name: str | None) -> Wine:
    """Return a Wine by name, made ready to run; None is this machine's own, else the newest that can be had.

    Raises :class:`MissingToolError`.
    """
    if os.name == "nt":
        raise MissingToolError("This already is Windows: run `python -m pytest` itself.")
    own = _installed()
    if own is not None and name in (None, own.name):
        return own
    if name is None:
        if _what_a_debian_lacks("10"):
            raise MissingToolError("Wine is not installed: on Debian, `apt-get install wine wine64` brings it.")
        name = "10"
    return _of_debian(name)


def available() -> list[str]:
    """Return the names of the Wines that :func:`find` can find or make, oldest first."""
    own = _installed()
    return [name for name in DEBIANS if (own and own.name == name) or not _what_a_debian_lacks(name)]


@functools.cache
def _installed() -> Wine | None:
    wine, server = shutil.which("wine"), shutil.which("wineserver")
    if wine is None or server is None:
        return None
    version = _version((wine,))
    found = re.match(r"wine-(\d+)", version)
    major = int(found[1]) if found else 0
    name = "10" if major >= 10 else str(major)
    return Wine(name, version, (wine,), (server,)) if name in DEBIANS else None


def _what_a_debian_lacks(name: str) -> str:
    """Tell in one sentence why no Debian can be made here, or nothing."""
    return debian.lacks(DEBIANS[name][1], f"Wine {name}")


def _of_debian(name: str) -> Wine:
    enter = debian.enter(*DEBIANS[name], f"Wine {name}", ("wine", "wine64"))
    wine = (*enter, "/usr/bin/wine-stable")
    return Wine(name, _version(wine), wine, (*enter, "/usr/bin/wineserver-stable"))


def _version(wine: tuple[str, ...]) -> str:
    env = {name: value for name, value in os.environ.items() if name != "TMPDIR"} | {"WINEDEBUG": "-all"}
    done = subprocess.run(
        [*wine, "--version"], stdin=subprocess.DEVNULL, capture_output=True, text=True, env=env, check=False
    )
    if done.returncode:
        said = (done.stderr.strip() or "nothing was said").splitlines()[-1]
        raise MissingToolError(f"`wine --version` failed with exit status {done.returncode}: {said}")
    return done.stdout.strip()
