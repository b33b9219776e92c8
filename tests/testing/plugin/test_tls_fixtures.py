"""Servers that speak TLS, as fixtures: with certificates that come with the package, and contexts that trust them."""

import asyncio
import importlib.util
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest
from helpers.suites import Run

import proactor_echo as pe
from proactor_echo.testing import (
    ServerThreadFactory,
    TcpClientFactory,
    TcpServerFactory,
    TcpServerThread,
    TcpTestServer,
)
from proactor_echo.testing import certificates as certs

CLIENT = """
import asyncio
import ssl
import pytest
from proactor_echo.testing import certificates as certs

async def echoed(server, data, context=None, name=None):
    reader, writer = await asyncio.open_connection(
        *server.address, ssl=context or server.client_context(), server_hostname=name
    )
    try:
        writer.write(data)
        return await reader.readexactly(len(data))
    finally:
        writer.transport.abort()
"""


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_the_ready_server_works_in_both_modes_of_pytest_asyncio(run: Run, mode: str) -> None:
    result = run(
        CLIENT
        + """
@pytest.mark.asyncio
@pytest.mark.parametrize("name", [None, "localhost"])
async def test_tls(tls_echo_server, name):
    assert await echoed(tls_echo_server, b"hello", name=name) == b"hello"
    assert await echoed(tls_echo_server, b"hello", ssl.create_default_context(cafile=tls_echo_server.ca_file))
    assert tls_echo_server.stats.bytes_in == 10
    assert b"hello" not in tls_echo_server.received
    assert tls_echo_server.address == (tls_echo_server.host, tls_echo_server.port)
""",
        f"--asyncio-mode={mode}",
    )
    result.assert_outcomes(passed=2)


def test_the_server_runs_in_the_loop_of_the_test_whatever_its_scope(run: Run) -> None:
    code = CLIENT
    for scope in ("function", "class", "module", "package", "session"):
        code += f"""
@pytest.mark.asyncio(loop_scope="{scope}")
async def test_{scope}(tls_echo_server):
    assert await echoed(tls_echo_server, b"hello") == b"hello"
"""
    run(code).assert_outcomes(passed=5)


@pytest.mark.skipif(importlib.util.find_spec("anyio") is None, reason="AnyIO is not installed")
def test_the_ready_server_works_with_anyio(run: Run) -> None:
    result = run(
        CLIENT
        + """
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_tls(tls_echo_server, anyio_backend):
    assert await echoed(tls_echo_server, b"hello") == b"hello"
""",
        "-p",
        "anyio",
    )
    result.assert_outcomes(passed=1)


async def exchange(server: TcpTestServer, client: ssl.SSLContext) -> Any:
    """Echo one byte; return the server's certificate as the client saw it."""
    reader, writer = await asyncio.open_connection(*server.address, ssl=client, server_hostname="localhost")
    try:
        writer.write(b"x")
        assert await reader.readexactly(1) == b"x"
        return writer.get_extra_info("peercert")
    finally:
        writer.transport.abort()


async def test_a_server_shows_the_certificate_it_was_made_with(tcp_server_factory: TcpServerFactory) -> None:
    first, second = await tcp_server_factory(ssl=True), await tcp_server_factory(ssl=certs.RENEWED)
    serials = [(await exchange(server, server.client_context()))["serialNumber"] for server in (first, second)]
    assert serials[0] != serials[1]


async def test_a_server_with_a_bad_certificate_is_refused(tcp_server_factory: TcpServerFactory) -> None:
    for certificate, why in ((certs.EXPIRED, "expired"), (certs.WRONG_NAME, "not valid for 'localhost'")):
        server = await tcp_server_factory(ssl=certificate)
        with pytest.raises(ssl.SSLCertVerificationError, match=why):
            await exchange(server, server.client_context())


async def test_a_client_shows_the_certificate_that_its_context_was_made_with(
    tcp_server_factory: TcpServerFactory,
) -> None:
    server = await tcp_server_factory(ssl=certs.server_context(verify="required"))
    await exchange(server, server.client_context(certs.CLIENT))
    with pytest.raises((OSError, EOFError)):
        await exchange(server, server.client_context())


async def test_a_server_without_tls_says_how_to_get_one(tcp_echo_server: TcpTestServer) -> None:
    for ask in (tcp_echo_server.client_context, lambda: tcp_echo_server.ca_file):
        with pytest.raises(ValueError, match=r"does not speak TLS: make it with ssl=True, or use the fixture tls_echo"):
            ask()


async def test_the_client_factory_speaks_tls_with_a_server_that_does(
    tls_echo_server: TcpTestServer, tcp_client_factory: TcpClientFactory, tcp_server_factory: TcpServerFactory
) -> None:
    conn = await tcp_client_factory(tls_echo_server)
    await conn.send(b"hello")
    assert await conn.receive() == b"hello"
    assert conn.tls is not None
    server = await tcp_server_factory(ssl=pe.Tls(*certs.LOCALHOST[:2], client_ca=certs.CA_FILE))
    conn = await tcp_client_factory(server, ssl=server.client_context(certs.CLIENT))
    await conn.send(b"hello")
    assert await conn.receive() == b"hello"


def test_a_server_in_a_thread_speaks_tls_with_a_client_that_blocks(server_thread_factory: ServerThreadFactory) -> None:
    server: TcpServerThread = server_thread_factory(ssl=True)
    assert isinstance(server.ca_file, Path)
    with (
        socket.create_connection(server.address, timeout=10) as sock,
        server.client_context().wrap_socket(sock, server_hostname="localhost") as wrapped,
    ):
        wrapped.sendall(b"hello")
        assert wrapped.recv(100) == b"hello"
