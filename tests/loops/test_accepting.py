"""What a server on our loop promises: the listener outlives whatever its clients, factories and system do."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import errno
import itertools
import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.network import FailingListener
from helpers.recording import Bench, Echo, Recorder, listen, reset
from helpers.tls import client_context, server_context

from proactor_echo.sockets import accept_errors


async def serve(listener: socket.socket) -> tuple[asyncio.Server, Any]:
    """Serve on a listener of the test's own."""
    return await asyncio.get_running_loop().create_server(Echo, sock=listener), listener.getsockname()


async def echoed(address: Any, data: bytes = b"hello") -> None:
    reader, writer = await asyncio.open_connection(*address)
    writer.write(data)
    assert await reader.readexactly(len(data)) == data
    writer.close()
    await writer.wait_closed()


async def closed(server: asyncio.Server) -> None:
    server.close()
    await asyncio.wait_for(server.wait_closed(), 5)


def test_both_ends_have_nodelay_as_with_asyncio(ours: Bench) -> None:
    async def main() -> None:
        accepted: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        class Tell(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(transport)

        server, address = await listen(Tell)
        transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, *address)
        for end in (transport, await accepted):
            sock = end.get_extra_info("socket")
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            end.abort()
        await closed(server)

    ours.run(main())


def test_clients_that_reset_at_once_do_not_harm_the_listener(ours: Bench) -> None:
    async def main() -> None:
        server, address = await listen()
        for _ in range(100):
            client = socket.create_connection(address)
            client.send(b"x")
            reset(client)
        await echoed(address)
        await closed(server)

    ours.run(main())
    assert not ours.errors


def test_a_factory_that_raises_costs_that_connection(ours: Bench) -> None:
    answers: list[Any] = [Echo, lambda: 1 / 0, Echo]

    def factory() -> Any:
        return answers.pop()()

    async def main() -> None:
        server, address = await listen(factory)
        await echoed(address)
        reader, writer = await asyncio.open_connection(*address)
        with contextlib.suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        await echoed(address)
        await closed(server)

    ours.run(main())
    assert [type(context["exception"]) for context in ours.errors] == [ZeroDivisionError]


def test_running_out_of_descriptors_pauses_and_is_logged_once(ours: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    if sys.platform == "win32":
        pytest.skip("Windows has no limit on descriptors to lower")
    import resource

    monkeypatch.setattr(accept_errors, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(accept_errors, "LONGEST_PAUSE", 0.02)
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        server, address = await listen()
        clients = [socket.socket() for _ in range(3)]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(c.fileno() for c in clients) + 1, before[1]))
        try:
            for client in clients:
                client.setblocking(False)
                await loop.sock_connect(client, address)
                await loop.sock_sendall(client, b"hi")
            done = loop.time() + 0.2
            while loop.time() < done:  # long enough for several tries
                await asyncio.sleep(0.01)
            assert len(ours.errors) == 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for client in clients:
            assert await loop.sock_recv(client, 10) == b"hi"
            client.close()
        await closed(server)

    ours.run(main())
    assert [context["exception"].errno for context in ours.errors] == [errno.EMFILE]
    assert "paused" in ours.errors[0]["message"]


@pytest.mark.skipif(sys.platform == "win32", reason="the Windows engine accepts otherwise; it has its own test")
@pytest.mark.parametrize("number", [errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETDOWN])
def test_an_error_of_one_connection_is_passed_over(ours: Bench, number: int) -> None:
    async def main() -> None:
        listener = FailingListener([OSError(number, "injected"), None, None] * 100)
        server, address = await serve(listener)
        for _ in range(10):
            await echoed(address)
        assert listener.calls > 10
        await closed(server)

    ours.run(main())
    assert not ours.errors


@pytest.mark.skipif(sys.platform == "win32", reason="the Windows engine accepts otherwise; it has its own test")
def test_a_listener_that_only_fails_is_not_tried_without_end(ours: Bench) -> None:
    async def main() -> int:
        listener = FailingListener(itertools.repeat(RuntimeError("injected")))
        server, address = await serve(listener)
        client = socket.create_connection(address)
        while not ours.errors:
            await asyncio.sleep(0)
        client.close()
        await closed(server)
        return listener.failures

    assert ours.run(main()) == accept_errors.MAX_CONSECUTIVE_ERRORS
    assert len(ours.errors) == 1


def test_a_thousand_connections_at_once_are_all_served(ours: Bench) -> None:
    async def main() -> None:
        server, address = await listen(backlog=1024)
        for _ in range(4):
            await asyncio.gather(*(echoed(address, b"%d" % i) for i in range(250)))
        await closed(server)

    ours.run(main())


@pytest.mark.skipif(sys.platform == "win32", reason="there the number of outstanding accepts is the bound")
def test_a_connection_is_answered_while_a_burst_of_others_waits_to_be_accepted(ours: Bench) -> None:
    async def main() -> int:
        opened = itertools.count()

        class Counted(Echo):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                super().connection_made(transport)
                next(opened)

        server, address = await listen(Counted, backlog=1024)
        reader, writer = await asyncio.open_connection(*address)
        with contextlib.ExitStack() as stack:
            for _ in range(200):
                stack.enter_context(socket.create_connection(address))
            writer.write(b"hello")
            assert await reader.readexactly(5) == b"hello"
            before = next(opened)
        writer.close()
        await writer.wait_closed()
        await closed(server)
        return before

    assert ours.run(main()) < 64


def test_a_protocol_may_close_its_server_while_it_accepts(ours: Bench) -> None:
    async def main() -> None:
        class Closes(Recorder):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                server.close()
                transport.close()

        server, address = await listen(Closes)
        clients = [socket.socket() for _ in range(5)]
        for client in clients:
            client.setblocking(False)
            with contextlib.suppress(ConnectionError):  # the first closes the server
                await asyncio.get_running_loop().sock_connect(client, address)
        await asyncio.wait_for(server.wait_closed(), 5)
        for client in clients:
            client.close()

    ours.run(main())


def test_wait_closed_returns_although_a_peer_reset(ours: Bench) -> None:
    """gh-83191: a connection that ends badly is still taken off its server's list."""

    async def main() -> None:
        server, address = await listen()
        client = socket.create_connection(address)
        client.send(b"x")
        await asyncio.sleep(0.02)
        reset(client)
        await closed(server)

    ours.run(main())
    assert not ours.errors


def test_tls_both_ways(ours: Bench) -> None:
    payload = bytes(range(256)) * 4096

    async def main() -> None:
        server, address = await listen(ssl=server_context())
        reader, writer = await asyncio.open_connection(*address, ssl=client_context(), server_hostname="localhost")
        writer.write(payload)
        assert await reader.readexactly(len(payload)) == payload
        assert writer.get_extra_info("ssl_object").version().startswith("TLS")
        writer.close()
        await writer.wait_closed()
        await closed(server)

    ours.run(main())
    assert not ours.errors


def test_a_failed_handshake_costs_that_connection(ours: Bench) -> None:
    async def main() -> None:
        server, address = await listen(ssl=server_context())
        reader, writer = await asyncio.open_connection(*address)
        writer.write(b"this is not TLS\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
        reader, writer = await asyncio.open_connection(*address, ssl=client_context(), server_hostname="localhost")
        writer.write(b"fine")
        assert await reader.readexactly(4) == b"fine"
        writer.close()
        await writer.wait_closed()
        await closed(server)

    ours.run(main())
    assert not [context for context in ours.errors if not isinstance(context.get("exception"), ssl.SSLError | OSError)]


def test_start_tls_upgrades_a_running_connection(ours: Bench) -> None:
    async def upgrade(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go\n")
        await writer.drain()
        await writer.start_tls(server_context())
        writer.write(await reader.readexactly(6))
        await writer.drain()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(upgrade, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go\n"
        await writer.start_tls(client_context(), server_hostname="localhost")
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"
        writer.close()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            await writer.wait_closed()
        await closed(server)

    ours.run(main())


@pytest.mark.parametrize("tls", [False, True])
def test_a_server_that_starts_later_serves_in_the_context_of_its_making_from_python_3_15_on(
    each: Bench, tls: bool
) -> None:
    variable = contextvars.ContextVar("variable", default="nobody")
    seen: list[str] = []

    class Served(asyncio.Protocol):
        def __init__(self) -> None:
            seen.append(variable.get())

        def connection_made(self, transport: Any) -> None:
            seen.append(variable.get())
            variable.set("another connection")
            transport.close()

    async def main() -> None:
        loop = asyncio.get_running_loop()
        variable.set("making")
        server = await loop.create_server(
            Served, "127.0.0.1", 0, start_serving=False, ssl=server_context() if tls else None
        )
        variable.set("starting")
        await server.start_serving()
        options: dict[str, Any] = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
        for _ in range(2):
            _, client = await loop.create_connection(Recorder, *server.sockets[0].getsockname(), **options)
            await client.lost
        await closed(server)

    each.run(main())
    assert seen == ["making" if sys.version_info >= (3, 15) else "starting"] * 4


@pytest.mark.parametrize("tls", [False, True])
def test_sendfile_sends_the_file(ours: Bench, tmp_path: Path, tls: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 8000)

    async def main() -> None:
        received = Recorder()
        server, address = await listen(lambda: received, ssl=server_context() if tls else None)
        loop = asyncio.get_running_loop()
        options: dict[str, Any] = {"ssl": client_context(), "server_hostname": "localhost"} if tls else {}
        transport, client = await loop.create_connection(Recorder, *address, **options)
        transport.write(b"<")
        with path.open("rb") as file:
            assert await loop.sendfile(transport, file, 100, 2_000_000) == 2_000_000
        transport.write(b">")
        assert await received.until(2_000_002) == b"<" + path.read_bytes()[100:2_000_100] + b">"
        transport.close()
        await client.lost
        await closed(server)

    ours.run(main())
