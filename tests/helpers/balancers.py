"""Real load balancers in front of a server of the test: HAProxy, and nginx's stream module."""

import asyncio
import contextlib
import shutil
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

needs_haproxy = pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs the program haproxy")

NGINX_STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

needs_nginx = pytest.mark.skipif(
    shutil.which("nginx") is None or not NGINX_STREAM.exists(), reason="needs the program nginx with its stream module"
)

_HAPROXY = """
global
    maxconn 1000
defaults
    mode tcp
    timeout connect 5s
    timeout client 20s
    timeout server 20s
"""


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


@contextlib.asynccontextmanager
async def haproxy(folder: Path, configuration: str, port: int) -> AsyncIterator[None]:
    """Run HAProxy with this configuration, from when it listens on ``port``."""
    path = folder / "haproxy.cfg"
    path.write_text(_HAPROXY + configuration)
    async with _running(["haproxy", "-db", "-f", str(path)], folder, port):
        yield


@contextlib.asynccontextmanager
async def nginx(folder: Path, stream: str, port: int) -> AsyncIterator[None]:
    """Run nginx with this in its ``stream`` block, from when it listens on ``port``."""
    path = folder / "nginx.conf"
    path.write_text(
        f"load_module {NGINX_STREAM};\ndaemon off;\npid {folder}/pid;\nerror_log stderr;\n"
        f"events {{ worker_connections 64; }}\nstream {{\n{stream}\n}}\n"
    )
    async with _running(["nginx", "-p", str(folder), "-c", str(path)], folder, port):
        yield


@contextlib.asynccontextmanager
async def _running(command: list[str], folder: Path, port: int) -> AsyncIterator[None]:
    output = folder / "output"
    with output.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file)
    try:
        for _ in range(1000):
            with contextlib.suppress(ConnectionError), socket.create_connection(("127.0.0.1", port), 5):
                break
            assert process.poll() is None, output.read_text()
            await asyncio.sleep(0.01)
        yield
    finally:
        process.terminate()
        await asyncio.to_thread(process.wait)
