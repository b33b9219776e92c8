"""What a server shows and asks for: renewed certificates, others by name, certificates of its clients."""

import asyncio
import datetime
import logging
import shutil
import ssl
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from helpers.peers import eventually

import proactor_echo as pe
from proactor_echo.testing.certificates import CA_FILE, CLIENT, LOCALHOST, RENEWED, STRANGER, WRONG_NAME

TRUSTING = pe.Tls(server_ca=CA_FILE)


def der(path: Path) -> bytes:
    text = path.read_text("ascii")
    return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") :])


async def connect(server: pe.Server, tls: pe.Tls | ssl.SSLContext = TRUSTING, **options: Any) -> pe.Connection:
    return await pe.connect_tcp("localhost", server.port, ssl=tls, **options)


async def shown(server: pe.Server, **options: Any) -> bytes | None:
    """Return the certificate that a new client gets."""
    async with await connect(server, **options) as conn:
        assert conn.tls is not None
        return conn.tls.peer_certificate_der


def in_folder(folder: Path, pair: Sequence[Any] = LOCALHOST) -> tuple[Path, Path]:
    cert, key = folder / "server.pem", folder / "server.key"
    shutil.copy(pair[0], cert)
    shutil.copy(pair[1], key)
    return cert, key


async def test_a_renewed_certificate_is_for_new_connections_and_no_others(tmp_path: Path) -> None:
    tls = pe.Tls(*in_folder(tmp_path))
    async with await pe.serve_tcp(pe.echo, ssl=tls) as server, await connect(server) as old:
        in_folder(tmp_path, RENEWED)
        assert await shown(server) == der(LOCALHOST.certfile)
        tls.reload()
        assert await shown(server) == der(RENEWED.certfile)
        await old.send(b"still here")
        assert await old.receive() == b"still here"
        assert old.tls is not None
        assert old.tls.peer_certificate_der == der(LOCALHOST.certfile)


async def test_a_renewed_certificate_without_its_key_changes_nothing(tmp_path: Path) -> None:
    """Certbot and others write the two files one after the other."""
    tls = pe.Tls(*in_folder(tmp_path))
    async with await pe.serve_tcp(pe.echo, ssl=tls) as server:
        shutil.copy(RENEWED.certfile, tmp_path / "server.pem")
        with pytest.raises(pe.TlsError, match=r"server\.key does not fit the certificate in .*server\.pem$"):
            tls.reload()
        assert await shown(server) == der(LOCALHOST.certfile)
        shutil.copy(RENEWED.keyfile, tmp_path / "server.key")
        tls.reload()
        assert await shown(server) == der(RENEWED.certfile)


async def test_one_bad_certificate_among_several_changes_none(tmp_path: Path) -> None:
    tls = pe.Tls(*LOCALHOST[:2], sni={"localhost": in_folder(tmp_path, RENEWED)})
    (tmp_path / "server.pem").write_text("")
    with pytest.raises(pe.TlsError, match="holds no certificate"):
        tls.reload()
    async with await pe.serve_tcp(pe.echo, ssl=tls) as server:
        assert await shown(server) == der(RENEWED.certfile)


async def test_a_client_gets_the_certificate_of_the_name_that_it_asks_for() -> None:
    by_name: Any = {
        "localhost": pe.Tls(RENEWED.certfile, RENEWED.keyfile),
        "*.invalid": (WRONG_NAME.certfile, WRONG_NAME.keyfile),
    }
    seen: list[str | None] = []

    async def handler(conn: pe.Connection) -> None:
        assert conn.tls is not None
        seen.append(conn.tls.server_name)

    async with await pe.serve_tcp(handler, ssl=pe.Tls(*LOCALHOST[:2], sni=by_name)) as server:
        assert await shown(server) == der(RENEWED.certfile)
        assert await shown(server, server_hostname="somewhere-else.invalid") == der(WRONG_NAME.certfile)
        async with await pe.connect_tcp("127.0.0.1", server.port, ssl=TRUSTING) as conn:  # an address is not asked for
            assert conn.tls is not None
            assert (conn.tls.peer_certificate_der, conn.tls.server_name) == (der(LOCALHOST.certfile), "127.0.0.1")
        await eventually(lambda: len(seen) == 3)
    assert seen == ["localhost", "somewhere-else.invalid", None]


async def test_both_ends_tell_about_their_tls() -> None:
    infos: list[pe.TlsInfo | None] = []

    async def handler(conn: pe.Connection) -> None:
        infos.append(conn.tls)
        await conn.send(b"x")

    server_tls = pe.Tls(*LOCALHOST[:2], client_ca=CA_FILE, alpn=["echo/2", "echo/1"])
    client_tls = pe.Tls(*CLIENT[:2], server_ca=CA_FILE, alpn=["echo/1"])
    async with await pe.serve_tcp(handler, ssl=server_tls) as server, await connect(server, client_tls) as conn:
        assert await conn.receive() == b"x"
        (theirs,), ours = infos, conn.tls
        assert theirs is not None
        assert ours is not None
        for info in (theirs, ours):
            assert (info.version, info.alpn, info.server_name) == ("TLSv1.3", "echo/1", "localhost")
            assert info.cipher.startswith("TLS_")
            assert not info.resumed
        assert theirs.peer_certificate_der == der(CLIENT.certfile)
        assert theirs.peer_certificate is not None
        assert ours.peer_certificate is not None
        assert ("DNS", "localhost") in ours.peer_certificate["subjectAltName"]
        assert str(ours) == f"TLSv1.3 {ours.cipher}"


async def test_a_connection_in_clear_text_has_no_tls() -> None:
    async with await pe.serve_tcp(pe.echo) as server, await pe.connect_tcp("127.0.0.1", server.port) as conn:
        assert conn.tls is None


# PyPy's asyncio hears nothing of the alert.
TURNED_AWAY: tuple[type[Exception], ...] = (
    (pe.ConnectFailed, pe.Disconnected, pe.EndOfStream)
    if sys.implementation.name == "pypy"
    else (pe.ConnectFailed, pe.Disconnected)
)


@pytest.mark.parametrize("verify", ["optional", "required"])
@pytest.mark.parametrize("client", [None, CLIENT, STRANGER], ids=["none", "known", "stranger"])
async def test_a_client_needs_a_certificate_that_is_known(verify: Any, client: Any) -> None:
    welcome = client is CLIENT or (client is None and verify == "optional")
    served: list[bool] = []

    async def handler(conn: pe.Connection) -> None:
        served.append(conn.tls is not None and conn.tls.peer_certificate is not None)
        await conn.send(b"x")

    context = pe.Tls(server_ca=CA_FILE).client_context
    if client is not None:
        context.load_cert_chain(*client)
    tls = pe.Tls(*LOCALHOST[:2], client_ca=CA_FILE, verify=verify)
    async with await pe.serve_tcp(handler, ssl=tls) as server:
        if welcome:
            async with await connect(server, context) as conn:
                assert await conn.receive() == b"x"
            assert served == [client is not None]
        else:
            # In TLS 1.3 the client's handshake is over before the server has looked at its certificate.
            with pytest.raises(TURNED_AWAY):
                async with await connect(server, context) as conn:
                    await conn.receive()
            await eventually(lambda: server.stats.handshakes_failed == 1)
            assert not served
            assert server.stats.disconnects == {pe.DisconnectReason.TLS_HANDSHAKE: 1}


async def test_an_old_version_is_refused() -> None:
    old = ssl.create_default_context(cafile=str(CA_FILE))
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2], minimum="1.3")) as server:
        with pytest.raises(pe.ConnectFailed, match="the TLS handshake failed: "):
            await connect(server, old)
        assert await shown(server)


async def test_secrets_are_written_when_they_are_asked_for(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = tmp_path / "keys.log"
    tls = pe.Tls(*LOCALHOST[:2], keylog=log)
    assert caplog.messages == [f"the secrets of TLS connections are written to {log}: their traffic can be read"]
    async with await pe.serve_tcp(pe.echo, ssl=tls) as server, await connect(server) as conn:
        await conn.send(b"x")
        assert await conn.receive() == b"x"
    assert "CLIENT_TRAFFIC_SECRET_0" in log.read_text("ascii")


@pytest.mark.parametrize("days", [30, 7, 1])
async def test_the_end_of_a_certificate_is_warned_of_once(
    days: int, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = datetime.datetime(2099, 12, 31, 23, 59, 59, tzinfo=datetime.UTC)
    monkeypatch.setattr("proactor_echo.net.tcp.tls.expiry.utc_now", lambda: end - datetime.timedelta(days))
    tls = pe.Tls(*LOCALHOST[:2])
    for _ in range(2):  # two servers with one certificate
        async with await pe.serve_tcp(pe.echo, ssl=tls) as server:
            assert server.stats.certificate_expires == end.timestamp()
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    left = "1 day" if days == 1 else f"{days} days"
    assert record.getMessage() == (
        f"the certificate in {LOCALHOST.certfile} expires in {left}, on 2099-12-31 23:59 UTC: renew it"
    )


async def test_handshakes_are_counted() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2])) as server:
        await shown(server)
        with pytest.raises(pe.ConnectFailed):
            await connect(server, ssl.create_default_context())
        await eventually(lambda: server.stats.handshakes_failed == 1)
        stats = server.stats
        assert (stats.handshakes, stats.handshaking, stats.not_tls) == (1, 0, 0)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await eventually(lambda: server.stats.handshaking == 1)
        writer.write(b"GET / HTTP/1.0\r\n\r\n")
        await eventually(lambda: server.stats.not_tls == 1)
        assert server.stats.handshaking == 0
        writer.close()


async def test_more_clients_than_may_shake_hands_at_once_wait_in_the_backlog() -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2]), max_handshakes=2) as server:
        silent = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        await eventually(lambda: server.stats.handshaking == 2)
        waiting = asyncio.create_task(shown(server))
        done, _ = await asyncio.wait([waiting], timeout=0.1)
        assert not done
        assert server.stats.handshaking == 2
        silent[0][1].close()
        assert await waiting
        silent[1][1].close()


async def test_a_client_that_never_begins_its_handshake_is_dropped(caplog: pytest.LogCaptureFixture) -> None:
    async with await pe.serve_tcp(pe.echo, ssl=pe.Tls(*LOCALHOST[:2]), handshake_timeout=0.05) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await reader.read() == b""
        writer.close()
        await eventually(lambda: server.stats.handshakes_failed == 1)
    assert any("tls handshake failed (SSL handshake is taking longer than 0.05 s" in line for line in caplog.messages)
