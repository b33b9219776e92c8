"""PostgreSQL and Redis, started for the run in a temporary folder on 127.0.0.1 and stopped after it.

By itself, `python tests/tools/programs/third_party/servers.py` starts both, prints the options that tell `run.py`
of them, and stops them when its standard input ends: for a Windows Python under Wine, which cannot start them.
"""

from __future__ import annotations

import contextlib
import glob
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tools.programs.third_party.setting import CERTIFICATE, KEY, UnavailableError, free_port


@contextlib.contextmanager
def postgresql(given: str | None) -> Iterator[str]:
    """Yield the URL of a server with TLS switched on; that is `given` when there is one."""
    if given:
        yield given
        return
    initdb = _find("initdb", "/usr/lib/postgresql/*/bin", "/usr/local/pgsql/bin", "/opt/homebrew/opt/postgresql*/bin")
    programs = Path(initdb).resolve().parent
    account = _account("postgres")
    with _scratch_folder(account) as folder:
        data = Path(folder, "data")
        command = [
            initdb,
            "--auth=trust",
            "--username=tester",
            "--encoding=UTF8",
            "--no-locale",
            "--no-sync",
            str(data),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, **account)
        if done.returncode:
            raise UnavailableError(f"initdb failed: {done.stderr.strip()}")
        for name, file in (("server.crt", CERTIFICATE), ("server.key", KEY)):
            shutil.copy(file, data / name)
            os.chmod(data / name, 0o600)
            if account:
                shutil.chown(data / name, account["user"], account["group"])
        port = free_port()
        settings = {"port": port, "listen_addresses": "127.0.0.1", "unix_socket_directories": folder}
        settings |= {"fsync": "off", "ssl": "on", "max_connections": 50}
        command = [str(programs / "postgres"), "-D", str(data)]
        command += [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        ready = [str(programs / "pg_isready"), "--quiet", "--host=127.0.0.1", f"--port={port}"]
        with _running(command, lambda: not subprocess.run(ready, check=False).returncode, signal.SIGINT, account):
            yield f"postgresql://tester@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def redis(given: str | None) -> Iterator[str]:
    """Yield the URL of a server with nothing in it; that is `given` when there is one."""
    if given:
        yield given
        return
    server = _find("redis-server", "/usr/local/bin")
    account = _account("nobody")
    with _scratch_folder(account) as folder:
        port = free_port()
        command = [server, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        with _running(command, lambda: _connects(port), signal.SIGTERM, account):
            yield f"redis://127.0.0.1:{port}"


@contextlib.contextmanager
def _running(
    command: list[str], ready: Callable[[], bool], stop: signal.Signals, account: dict[str, Any]
) -> Iterator[None]:
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **account)
        try:
            end = time.monotonic() + 60
            while not ready():
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise UnavailableError(f"{command[0]} did not start: {log.read().strip()}")
                time.sleep(0.05)
            yield
        finally:
            process.send_signal(stop)
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _connects(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _find(program: str, *places: str) -> str:
    folders = [*os.get_exec_path(), *(folder for place in places for folder in sorted(glob.glob(place), reverse=True))]
    found = shutil.which(program, path=os.pathsep.join(folders))
    if found is None or sys.platform == "win32":
        raise UnavailableError(f"no {program} here; start a server and give its URL")
    return found


def _account(name: str) -> dict[str, Any]:
    """How a subprocess becomes a user without rights, which PostgreSQL insists on; nothing when we are one."""
    if sys.platform == "win32" or os.geteuid() != 0:
        return {}
    import pwd

    for candidate in (name, "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(candidate)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise UnavailableError("neither this user nor nobody can run a server")


@contextlib.contextmanager
def _scratch_folder(account: dict[str, Any]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        if account:
            shutil.chown(folder, account["user"], account["group"])
        yield folder


if __name__ == "__main__":
    with postgresql(None) as database, redis(None) as store:
        print(f"--postgres {database} --redis {store}", flush=True)
        sys.stdin.read()
