"""``proactor-echo tcp --tls-cert``: echo over TLS, certificates that are renewed, and what is said of wrong files."""

import contextlib
import shutil
import signal
import socket
import ssl
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from helpers.cli_process import CliProcess, Ended, run_python
from helpers.command_line import CommandLine

from proactor_echo.testing import certificates as certs

LOCALHOST = ["--tls-cert", str(certs.LOCALHOST.certfile), "--tls-key", str(certs.LOCALHOST.keyfile)]

SIGHUP: Any = getattr(signal, "SIGHUP", None)

posix = pytest.mark.skipif(SIGHUP is None, reason="Windows has no SIGHUP")


@contextlib.contextmanager
def connected(address: tuple[str, int], context: ssl.SSLContext | None = None) -> Iterator[ssl.SSLSocket]:
    with (
        socket.create_connection(address, timeout=20) as sock,
        (context or certs.client_context()).wrap_socket(sock, server_hostname="localhost") as stream,
    ):
        yield stream


def echo(stream: ssl.SSLSocket, data: bytes = b"hello") -> None:
    stream.sendall(data)
    assert stream.recv(100) == data


def serial_of(stream: ssl.SSLSocket) -> Any:
    certificate: Any = stream.getpeercert()
    return certificate["serialNumber"]


def serve(*options: str) -> Ended:
    """Run a server that is not expected to serve."""
    return run_python("-m", "proactor_echo", "tcp", "-p", "0", *options)


# -- serving -----------------------------------------------------------------------------------------------------------


def test_echo_over_tls_and_the_lines_say_so() -> None:
    with CliProcess("tcp", "-p", "0", "--stats", *LOCALHOST) as server:
        line = server.line()
        assert line.startswith("listening tls 127.0.0.1:")
        with connected(("127.0.0.1", int(line.rpartition(":")[2]))) as stream:
            echo(stream)
        server.signal(signal.SIGINT)
        ended = server.end()
    assert ended.status == 0, ended
    assert f"info: TLS certificate: {certs.LOCALHOST.certfile}, valid until 2099-12-31 23:59 UTC\n" in ended.err
    assert '{"protocol": "tls", ' in ended.err


@pytest.mark.parametrize("loop", ["own", "stock"])
def test_both_loops_speak_it(loop: str) -> None:
    with (
        CliProcess("tcp", "-p", "0", "--loop", loop, "--quiet", *LOCALHOST) as server,
        connected(server.listening()) as stream,
    ):
        echo(stream)


def test_a_key_with_a_password_and_a_file_that_holds_certificate_and_key(tmp_path: Path) -> None:
    both, password = tmp_path / "both.pem", tmp_path / "password"
    both.write_bytes(certs.LOCKED.certfile.read_bytes() + certs.LOCKED.keyfile.read_bytes())
    password.write_text("proactor_echo\nnot this\n")
    with (
        CliProcess("tcp", "-p", "0", "--tls-cert", str(both), "--tls-key-password-file", str(password)) as server,
        connected(server.listening()) as stream,
    ):
        echo(stream)


def test_clients_may_have_to_show_a_certificate() -> None:
    with CliProcess("tcp", "-p", "0", *LOCALHOST, "--tls-client-ca", str(certs.CA_FILE)) as server:
        address = server.listening()
        with connected(address, certs.client_context(certs.CLIENT)) as stream:
            echo(stream)
        for context in (certs.client_context(), certs.client_context(certs.STRANGER)):
            with pytest.raises((OSError, AssertionError)), connected(address, context) as stream:
                echo(stream)


def test_optional_certificates_are_for_those_who_have_one() -> None:
    options = ["--tls-client-ca", str(certs.CA_FILE), "--tls-verify", "optional"]
    with CliProcess("tcp", "-p", "0", *LOCALHOST, *options) as server:
        address = server.listening()
        for context in (certs.client_context(), certs.client_context(certs.CLIENT)):
            with connected(address, context) as stream:
                echo(stream)


def test_the_lowest_version_can_be_raised() -> None:
    old = certs.client_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with CliProcess("tcp", "-p", "0", *LOCALHOST, "--tls-min", "1.3") as server:
        address = server.listening()
        with connected(address) as stream:
            echo(stream)
        with pytest.raises(OSError), connected(address, old):
            pass


def test_the_key_log_has_the_secrets_and_a_warning_says_so(tmp_path: Path) -> None:
    log = tmp_path / "keys.log"
    with CliProcess("tcp", "-p", "0", *LOCALHOST, "--tls-keylog", str(log)) as server:
        with connected(server.listening()) as stream:
            echo(stream)
        server.signal(signal.SIGINT)
        ended = server.end()
    assert "CLIENT_TRAFFIC_SECRET_0 " in log.read_text()
    assert "warning: the secrets of TLS connections are written to " in ended.err


# -- renewed certificates ----------------------------------------------------------------------------------------------


def put(certificate: certs.Certificate, folder: Path) -> list[str]:
    """Put a certificate where a server reads it; return the options for it."""
    cert, key = folder / "cert.pem", folder / "key.pem"
    shutil.copy(certificate.certfile, cert)
    shutil.copy(certificate.keyfile, key)
    return ["--tls-cert", str(cert), "--tls-key", str(key)]


def next_line(server: CliProcess, word: str) -> str:
    """Wait for the line of the log that has this word."""
    while word not in (line := server.error_line()):
        assert line, server.end()
    return line


@posix
@pytest.mark.parametrize("loop", ["own", "stock"])
def test_sighup_loads_the_certificate_again_for_new_connections(tmp_path: Path, loop: str) -> None:
    with CliProcess("tcp", "-p", "0", "--loop", loop, *put(certs.LOCALHOST, tmp_path)) as server:
        address = server.listening()
        with connected(address) as before:
            first = serial_of(before)
            put(certs.RENEWED, tmp_path)
            server.signal(SIGHUP)
            line = next_line(server, "SIGHUP")
            assert line.endswith(
                f"info: SIGHUP: new connections get the certificate {tmp_path / 'cert.pem'}, "
                "valid until 2099-12-31 23:59 UTC"
            )
            with connected(address) as after:
                assert serial_of(after) != first
                echo(after)
            echo(before)  # it keeps what it began with
        server.signal(signal.SIGTERM)
        assert server.wait() == 0


@posix
def test_a_renewed_certificate_that_cannot_be_used_leaves_the_old_one(tmp_path: Path) -> None:
    with CliProcess("tcp", "-p", "0", *put(certs.LOCALHOST, tmp_path)) as server:
        address = server.listening()
        with connected(address) as stream:
            first = serial_of(stream)
        shutil.copy(certs.RENEWED.certfile, tmp_path / "cert.pem")  # and not its key
        server.signal(SIGHUP)
        line = next_line(server, "SIGHUP")
        assert f"error: SIGHUP: the old certificate stays, {tmp_path / 'cert.pem'}, valid until 2099-" in line
        assert line.endswith(
            f"the private key in {tmp_path / 'key.pem'} does not fit the certificate in {tmp_path / 'cert.pem'}"
        )
        with connected(address) as stream:
            assert serial_of(stream) == first
            echo(stream)


@posix
def test_sighup_reloads_under_nohup_too(tmp_path: Path) -> None:
    ignoring = tmp_path / "host.py"
    ignoring.write_text("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nimport proactor_echo.__main__\n")
    with CliProcess("tcp", "-p", "0", *LOCALHOST, host=str(ignoring)) as server:
        server.listening()
        server.signal(SIGHUP)
        assert "new connections get the certificate" in next_line(server, "SIGHUP")


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_wrong_files_are_one_sentence_with_status_1_before_anything_listens(tmp_path: Path) -> None:
    cert, key, _ = map(str, certs.LOCALHOST)
    locked = ["--tls-cert", str(certs.LOCKED.certfile), "--tls-key", str(certs.LOCKED.keyfile)]
    wrong_password, no_text = tmp_path / "wrong", tmp_path / "binary"
    wrong_password.write_text("wrong\n")
    no_text.write_bytes(b"\xff\xfe")
    cases = {
        "cannot read the certificate missing.pem: ": ["--tls-cert", "missing.pem"],
        "cannot read the private key missing.pem: ": ["--tls-cert", cert, "--tls-key", "missing.pem"],
        "does not fit the certificate": ["--tls-cert", cert, "--tls-key", str(certs.RENEWED.keyfile)],
        "holds no private key": ["--tls-cert", cert],
        "holds no certificate": ["--tls-cert", key],
        "the password is wrong": [*locked, "--tls-key-password-file", str(wrong_password)],
        "is encrypted: give its password with --tls-key-password-file": locked,
        "cannot read the password file missing: ": [*LOCALHOST, "--tls-key-password-file", "missing"],
        "is not text in UTF-8": [*locked, "--tls-key-password-file", str(no_text)],
        "cannot read the certificate no-ca.pem: ": [*LOCALHOST, "--tls-client-ca", "no-ca.pem"],
        "cannot write the key log ": [*LOCALHOST, "--tls-keylog", str(tmp_path / "no" / "folder")],
    }
    with ThreadPoolExecutor(2) as pool:  # Wine does not start many at once in time
        all_ended = list(pool.map(lambda options: serve(*options), cases.values()))
    for (sentence, options), ended in zip(cases.items(), all_ended, strict=True):
        assert (ended.status, ended.out) == (1, ""), (options, ended)
        assert ended.err.startswith("Error: "), (options, ended)
        assert sentence in ended.err, (options, ended)
        assert len(ended.err.splitlines()) == 1, (options, ended)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (["--tls-key", "key.pem"], "--tls-key needs --tls-cert: the file with the server's certificate."),
        (["--tls-key-password-file", "x"], "--tls-key-password-file needs --tls-cert"),
        (["--tls-client-ca", "ca.pem"], "--tls-client-ca needs --tls-cert"),
        (["--tls-verify", "required"], "--tls-verify needs --tls-cert"),
        (["--tls-keylog", "x"], "--tls-keylog needs --tls-cert"),
        ([*LOCALHOST, "--tls-verify", "required"], "--tls-verify required needs --tls-client-ca: "),
        (
            [*LOCALHOST, "--tls-verify", "none", "--tls-client-ca", "x"],
            "is of no use with --tls-verify none",
        ),
        ([*LOCALHOST, "--tls-min", "1.1"], "'1.1' is not one of '1.2', '1.3'"),
    ],
)
def test_options_that_do_not_fit_together_are_status_2(cli: CommandLine, options: list[str], sentence: str) -> None:
    ended = cli.run("tcp", "-p", "0", *options)
    assert (ended.status, ended.out) == (2, "")
    assert sentence in ended.err, ended


def test_without_tls_nothing_of_it_is_loaded() -> None:
    code = (
        "import sys\nfrom proactor_echo.cli import main\n"
        "try: main.main(['tcp', '--host', 'no-such-host.invalid'], 'x')\nexcept SystemExit: pass\n"
        "print([name for name in sys.modules if name.endswith('tls.description')])"
    )
    assert run_python("-c", code).out.splitlines()[-1] == "[]"
