"""A server behind real load balancers. The configurations are those of docs/scaling.md."""

import asyncio
import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from helpers.balancers import NGINX_STREAM, free_port, haproxy, needs_haproxy, needs_nginx, nginx
from helpers.peers import RawClient, eventually

import proactor_echo as pe
from proactor_echo.testing.certificates import LOCALHOST, client_context

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the load balancers are programs of Linux")

PAGE = Path(__file__).resolve().parents[3] / "docs" / "scaling.md"

TRUSTED = pe.ProxyProtocol(["127.0.0.0/8"])


class Seen:
    """Echoes, and keeps the connections of clients that have sent something."""

    def __init__(self) -> None:
        self.connections: list[pe.Connection] = []

    async def __call__(self, conn: pe.Connection) -> None:
        async for frame in conn:
            if conn not in self.connections:
                self.connections.append(conn)
            await conn.send(frame)


@contextlib.asynccontextmanager
async def served(**options: Any) -> AsyncIterator[tuple[Seen, pe.Server]]:
    seen = Seen()
    async with await pe.serve_tcp(seen, proxy=TRUSTED, **options) as server:
        yield seen, server


async def echoes(port: int, **options: Any) -> str:
    """Have a message echoed; return the address from which it was sent."""
    async with await pe.connect_tcp("127.0.0.1", port, **options) as conn:
        local = conn.local
        await conn.send(b"hello")
        async with asyncio.timeout(20):
            assert await conn.receive() == b"hello"
        return local


@needs_haproxy
@pytest.mark.parametrize(("option", "version"), [("send-proxy", 1), ("send-proxy-v2", 2)])
async def test_haproxy_tells_the_client(option: str, version: int, tmp_path: Path) -> None:
    front = free_port()
    async with served() as (seen, server):
        configuration = f"""
listen echo
    bind 127.0.0.1:{front}
    server one 127.0.0.1:{server.port} {option}
"""
        async with haproxy(tmp_path, configuration, front):
            client = await echoes(front)
        (conn,) = seen.connections
        assert conn.peer == client
        assert conn.transport_peer != client
        assert conn.proxied is not None
        assert (conn.proxied.version, conn.proxied.destination) == (version, ("127.0.0.1", front))


@needs_haproxy
async def test_haproxy_ends_the_tls_and_says_what_it_was(tmp_path: Path) -> None:
    front = free_port()
    pem = tmp_path / "both.pem"
    pem.write_bytes(Path(LOCALHOST.certfile).read_bytes() + Path(LOCALHOST.keyfile).read_bytes())
    async with served() as (seen, server):
        configuration = f"""
listen echo
    bind 127.0.0.1:{front} ssl crt {pem} alpn echo
    unique-id-format %[uuid()]
    server one 127.0.0.1:{server.port} send-proxy-v2 proxy-v2-options ssl,crc32c,authority,unique-id
"""
        async with haproxy(tmp_path, configuration, front):
            client = await echoes(front, ssl=client_context(LOCALHOST), server_hostname="localhost")
        (conn,) = seen.connections
        header = conn.proxied
        assert header is not None
        assert header.tls is not None
        assert (conn.peer, header.authority, header.tls.version) == (client, "localhost", "TLSv1.3")
        assert header.tls.cipher is None  # "ssl-cipher" asks for it
        assert header.unique_id is not None
        assert len(header.unique_id) == 36
        assert header.tlv(3) is not None  # the checksum, which was right


@needs_haproxy
async def test_haproxy_checks_by_a_header_of_its_own(tmp_path: Path) -> None:
    front = free_port()
    async with served() as (seen, server):
        configuration = f"""
listen echo
    bind 127.0.0.1:{front}
    server one 127.0.0.1:{server.port} send-proxy-v2 check check-send-proxy inter 50ms rise 1 fall 1
"""
        async with haproxy(tmp_path, configuration, front):
            await eventually(lambda: server.stats.accepted >= 5)
            assert await echoes(front)  # it has not been taken for down
        assert len(seen.connections) == 1
        assert server.stats.refused == 0


@needs_haproxy
async def test_tls_goes_through_haproxy(tmp_path: Path) -> None:
    front = free_port()
    async with served(ssl=pe.Tls(LOCALHOST.certfile, LOCALHOST.keyfile)) as (seen, server):
        configuration = f"""
listen echo
    bind 127.0.0.1:{front}
    server one 127.0.0.1:{server.port} send-proxy-v2
"""
        async with haproxy(tmp_path, configuration, front):
            client = await echoes(front, ssl=client_context(LOCALHOST), server_hostname="localhost")
        (conn,) = seen.connections
        assert conn.peer == client
        assert conn.tls is not None


async def told(path: Path, command: str) -> None:
    """Give HAProxy a command, which it confirms by an empty line."""
    if sys.platform == "win32":
        pytest.skip("its socket is one of Unix")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, str(path))
        async with RawClient(sock) as admin:
            await admin.send(command.encode() + b"\n")
            assert await admin.receive_all() == b"\n"


@needs_haproxy
async def test_one_of_two_servers_is_drained_and_nothing_is_lost(tmp_path: Path) -> None:
    front = free_port()
    stop = asyncio.Event()
    message = bytes(range(256)) * 64

    async def load() -> int:
        """Connect again and again, until stopped; return how often it was answered."""
        count = 0
        while not stop.is_set():
            async with await pe.connect_tcp("127.0.0.1", front, codec=pe.LengthCodec()) as conn:
                for _ in range(10):
                    await conn.send(message)
                    assert await conn.receive() == message
                    count += 1
        return count

    codec = pe.LengthCodec()
    async with served(codec=codec) as (_, staying), served(codec=codec) as (leaving_seen, leaving):
        configuration = f"""
global
    stats socket {tmp_path}/admin level admin
listen echo
    bind 127.0.0.1:{front}
    server one 127.0.0.1:{staying.port} send-proxy-v2
    server two 127.0.0.1:{leaving.port} send-proxy-v2
"""
        async with haproxy(tmp_path, configuration, front), asyncio.timeout(30):
            loads = [asyncio.create_task(load()) for _ in range(8)]
            await eventually(lambda: len(leaving_seen.connections) > 20)
            await told(tmp_path / "admin", "set server echo/two state drain")
            report = await leaving.close(drain=20)
            before = staying.stats.accepted
            await eventually(lambda: staying.stats.accepted > before + 20)
            stop.set()
            assert all(await asyncio.gather(*loads))
        assert report.aborted == 0
        assert leaving.stats.refused == 0


@needs_haproxy
@pytest.mark.parametrize("version", [1, 2])
async def test_haproxy_understands_what_we_send(version: Any, tmp_path: Path) -> None:
    front, check = free_port(), free_port()
    client, destination = ("203.0.113.9", 51234), ("192.0.2.1", 443)
    async with served() as (seen, server):
        configuration = f"""
listen echo
    bind 127.0.0.1:{front} accept-proxy
    bind 127.0.0.1:{check}
    server one 127.0.0.1:{server.port} send-proxy-v2
"""
        async with haproxy(tmp_path, configuration, check):
            await echoes(front, send_proxy=pe.ProxyHeader(client, destination, version=version))
        (conn,) = seen.connections
        assert conn.peer == "203.0.113.9:51234"
        assert conn.proxied is not None
        assert conn.proxied.destination == destination


@needs_haproxy
def test_haproxy_takes_the_configuration_of_the_documentation(tmp_path: Path) -> None:
    pem = tmp_path / "both.pem"
    pem.write_bytes(Path(LOCALHOST.certfile).read_bytes() + Path(LOCALHOST.keyfile).read_bytes())
    path = tmp_path / "haproxy.cfg"
    text = documented("haproxy").replace("/etc/haproxy/echo.pem", str(pem))
    path.write_text(text.replace("/run/haproxy/admin.sock", str(tmp_path / "admin")))
    done = subprocess.run(["haproxy", "-c", "-f", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@needs_nginx
def test_nginx_takes_the_configuration_of_the_documentation(tmp_path: Path) -> None:
    path = tmp_path / "nginx.conf"
    path.write_text(f"load_module {NGINX_STREAM};\npid {tmp_path}/pid;\nevents {{}}\n" + documented("nginx"))
    done = subprocess.run(["nginx", "-t", "-c", str(path)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def documented(language: str) -> str:
    """Return the block of docs/scaling.md in this language."""
    found = re.search(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    assert found
    return found[1]


@needs_nginx
async def test_nginx_tells_the_client(tmp_path: Path) -> None:
    front = free_port()
    async with served() as (seen, server):
        stream = f"""
    server {{
        listen 127.0.0.1:{front};
        proxy_pass 127.0.0.1:{server.port};
        proxy_protocol on;
    }}
"""
        async with nginx(tmp_path, stream, front):
            client = await echoes(front)
        (conn,) = seen.connections
        assert conn.peer == client
        assert conn.proxied is not None
        assert conn.proxied.version == 1
