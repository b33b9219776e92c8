"""A small Debian in the cache, for programs that this machine has not; nothing is installed.

Its ``/usr`` takes the place of the machine's for the processes of one command alone, in a mount namespace of their own,
which takes root; all other folders, the network and the processes stay the machine's.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tools.windows import cache, lend
from tools.windows.host import MissingToolError

# A new mount namespace, which ends with its last process: nothing stays mounted, however that one ends.
_UNSHARE = ("unshare", "--mount", "--propagation", "private")

# The shell that mounts is the machine's, and what it becomes is the other system's: nothing runs on a mixture.
_ENTER = """
set -e
for folder in local src; do
    [ ! -d "/usr/$folder" ] || mount --rbind "/usr/$folder" "$0/usr/$folder"
done
mount --rbind "$0/usr" /usr
exec "$@"
"""


def lacks(title: str, wanted: str) -> str:
    """Tell in one sentence why no Debian of that title can be made here, or nothing; ``wanted`` is what it is for."""
    if sys.platform == "win32":
        raise NotImplementedError("there is no Debian on Windows")
    if os.geteuid() != 0:
        return f"{wanted} is not installed, and only root can make a {title} that has it: run this as root."
    for command, package in (("debootstrap", "debootstrap"), ("unshare", "util-linux")):
        if shutil.which(command) is None:
            return (
                f"{command} is not installed, which a {title} for {wanted} is made with: "
                f"`apt-get install {package}` brings it."
            )
    if not lend.KEYRING.is_file():
        return (
            f"{lend.KEYRING} is missing, which a {title} is checked by: "
            "`apt-get install debian-archive-keyring` brings it."
        )
    return ""


def enter(suite: str, title: str, wanted: str, packages: Sequence[str]) -> tuple[str, ...]:
    """Return the beginning of command lines that run in a Debian with these packages; make it if it is new.

    Raises :class:`MissingToolError`.
    """
    if missing := lacks(title, wanted):
        raise MissingToolError(missing)
    root = cache.place(f"debian-{suite}", *packages)

    def fill(target: Path) -> None:
        print(f"making a {title} with {wanted} in {root}", file=sys.stderr, flush=True)
        # Processes of its own too: all that it started ends with it.
        command = [*_UNSHARE, "--pid", "--fork", "--kill-child", "--mount-proc", "--", "debootstrap"]
        command += ["--variant=minbase", f"--include={','.join(packages)}", f"--keyring={lend.KEYRING}"]
        command += [suite, str(target), lend.MIRROR]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or "nothing was said").splitlines()[-1]
            raise MissingToolError(f"debootstrap could not make a {title} with {wanted}: {said}")
        for unneeded in ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man"):
            shutil.rmtree(target / unneeded, ignore_errors=True)

    cache.build_once(root, fill)
    return (*_UNSHARE, "--", "sh", "-c", _ENTER, str(root))
